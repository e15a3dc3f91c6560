public import Primitives
public import Rules
internal import SouthboundAPI
public import Telemetry

/// A rule that runs at the gateway, and what it does there by itself.
public struct EdgeRule: Sendable, Equatable {
    /// Actions of one rule for one direction: 16.
    public static let actionsMax = 16

    public let rule: Rule
    public let whenRaised: [LocalAction]
    public let whenCleared: [LocalAction]

    public init(rule: Rule, whenRaised: [LocalAction] = [], whenCleared: [LocalAction] = []) {
        self.rule = rule
        self.whenRaised = whenRaised
        self.whenCleared = whenCleared
    }
}

/// What a rule asks a driver to do. It may be done again after a crash, so it should say what is to be, not what is to
/// change.
public enum LocalAction: Sendable, Equatable {
    /// Publish to a topic of the local broker.
    case publish(topic: MessageTemplate, payload: MessageTemplate, isRetained: Bool)
    /// Write a register of a device; `nil` is the device of the fault.
    case write(device: DeviceID?, register: String, value: ReadingValue)

    func actuation(rule: Rule, device: DeviceID, value: String?) -> Actuation {
        switch self {
        case .publish(let topic, let payload, let isRetained):
            .publish(
                topic: topic.message(rule: rule, device: device, value: value),
                payload: Array(payload.message(rule: rule, device: device, value: value).utf8), isRetained: isRetained)
        case .write(let target, let register, let value):
            .write(device: target ?? device, register: register, value: value)
        }
    }
}
