public import Primitives

/// Who executes what the hub asks for: the way from a device id to its driver.
public protocol CommandHandler: Sendable {
    /// Executes a command of the gateway itself or of one of its children. Called on the uplink's thread; must not
    /// block. `reply` is called exactly once, on any thread, at the latest shortly after the deadline.
    func perform(_ call: CommandCall, reply: @escaping @Sendable (CommandAnswer) -> Void)
}

/// A direct method or a cloud-to-device command.
public struct CommandCall: Sendable, Hashable {
    /// The child, or the gateway itself.
    public let device: DeviceID
    public let name: String
    /// JSON; may be empty.
    public let payload: [UInt8]
    /// Not to reach the device after this.
    public let deadline: MonotonicInstant

    public init(device: DeviceID, name: String, payload: [UInt8], deadline: MonotonicInstant) {
        self.device = device
        self.name = name
        self.payload = payload
        self.deadline = deadline
    }
}

/// How it ended: a status in the manner of HTTP, and JSON.
public struct CommandAnswer: Sendable, Hashable {
    public let status: Int
    public let payload: [UInt8]

    public init(status: Int, payload: [UInt8]) {
        self.status = status
        self.payload = payload
    }

    public var isExecuted: Bool { (200..<300).contains(status) }
}
