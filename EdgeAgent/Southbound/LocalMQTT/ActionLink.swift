import CMosquitto
import DriverRuntime
import Glibc
import Logging
import Primitives
import SouthboundAPI

/// The way out for local actions: a connection of its own on a thread of its own.
///
/// What the other connection reads, and what it still has to write, holds up no action. Confined to its thread.
final class ActionLink {
    private static let tickInterval = Duration.seconds(1)
    /// For what still waits when the driver stops.
    private static let endTime = Duration.seconds(1)

    /// Why a connection ended.
    private struct Ending: Error {
        let reason: String
    }

    private let config: LocalMQTTConfig
    private let mailbox: Mailbox
    private let wake: WakeSignal
    private let clock: DriverClock
    private let logger: Logger
    private var backoff: Backoff
    private var random = SystemRandomNumberGenerator()
    private var loggedReason: String?
    private var connectCode: Int32?
    /// Actions that the broker has not confirmed, by message id.
    private var unconfirmed: [Int32: Mailbox.Actuating] = [:]

    init(config: LocalMQTTConfig, mailbox: Mailbox, shell: DriverShell, logger: Logger) {
        self.config = config
        self.mailbox = mailbox
        wake = shell.wake
        clock = shell.clock
        self.logger = logger
        backoff = Backoff(first: config.reconnectFirst, most: config.reconnectMost)
    }

    /// Returns when the driver is stopped.
    func run() {
        while !mailbox.isStopping {
            do throws(Ending) {
                try connection()
            } catch {
                say(error.reason)
                let end = clock.monotonic() + backoff.next(using: &random)
                while !mailbox.isStopping, clock.monotonic() < end { wake.wait(until: end) }
            }
        }
        let lost = mailbox.takeActuations()
        if !lost.isEmpty {
            logger.error(
                "local actions were not sent: the local broker was not there when the gateway stopped",
                metadata: ["topics": "\(lost.map(\.topic).joined(separator: ", "))"])
        }
    }

    private func say(_ reason: String) {
        guard reason != loggedReason else { return }
        loggedReason = reason
        logger.warning(
            "no connection to the local broker for actions; will keep trying", metadata: ["reason": "\(reason)"])
    }

    /// One connection from its beginning to its end; returns without an error only when the driver is stopped.
    private func connection() throws(Ending) {
        connectCode = nil
        let context = Unmanaged.passUnretained(self).toOpaque()
        guard let handle = MosquittoHandle(clientID: config.clientID + "-act", cleanSession: true, context: context)
        else { throw Ending(reason: "libmosquitto gave no client") }
        handle.set(Self.callbacks)
        if let userName = config.userName { handle.setCredentials(userName: userName, password: config.password) }
        // What was handed over and not confirmed is sent again.
        defer {
            mailbox.giveBack(unconfirmed.sorted { $0.key < $1.key }.map(\.value))
            unconfirmed.removeAll()
        }
        try open(handle)
        guard connectCode == 0 else { return }
        backoff.reset()
        loggedReason = nil
        try serve(handle)
        try end(handle)
    }

    private func open(_ handle: borrowing MosquittoHandle) throws(Ending) {
        let addresses: [String]
        do {
            addresses = try HostAddresses.resolve(config.host)
        } catch {
            throw Ending(reason: "cannot look up \(config.host): \(error.text)")
        }
        guard let address = addresses.first(where: { connects(handle, to: $0) }) else {
            if mailbox.isStopping { return }
            throw Ending(reason: "\(config.host):\(config.port) does not take the connection")
        }
        let deadline = clock.monotonic() + BrokerLink.acceptTimeout
        while connectCode == nil, !mailbox.isStopping {
            if handle.wantsWrite { try check(handle.write()) }
            if wait(handle, until: deadline) & ~Int16(POLLOUT) != 0 {
                let status = handle.read()
                if connectCode == nil { try check(status) }
            }
            if connectCode == nil, clock.monotonic() >= deadline {
                throw Ending(reason: "\(address):\(config.port) does not answer")
            }
        }
        guard let code = connectCode, code != 0 else { return }
        throw Ending(reason: "the broker refuses the client '\(config.clientID)-act' with code \(code)")
    }

