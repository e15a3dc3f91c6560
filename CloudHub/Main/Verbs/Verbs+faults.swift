import Control
import Faults
import JSON
import Primitives
import Telemetry

extension Verbs {
    /// Open faults, newest first.
    func listFaults(_ request: ControlRequest) async throws -> JSONValue {
        let faults = try await hub(request).faults.faults(openOnly: true, limit: 500)
        return .array(
            faults.map { fault in
                [
                    "id": .string(fault.id.description), "device": .string(fault.device.text),
                    "rule": .string(fault.rule), "severity": .string(fault.severity.rawValue),
                    "state": .string(fault.phase.rawValue), "opened": .string(fault.openedAt?.description ?? ""),
                    "message": .string(fault.message),
                ]
            })
    }
}
