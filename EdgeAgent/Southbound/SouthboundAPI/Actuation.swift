public import Primitives
public import Telemetry

/// A local action that a rule asks for: it must work with every uplink down.
public enum Actuation: Hashable, Sendable {
    /// Publish to a topic of the local broker, QoS 1. `payload` ≤ 64 KiB.
    case publish(topic: String, payload: [UInt8], isRetained: Bool)
    /// Write a register or a coil by the name that the driver's register map gives it. Coils take a boolean or 0 / 1.
    case write(device: DeviceID, register: String, value: ReadingValue)
}

/// What a rule asks for at once, and which rule that is.
public struct RuleAction: Hashable, Sendable {
    public enum Deed: Hashable, Sendable {
        case actuate(Actuation)
        /// Call a direct method, as the hub would; it must reach the device within the time.
        case call(device: DeviceID, method: String, payload: [UInt8], within: Duration)
    }

    public let rule: String
    /// The device of the fault.
    public let device: DeviceID
    public let deed: Deed

    public init(rule: String, device: DeviceID, deed: Deed) {
        self.rule = rule
        self.device = device
        self.deed = deed
    }
}

/// A command from the cloud for one device: `SetValue`, `Reset`, `Notify`, or a name from the configuration.
public struct DeviceCommand: Hashable, Sendable {
    public let device: DeviceID
    public let name: String
    /// JSON; empty means no payload.
    public let payload: [UInt8]
    /// After this instant the command must not reach the device any more.
    public let deadline: MonotonicInstant

    public init(device: DeviceID, name: String, payload: [UInt8], deadline: MonotonicInstant) {
        self.device = device
        self.name = name
        self.payload = payload
        self.deadline = deadline
    }
}

/// How a command ended; every command ends in exactly one of these.
public enum CommandOutcome: Hashable, Sendable {
    /// The device (or, without an answer topic, the broker) confirmed it. `answer` is JSON, when there is one.
    case executed(answer: [UInt8]?)
    /// Not even tried: the command itself is wrong.
    case refused(CommandRefusal, reason: String)
    /// Not done, or not known to be done; `reason` says which, for the operator.
    case failed(reason: String)
    /// The deadline passed before it was sent; it will not be sent.
    case expired(reason: String)
}

/// What is wrong with a command that no driver tries.
public enum CommandRefusal: Hashable, Sendable {
    /// The device is served, but no such command is configured for it.
    case unknownCommand
    /// The payload cannot be read, lacks a member, or its value does not fit.
    case wrongPayload
}
