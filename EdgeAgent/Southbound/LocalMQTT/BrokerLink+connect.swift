import CMosquitto
import DriverRuntime
import Glibc
import Primitives
import SouthboundAPI

extension BrokerLink {
    /// Tries the host's addresses in order until one takes the connection.
    func openSocket(_ handle: borrowing MosquittoHandle) throws(Ending) {
        let addresses: [String]
        do {
            addresses = try HostAddresses.resolve(config.host)
        } catch {
            throw Ending(
                reason: "cannot look up \(config.host): \(error.text)",
                advice: "check the broker's host name in the configuration, and the name service")
        }
        var failure = "it has no address"
        for address in addresses where !mailbox.isStopping {
            let status = handle.connect(address: address, port: config.port, keepAlive: config.keepAlive)
            guard status == MOSQ_ERR_SUCCESS.rawValue else {
                failure = MosquittoHandle.text(of: status)
                continue
            }
            guard let error = socketError(handle) else { return }
            failure = error
        }
        if mailbox.isStopping { return }
        throw Ending(
            reason: "\(config.host):\(config.port) does not take the connection: \(failure)",
            advice: "check that the broker runs there (systemctl status mosquitto) and that host and port are right")
    }

    /// Waits until the connection stands; `nil` when it does.
    private func socketError(_ handle: borrowing MosquittoHandle) -> String? {
        let deadline = clock.monotonic() + Self.connectTimeout
        while !mailbox.isStopping {
            let events = wait(handle, for: Int16(POLLOUT), until: deadline)
            if events & Int16(POLLOUT | POLLERR | POLLHUP) != 0 {
                let error = HostAddresses.connectError(of: handle.socket)
                return error == 0 ? nil : String(cString: strerror(error))
            }
            if clock.monotonic() >= deadline { return "no answer within \(Self.connectTimeout)" }
        }
        return nil
    }

    /// Waits for CONNACK.
    func awaitAcceptance(_ handle: borrowing MosquittoHandle) throws(Ending) {
        let deadline = clock.monotonic() + Self.acceptTimeout
        while connectAnswer == nil, !mailbox.isStopping {
            if handle.wantsWrite { try check(handle.write(), doing: "send the connection request") }
            let wanted = Int16(POLLIN) | (handle.wantsWrite ? Int16(POLLOUT) : 0)
            if wait(handle, for: wanted, until: deadline) & ~Int16(POLLOUT) != 0 {
                let status = handle.read()
                // A refusal closes the connection in the same call: its code says more than "connection lost".
                if connectAnswer == nil { try check(status, doing: "wait for the broker's answer") }
            }
            if connectAnswer == nil, clock.monotonic() >= deadline {
                throw Ending(
                    reason:
                        "\(config.host):\(config.port) does not speak MQTT: no CONNACK within \(Self.acceptTimeout)",
                    advice: "check that the port is the broker's plain MQTT port, 1883 by default")
            }
        }
        guard let answer = connectAnswer, answer.code != 0 else { return }
        throw refusal(code: answer.code)
    }

    /// Source: MQTT 3.1.1 section 3.2.2.3.
    private func refusal(code: Int32) -> Ending {
        switch code {
        case 1: Ending(reason: "the broker refuses MQTT 3.1.1", advice: "use a broker that speaks MQTT 3.1.1")
        case 2:
            Ending(
                reason: "the broker refuses the client id '\(config.clientID)'",
                advice: "give the driver another client_id")
        case 3: Ending(reason: "the broker is not available", advice: "look into the broker's own log")
        case 4: Ending(reason: "the broker refuses user name or password", advice: "check user_name and password")
        case 5:
            Ending(
                reason: "the broker does not authorise this client",
                advice: "check user_name, password and the broker's access rules")
        default: Ending(reason: "the broker refuses with code \(code)", advice: "look into the broker's own log")
        }
    }

    /// Subscribes on the first connection of this run and whenever the broker has no session: in between the session
    /// holds the subscriptions, and asking again would only repeat retained messages.
    func subscribe(_ handle: borrowing MosquittoHandle, sessionPresent: Bool) throws(Ending) {
        subscriptionsAwaited = 0
        if sessionPresent, isSubscribed { return mailbox.count { $0.connections += 1 } }
        subscriptionsAwaited = config.topics.count + answerFilters.count
        for mapping in config.topics {
            try check(
                handle.subscribe(mapping.template.filter, qualityOfService: Int32(mapping.qualityOfService)),
                doing: "subscribe to \(mapping.template.filter)")
        }
        for filter in answerFilters {
            try check(handle.subscribe(filter, qualityOfService: 1), doing: "subscribe to \(filter)")
        }
        isSubscribed = true
    }

    func check(_ status: Int32, doing: String) throws(Ending) {
        guard status != MOSQ_ERR_SUCCESS.rawValue else { return }
        if status == MOSQ_ERR_CONN_LOST.rawValue || status == MOSQ_ERR_NO_CONN.rawValue {
            throw Ending(
                reason: "the broker closed the connection",
                advice: "if this repeats, another client uses the client id '\(config.clientID)': give each its own")
        }
        throw Ending(
            reason: "cannot \(doing): \(MosquittoHandle.text(of: status))",
            advice: "look into the broker's own log")
    }

    /// Polls the socket and the mailbox; gives the socket's events.
    func wait(_ handle: borrowing MosquittoHandle, for events: Int16, until deadline: MonotonicInstant) -> Int16 {
        var entries = [
            pollfd(fd: handle.socket, events: events, revents: 0),
            pollfd(fd: mailbox.wake.descriptor, events: Int16(POLLIN), revents: 0),
        ]
        poll(&entries, 2, SystemTime.pollMilliseconds(until: deadline))
        if entries[1].revents != 0 { mailbox.wake.clear() }
        return entries[0].revents
    }
}
