internal import Primitives
internal import RuleSets
internal import Rules
internal import SouthboundAPI
internal import Telemetry

extension LocalAction {
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
