import CLinux
import DriverRuntime
import Glibc
import JSON
import Logging
import Primitives
import Synchronization
import Uplink

/// A local socket for whoever stands at the machine: actuators and manual overrides, also while the hub is away.
///
/// One JSON object a line each way: `{"method": "override", "payload": {…}}`, answered by
/// `{"status": 200, "payload": …}`; the methods are those of the gateway. The socket's file is its owner's only, and the
/// log of moves names the user whom the system sees at the other end.
final class LocalDoor: Sendable {
    static let methods: Set<String> = ["actuators", "override", "release"]
    static let requestBytesMax = 4096
    /// For the whole of one visit.
    static let visitTimeMax = Duration.seconds(5)
    /// Source: unix(7): the path of an address has 108 bytes with its end.
    static let pathBytesMax = 107

    private let descriptor: Int32
    private let path: String
    private let wake: WakeSignal
    private let handler: any CommandHandler
    private let gateway: DeviceID
    private let logger: Logger
    private let isStopping = Mutex(false)
    private let thread = Mutex<OwnThread?>(nil)

    /// Binds; call it before there are threads, because it narrows the rights of new files for a moment.
    ///
    /// - Returns: `nil` when there is no such socket; the log says why, and the agent runs without it.
    init?(path: String, gateway: DeviceID, handler: any CommandHandler, logger: Logger) {
        self.path = path
        self.gateway = gateway
        self.handler = handler
        self.logger = logger
        let refused = { (reason: String) in
            logger.warning(
                "there is no local socket for 'edge-agent override'; set actuation.socket to another path",
                metadata: ["path": "\(path)", "reason": "\(reason)"])
        }
        guard let wake = WakeSignal() else {
            refused("the system gives no more file descriptors")
            return nil
        }
        self.wake = wake
        switch LocalSocket.listening(at: path) {
        case .success(let made): descriptor = made
        case .failure(let problem):
            refused(problem.reason)
            return nil
        }
    }

    deinit { close(descriptor) }

    func start() {
        let made = OwnThread.run(name: "local-door") { [self] in run() }
        thread.withLock { $0 = made }
    }

    func stop() {
        isStopping.withLock { $0 = true }
        wake.ring()
        let made = thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        made?.join()
        unlink(path)
    }

    private func run() {
        while !isStopping.withLock({ $0 }) {
            var entries = [
                pollfd(fd: wake.descriptor, events: Int16(POLLIN), revents: 0),
                pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0),
            ]
            poll(&entries, 2, -1)
            if entries[0].revents != 0 { wake.clear() }
            guard entries[1].revents != 0 else { continue }
            let visitor = accept(descriptor, nil, nil)
            guard visitor >= 0 else {
                // Without a descriptor the visitor stays in the queue: not to be asked for at once again.
                wake.wait(until: SystemTime.monotonic + .milliseconds(100))
                continue
            }
            serve(visitor)
            close(visitor)
        }
    }

    private func serve(_ visitor: Int32) {
        let deadline = SystemTime.monotonic + Self.visitTimeMax
        let user = LocalSocket.user(of: visitor)
        guard let line = LocalSocket.line(from: visitor, bytesMax: Self.requestBytesMax, until: deadline) else {
            return
        }
        let answer = answer(line, user: user)
        _ = LocalSocket.send(answer.serialized() + [UInt8(ascii: "\n")], to: visitor, until: deadline)
    }

    private func answer(_ line: [UInt8], user: String) -> JSONValue {
        guard let request = try? JSONValue(parsing: line), let method = request["method"]?.stringValue,
            Self.methods.contains(method), case .object(var payload) = request["payload"] ?? .object(JSONObject())
        else {
            return ["status": 400, "payload": ["error": "this is no request that the agent understands"]]
        }
        let given = payload["who"]?.stringValue ?? ""
        // Who says to be somebody is still the user whom the system sees.
        payload["who"] = .string(given.isEmpty || given == user ? user : "\(given.prefix(60)) (user \(user))")
        let call = CommandCall(
            device: gateway, name: method, payload: JSONValue.object(payload).serialized(),
            deadline: SystemTime.monotonic + Self.visitTimeMax)
        let found = Mutex<CommandAnswer?>(nil)
        // Methods of the gateway itself answer before they return.
        handler.perform(call) { answer in found.withLock { $0 = answer } }
        guard let answer = found.withLock({ $0 }) else { return ["status": 504, "payload": .null] }
        logger.info(
            "a person at the machine asked",
            metadata: ["method": "\(method)", "user": "\(user)", "status": "\(answer.status)"])
        return [
            "status": .number(JSONNumber(answer.status)), "payload": (try? JSONValue(parsing: answer.payload)) ?? .null,
        ]
    }
}