    private func connects(_ handle: borrowing MosquittoHandle, to address: String) -> Bool {
        guard !mailbox.isStopping,
            handle.connect(address: address, port: config.port, keepAlive: config.keepAlive)
                == MOSQ_ERR_SUCCESS.rawValue
        else { return false }
        let deadline = clock.monotonic() + BrokerLink.connectTimeout
        while !mailbox.isStopping, clock.monotonic() < deadline {
            var entry = pollfd(fd: handle.socket, events: Int16(POLLOUT), revents: 0)
            if poll(&entry, 1, 100) > 0 { return HostAddresses.connectError(of: handle.socket) == 0 }
        }
        return false
    }

    private func serve(_ handle: borrowing MosquittoHandle) throws(Ending) {
        var nextTick = clock.monotonic() + Self.tickInterval
        while !mailbox.isStopping {
            try flush(handle)
            if wait(handle, until: nextTick) & ~Int16(POLLOUT) != 0 { try check(handle.read()) }
            let now = clock.monotonic()
            guard now >= nextTick else { continue }
            try check(handle.tick())
            nextTick = now + Self.tickInterval
        }
    }

    /// What still waits, such as fail-safe positions, is sent and its confirmation waited for.
    private func end(_ handle: borrowing MosquittoHandle) throws(Ending) {
        let deadline = clock.monotonic() + Self.endTime
        try flush(handle)
        while !unconfirmed.isEmpty, clock.monotonic() < deadline {
            if wait(handle, until: deadline) & ~Int16(POLLOUT) != 0 { try check(handle.read()) }
            if handle.wantsWrite { try check(handle.write()) }
        }
        handle.disconnect()
        _ = handle.write()
    }

    private func flush(_ handle: borrowing MosquittoHandle) throws(Ending) {
        for actuating in mailbox.takeActuations() {
            let (status, messageID) = handle.publish(
                topic: actuating.topic, payload: actuating.payload, isRetained: actuating.isRetained)
            guard status == MOSQ_ERR_SUCCESS.rawValue else {
                logger.error(
                    "a local action was refused by libmosquitto and is dropped",
                    metadata: ["topic": "\(actuating.topic)", "reason": "\(MosquittoHandle.text(of: status))"])
                continue
            }
            unconfirmed[messageID] = actuating
        }
        if handle.wantsWrite { try check(handle.write()) }
    }

    private func check(_ status: Int32) throws(Ending) {
        guard status != MOSQ_ERR_SUCCESS.rawValue else { return }
        throw Ending(reason: MosquittoHandle.text(of: status))
    }

    /// Polls the socket and the mailbox; gives the socket's events.
    private func wait(_ handle: borrowing MosquittoHandle, until deadline: MonotonicInstant) -> Int16 {
        var entries = [
            pollfd(fd: handle.socket, events: Int16(POLLIN) | (handle.wantsWrite ? Int16(POLLOUT) : 0), revents: 0),
            pollfd(fd: wake.descriptor, events: Int16(POLLIN), revents: 0),
        ]
        poll(&entries, 2, SystemTime.pollMilliseconds(until: deadline))
        if entries[1].revents != 0 { wake.clear() }
        return entries[0].revents
    }

    private static let callbacks = MosquittoHandle.Callbacks(
        connected: { _, context, code, _ in ActionLink.of(context)?.connectCode = code },
        received: { _, _, _ in },
        confirmed: { _, context, messageID in ActionLink.of(context)?.unconfirmed[messageID] = nil })

    private static func of(_ context: UnsafeMutableRawPointer?) -> ActionLink? {
        context.map { Unmanaged<ActionLink>.fromOpaque($0).takeUnretainedValue() }
    }
}
