import DriverRuntime
import Glibc
import MQTTClient
import Primitives
import SouthboundAPI

extension BrokerLink {
    /// Tries the host's addresses in order until one takes the connection; `nil` when the driver is stopped meanwhile.
    func openSocket() throws(Ending) -> BrokerConnection? {
        let addresses: [String]
        do {
            addresses = try HostAddresses.resolve(config.host)
        } catch {
            throw Ending(
                reason: "cannot look up \(config.host): \(error.text)",
                advice: "check the broker's host name in the configuration, and the name service")
        }
        let login = ClientLogin(
            clientID: config.clientID, userName: config.userName,
            password: config.userName == nil ? nil : config.password,
            keepAliveSeconds: UInt16(clamping: config.keepAlive.components.seconds))
        guard let login else {
            throw Ending(reason: "user name or password is too long for MQTT", advice: "use shorter ones")
        }
        let limits = ClientLimits(
            unacknowledgedCountMax: 65_535, packetBytesMax: config.payloadBytesMax + 65_536 + 16,
            passesOverLargeMessages: true)
        var failure = "it has no address"
        for address in addresses where !mailbox.isStopping {
            do {
                let connection = try BrokerConnection(
                    address: address, port: config.port, session: ClientSession(login, limits: limits))
                guard let error = socketError(connection) else { return mailbox.isStopping ? nil : connection }
                failure = error
            } catch {
                failure = error.text
            }
        }
        if mailbox.isStopping { return nil }
        throw Ending(
            reason: "\(config.host):\(config.port) does not take the connection: \(failure)",
            advice: "check that the broker runs there (systemctl status mosquitto) and that host and port are right")
    }

    /// Waits until the connection stands; `nil` when it does.
    private func socketError(_ connection: BrokerConnection) -> String? {
        let deadline = clock.monotonic() + Self.connectTimeout
        while !mailbox.isStopping {
            let events = wait(connection, for: Int16(POLLOUT), until: deadline)
            if events & Int16(POLLOUT | POLLERR | POLLHUP) != 0 {
                let error = connection.connectError
                return error == 0 ? nil : String(cString: strerror(error))
            }
            if clock.monotonic() >= deadline { return "no answer within \(Self.connectTimeout)" }
        }
        return nil
    }

    /// Waits for CONNACK.
    func awaitAcceptance(_ connection: BrokerConnection) throws(Ending) {
        connection.session.started(now: clock.monotonic())
        let deadline = clock.monotonic() + Self.acceptTimeout
        while connectAnswer == nil, !mailbox.isStopping {
            try write(connection)
            let wanted = Int16(POLLIN) | (connection.wantsWrite ? Int16(POLLOUT) : 0)
            if wait(connection, for: wanted, until: deadline) & ~Int16(POLLOUT) != 0 {
                for event in try read(connection) {
                    guard case .accepted(let isSessionPresent) = event else {
                        events.append(event)
                        continue
                    }
                    connectAnswer = (0, isSessionPresent)
                }
            }
            if connectAnswer == nil, clock.monotonic() >= deadline {
                throw Ending(
                    reason:
                        "\(config.host):\(config.port) does not speak MQTT: no CONNACK within \(Self.acceptTimeout)",
                    advice: "check that the port is the broker's plain MQTT port, 1883 by default")
            }
        }
    }

    func read(_ connection: BrokerConnection) throws(Ending) -> [ClientEvent] {
        do throws(BrokerConnection.Ended) {
            return try connection.read(now: clock.monotonic())
        } catch {
            throw ending(error)
        }
    }

    func write(_ connection: BrokerConnection) throws(Ending) {
        do throws(BrokerConnection.Ended) {
            try connection.write()
        } catch {
            throw ending(error)
        }
    }

    func ending(_ ended: BrokerConnection.Ended) -> Ending {
        switch ended {
        case .lost(let lost):
            return Ending(
                reason: lost.text,
                advice: "if this repeats, another client uses the client id '\(config.clientID)': give each its own")
        case .session(let error): return ending(error)
        }
    }

    func ending(_ error: ClientError) -> Ending {
        switch error {
        case .refused(let code):
            connectAnswer = (Int32(code), false)
            return refusal(code: Int32(code))
        case .silent:
            return Ending(
                reason: "the broker has said nothing for \(config.keepAlive), not even to a ping",
                advice: "check the broker and the network to it")
        case .malformed(let what):
            return Ending(
                reason: "the broker sent \(what)", advice: "check that the port is a broker's that speaks MQTT 3.1.1")
        case .tooManyUnacknowledged(let countMax):
            return Ending(
                reason: "the broker sent more than \(countMax) messages without an acknowledgement",
                advice: "set its max_inflight_messages to 1000 or less")
        }
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
    func subscribe(_ connection: BrokerConnection, sessionPresent: Bool) throws(Ending) {
        isSubscriptionAwaited = false
        if sessionPresent, isSubscribed { return mailbox.count { $0.connections += 1 } }
        let filters =
            config.topics.map { ClientFilter($0.template.filter, qualityOfService: $0.qualityOfService) }
            + answerFilters.map { ClientFilter($0) }
        connection.session.subscribe(filters, now: clock.monotonic())
        isSubscriptionAwaited = true
        isSubscribed = true
    }

    /// Polls the socket and the mailbox; gives the socket's events.
    func wait(_ connection: BrokerConnection, for events: Int16, until deadline: MonotonicInstant) -> Int16 {
        var entries = [
            pollfd(fd: connection.descriptor, events: events, revents: 0),
            pollfd(fd: mailbox.wake.descriptor, events: Int16(POLLIN), revents: 0),
        ]
        poll(&entries, 2, SystemTime.pollMilliseconds(until: deadline))
        if entries[1].revents != 0 { mailbox.wake.clear() }
        return entries[0].revents
    }
}
