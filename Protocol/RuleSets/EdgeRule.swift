public import Primitives
public import Rules
public import Telemetry

/// A rule that runs at the gateway, and what it does there by itself.
public struct EdgeRule: Sendable, Equatable {
    /// Rules of one gateway: 1,000.
    public static let countMax = 1000
    /// Actions of one rule for one direction: 16.
    public static let actionsMax = 16
    /// The built-in rule about devices that do not answer their driver.
    public static let noAnswerName = "no-answer"
    /// Names that no configured rule may have.
    public static let reservedNames: Set<String> = [noAnswerName]

    public let rule: Rule
    public let whenRaised: [LocalAction]
    public let whenCleared: [LocalAction]
    /// A rule of the gateway's own file that gives way to one of the same name in a set from the hub.
    public let isReplaceable: Bool

    public init(
        rule: Rule, whenRaised: [LocalAction] = [], whenCleared: [LocalAction] = [], isReplaceable: Bool = false
    ) {
        self.rule = rule
        self.whenRaised = whenRaised
        self.whenCleared = whenCleared
        self.isReplaceable = isReplaceable
    }
}

/// What a rule asks a driver to do. It may be done again after a crash, so it should say what is to be, not what is to
/// change.
public enum LocalAction: Sendable, Equatable {
    /// Publish to a topic of the local broker.
    case publish(topic: MessageTemplate, payload: MessageTemplate, isRetained: Bool)
    /// Write a register of a device; `nil` is the device of the fault.
    case write(device: DeviceID?, register: String, value: ReadingValue)
    /// Call a direct method of a device, as the hub would; `nil` is the device of the fault.
    case call(device: DeviceID?, method: String, payload: MessageTemplate, within: Duration)
}
