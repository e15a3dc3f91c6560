import EdgeStore
import Outbox
import Primitives
import Telemetry

/// What `status` says of the outbox beside its depth.
enum OutboxLines {
    static func lines(_ seen: OutboxInspection, endurance: ByteCount?) -> [String] {
        var lines: [String] = []
        for tally in seen.status.tallies {
            let name =
                switch tally.lane {
                case .faults: "faults"
                case .replays: "replays"
                case .readings: "\(tally.priority) priority"
                }
            lines.append("  \(name): \(tally.amount.records) records, \(tally.amount.bytes) bytes")
        }
        let replayable = seen.status.replayable
        lines.append("replayable   \(replayable.records) records, \(replayable.bytes) bytes")
        lines.append("file         \(seen.fileBytes) bytes")
        let account = seen.status.account
        lines.append("lost         \(account.droppedCount) dropped, \(account.expiredCount) expired")
        for loss in seen.losses.prefix(10) {
            lines.append("  \(loss.sensor.device) \(loss.sensor.metric): \(loss.count) \(loss.reason), not told yet")
        }
        let ratio = account.amplification.map { ", \(hundredths($0)) for each byte of readings" } ?? ""
        lines.append("written      \(account.writtenBytes) bytes\(ratio)")
        if let endurance {
            let life = account.life(endurance: endurance)
            let years = life.map { "\(hundredths(Double($0.components.seconds) / 31_557_600)) years" }
            lines.append("card life    \(years ?? "not known before an hour of running")")
        }
        return lines
    }

    private static func hundredths(_ number: Double) -> String {
        let whole = Int64(min(number, 1e15) * 100 + 0.5)
        let cents = whole % 100
        return "\(whole / 100).\(cents < 10 ? "0" : "")\(cents)"
    }
}
