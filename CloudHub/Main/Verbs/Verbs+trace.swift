import Control
import EventLog
import Faults
import JSON
import Primitives
import Telemetry
import Trace

/// One record's way from the gateway's outbox to the CRM.
extension Verbs {
    func traceRecord(_ request: ControlRequest) async throws -> JSONValue {
        let tracer = try hub(request).tracer
        let gateway = try deviceID(request, "gateway")
        let epoch = try request.text("epoch").map { text throws(ControlError) in
            guard let epoch = Epoch(text) else {
                throw ControlError("'\(text)' is no epoch: it has 16 hexadecimal digits", .wrongCall)
            }
            return epoch
        }
        guard let sequence = request.text("sequence").flatMap({ UInt64($0) }), sequence > 0 else {
            throw ControlError("the sequence number must be a whole number from 1 on", .wrongCall)
        }
        do {
            return Self.tree(try await tracer.trace(gateway: gateway, epoch: epoch, sequence: sequence))
        } catch let error as TraceError {
            throw ControlError(error.description)
        }
    }

    private static func tree(_ trace: RecordTrace) -> JSONValue {
        var members: JSONObject = [
            "gateway": .string(trace.gateway.text), "epoch": .string(trace.epoch.text),
            "sequence": .string(String(trace.sequence)),
        ]
        for (name, value) in standing(trace.standing).members { members[name] = value }
        if let record = trace.record { members["record"] = .object(tree(record)) }
        members["faults"] = .array(trace.faults.map { .object(tree($0)) })
        return .object(members)
    }

    private static func standing(_ standing: RecordTrace.Standing) -> JSONObject {
        switch standing {
        case .inLog(let place):
            [
                "state": "stored", "partition": .number(JSONNumber(Int64(place.partition))),
                "offset": .string(String(place.offset)), "enqueued": .string(place.enqueuedAt.description),
            ]
        case .quarantined(let kept):
            [
                "state": "quarantined", "code": .string(kept.record.code), "reason": .string(kept.record.reason),
                "at": .string(kept.at.description),
            ]
        case .dropped:
            [
                "state": "dropped",
                "reason": .string(
                    "the gateway declared that it never comes: dropped at the outbox's quota, expired, or not kept any more "
                        + "when it was asked for; edge-agent status on the gateway counts its losses"),
            ]
        case .missing:
            ["state": "missing", "reason": "later ones came; the hub asks the gateway for it: cloud-hub device gaps"]
        case .notYet:
            [
                "state": "not yet",
                "reason":
                    "the gateway has not sent so far; if it has made it, it waits in its outbox: edge-agent status",
            ]
        case .gone:
            [
                "state": "gone",
                "reason":
                    "it came, or was declared as lost, and the log's retention or the quarantine's limit has taken it since",
            ]
        }
    }

    private static func tree(_ record: Record) -> JSONObject {
        switch record {
        case .reading(let reading):
            [
                "device": .string(reading.device.text), "metric": .string(reading.metric),
                "value": .string(reading.value.description), "unit": .string(reading.unit ?? ""),
                "time": .string(reading.time.description), "quality": .string(reading.quality.rawValue),
                "clock": .string(reading.clock.rawValue),
            ]
        case .fault(let transition):
            [
                "device": .string(transition.device.text), "fault": .string(transition.faultID.description),
                "state": .string(transition.state.rawValue), "rule": .string(transition.rule),
                "message": .string(transition.message), "time": .string(transition.time.description),
            ]
        }
    }

    private static func tree(_ trace: FaultTrace) -> JSONObject {
        let fault = trace.fault
        return [
            "id": .string(fault.id.description), "device": .string(fault.device.text), "rule": .string(fault.rule),
            "state": .string(fault.phase.rawValue), "opened": .string(fault.openedAt?.description ?? ""),
            "message": .string(fault.message),
            "waiting": .array(trace.waiting.map { .object(tree($0)) }), "alert": .object(tree(trace.row)),
        ]
    }

    private static func tree(_ row: QueueRow) -> JSONObject {
        [
            "what": .string(row.kind.rawValue), "attempts": .number(JSONNumber(Int64(row.attempts))),
            "due": .string(row.dueAt.description), "error": .string(row.error ?? ""), "refused": .bool(row.isDead),
        ]
    }

    private static func tree(_ row: FaultTrace.CRMRow) -> JSONObject {
        switch row {
        case .found(let alert):
            [
                "state": .string(alert.state), "row": .string("msdyn_iotalerts(\(alert.id))"),
                "case": alert.caseID.map { .string("incidents(\($0))") } ?? .null,
                "workOrder": alert.workOrderID.map { .string("msdyn_workorders(\($0))") } ?? .null,
            ]
        case .absent: ["state": "absent", "reason": "the CRM has no row of it"]
        case .unknown(let reason): ["state": "unknown", "reason": .string(reason)]
        }
    }
}
