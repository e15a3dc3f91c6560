import Actuation
import DriverRuntime
import Logging
import Primitives
import SouthboundAPI
import Uplink

/// The way of a write to the driver that can do it.
struct LocalActions: Sendable {
    let drivers: [any SouthboundDriver]

    /// The first driver that can do it gets it.
    func perform(_ actuation: Actuation) -> Result<Void, DriverError> {
        var last: DriverError?
        for driver in drivers {
            do throws(DriverError) {
                try driver.perform(actuation)
                return .success(())
            } catch {
                switch error.problem {
                case .notForThisDriver, .unknownTarget: last = last ?? error
                case .alreadyStarted, .systemRefused, .stopped, .valueNotAllowed, .queueFull: return .failure(error)
                }
            }
        }
        return .failure(
            last ?? DriverError(.unknownTarget, doing: "act", which: "this gateway", detail: "it has no driver"))
    }
}

extension CommandRouter {
    /// Does what a rule asks for.
    func act(_ action: RuleAction, logger: Logger) {
        let by = "rule \(action.rule) of \(action.device)"
        switch action.deed {
        case .actuate(let actuation): self.actuation.ruleAsks(actuation, by: by)
        case .call(let device, let method, let payload, let within):
            let call = CommandCall(
                device: device, name: method, payload: payload, deadline: SystemTime.monotonic + within)
            perform(call, by: by) { answer in
                guard !answer.isExecuted else { return }
                logger.error(
                    "a rule's method call failed",
                    metadata: [
                        "rule": "\(action.rule)", "device": "\(device)", "method": "\(method)",
                        "status": "\(answer.status)",
                    ])
            }
        }
    }
}
