internal import JSON
public import Primitives
public import Telemetry

/// Mends, on its way to the hub, what this run stamped before the time was known.
///
/// The outbox stays as it is written, which spares the flash: a record is looked at when it travels. One whose clock was
/// not synchronised, and whose time lies in a stretch that was corrected since, gets the time that it really had then.
public struct Restamper: Sendable {
    /// Time as it was given between two corrections.
    private struct Stretch: Sendable {
        let from: WallInstant
        let to: WallInstant
        var delta: Duration
    }

    /// What is stamped and what is noted are not the same moment.
    private static let slack = Duration.seconds(1)
    /// Stretches that are remembered; older ones go out as they were stamped.
    private static let stretchesMax = 32

    private let first: UInt64
    private var since: WallInstant
    /// Moved by guesses; nobody knows yet by how much in all.
    private var waiting: [Stretch] = []
    private var known: [Stretch] = []

    /// - Parameters:
    ///   - first: the first sequence of this run; what an earlier run stamped is not known to be off by as much.
    ///   - time: as it is given at the beginning.
    public init(first: UInt64, time: WallInstant) {
        self.first = first
        since = time
    }

    /// The time was corrected. What was stamped before may still be on its way into the outbox, so its sequence does not
    /// tell: its time and its quality do.
    public mutating func correction(_ correction: Timekeeper.Correction) {
        for index in waiting.indices { waiting[index].delta += correction.delta }
        if correction.qualityBefore != .synchronised {
            waiting.append(Stretch(from: since, to: correction.before, delta: correction.delta))
        }
        since = correction.before + correction.delta
        guard correction.quality == .synchronised else { return waiting = waiting.suffix(Self.stretchesMax) }
        known = (known + waiting).suffix(Self.stretchesMax)
        waiting = []
    }

    /// - Parameters:
    ///   - fragments: encoded records, joined with commas.
    ///   - runs: their sequences.
    /// - Returns: the same records, some with another time.
    public func restamped(_ fragments: [UInt8], runs: [Run]) -> [UInt8] {
        guard !known.isEmpty, runs.contains(where: { $0.start + $0.count > first }) else {
            return fragments
        }
        let bytes = [UInt8(ascii: "[")] + fragments + [UInt8(ascii: "]")]
        let limits = JSONLimits(bytesMax: 1 << 20, depthMax: 16)
        guard let records = (try? JSONValue(parsing: bytes, limits: limits))?.arrayValue else { return fragments }
        let mended = JSONValue.array(records.map(mended)).serialized()
        return Array(mended.dropFirst().dropLast())
    }

    private func mended(_ record: JSONValue) -> JSONValue {
        guard case .object(var members) = record, members["clock"] != nil,
            let sequence = members["seq"]?.stringValue.flatMap({ UInt64($0) }), sequence >= first,
            let time = members["time"]?.stringValue.flatMap({ WallInstant($0) })
        else { return record }
        let deltas = Set(
            known.filter { time >= $0.from + (.zero - Self.slack) && time <= $0.to + Self.slack }.map(\.delta))
        // Where a clock was moved over the same hour twice, nobody can tell which of the two it was.
        guard deltas.count == 1, let delta = deltas.first else { return record }
        members["time"] = .string((time + delta).description)
        _ = members.removeValue(forKey: "clock")
        return .object(members)
    }
}
