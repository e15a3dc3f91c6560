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
    /// Call a direct method of a device, as the hub would; `nil` is the device of the fault.
    case call(device: DeviceID?, method: String, payload: MessageTemplate, within: Duration)

    func deed(rule: Rule, device: DeviceID, value: String?) -> RuleAction.Deed {
        func filled(_ template: MessageTemplate) -> String {
            template.message(rule: rule, device: device, value: value)
        }
        switch self {
        case .publish(let topic, let payload, let isRetained):
            return .actuate(
                .publish(topic: filled(topic), payload: Array(filled(payload).utf8), isRetained: isRetained))
        case .write(let target, let register, let value):
            return .actuate(.write(device: target ?? device, register: register, value: value))
        case .call(let target, let method, let payload, let within):
            return .call(
                device: target ?? device, method: method, payload: Array(filled(payload).utf8), within: within)
        }
    }
}
