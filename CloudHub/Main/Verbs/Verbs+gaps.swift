import Control
import Gaps
import JSON
import Primitives
import Telemetry

/// What is missing of gateways' records, and how asking for it goes.
extension Verbs {
    func listGaps(_ request: ControlRequest) throws -> JSONValue {
        let keeper = try hub(request).gaps
        let gateway = request.text("id") == nil ? nil : try deviceID(request)
        let found = keeper.gaps.filter { gateway == nil || $0.key.gateway == gateway }
        let lost = keeper.lost.filter { gateway == nil || $0.key.gateway == gateway }
        let outboxes = Set(found.keys).union(lost.keys).sorted {
            ($0.gateway.text, $0.epoch.text) < ($1.gateway.text, $1.epoch.text)
        }
        return .array(outboxes.map { Self.row($0, found[$0], lost: lost[$0] ?? 0) })
    }

    private static func row(_ outbox: GapMachine.Outbox, _ gap: GapMachine.Gap?, lost: UInt64) -> JSONValue {
        guard let gap else {
            return [
                "gateway": .string(outbox.gateway.text), "epoch": .string(outbox.epoch.text), "missing": "0",
                "sequences": "", "since": "", "asked": .number(JSONNumber(Int64(0))), "answer": "",
                "lost": .string(String(lost)),
            ]
        }
        let missing = gap.holes.reduce(0) { $0 &+ $1.count }
        return [
            "gateway": .string(outbox.gateway.text), "epoch": .string(outbox.epoch.text),
            "missing": .string(String(missing)),
            "sequences": .string(
                gap.holes.prefix(4).map(\.words).joined(separator: " ") + (gap.holes.count > 4 ? " …" : "")),
            "since": .string(gap.since.description), "asked": .number(JSONNumber(Int64(gap.askedCount))),
            "answer": .string(words(gap.outcome)), "lost": .string(String(lost)),
        ]
    }

    private static func words(_ outcome: GapMachine.Outcome?) -> String {
        switch outcome {
        case nil: "not asked yet: the gateway is away, or they may still be on their way"
        case .replayed(let count, 0, _): "sends \(count) again"
        case .replayed(let count, let gone, _): "sends \(count) again; \(gone) are lost: it keeps them no more"
        case .lost: "lost: the gateway has another outbox now"
        case .failed(let reason): reason
        }
    }
}

extension Run {
    /// `17` or `17-19`.
    fileprivate var words: String { count == 1 ? "\(start)" : "\(start)-\(last)" }
}
