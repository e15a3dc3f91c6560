import Control
import Faults
import HubClock
import JSON
import Primitives
import Telemetry

extension Verbs {
    /// Alerts that the CRM refused, newest first.
    func listDeadLetters(_ request: ControlRequest) async throws -> JSONValue {
        let letters = try await hub(request).faults.deadLetters(limit: 500)
        return .array(
            letters.map { letter in
                [
                    "number": .string(String(letter.sequence)), "fault": .string(letter.fault.description),
                    "what": .string(letter.kind.rawValue), "error": .string(letter.error),
                ]
            })
    }

    /// Puts one dead letter, or all of them, back into the queue.
    func retryDeadLetters(_ request: ControlRequest) async throws -> JSONValue {
        let faults = try hub(request).faults
        guard let text = request.text("number") else {
            var count = 0
            for letter in try await faults.deadLetters(limit: .max) {
                if try await faults.retryDeadLetter(letter.sequence, now: SystemTime.wall()) { count += 1 }
            }
            return .string("\(count) alerts are tried again")
        }
        guard let number = Int64(text), try await faults.retryDeadLetter(number, now: SystemTime.wall()) else {
            throw ControlError("there is no dead letter \(text); see: cloud-hub fault dead-letters", .wrongCall)
        }
        return .string("alert \(number) is tried again")
    }

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
