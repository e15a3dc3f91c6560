public import Primitives

/// Keeps a bad sensor from filling the log: the first warning of a subject passes at once, the next ones after a
/// pause, and each says how many were held back. At most `subjectsMax` subjects are told apart; beyond that, the one
/// that has been quiet for longest is forgotten.
public struct WarningLimiter: Sendable {
    private struct Entry: Sendable {
        var lastPassed: MonotonicInstant
        var heldBackCount: Int
    }

    private let pause: Duration
    private let subjectsMax: Int
    private var entries: [String: Entry] = [:]

    public init(pause: Duration = .seconds(60), subjectsMax: Int = 256) {
        precondition(subjectsMax >= 1, "a limiter needs room for one subject")
        self.pause = pause
        self.subjectsMax = subjectsMax
    }

    public enum Verdict: Equatable, Sendable {
        /// Log it, and say that `heldBackCount` like it were not logged since the last one.
        case log(heldBackCount: Int)
        case holdBack
    }

    /// Cost: O(1), or O(subjects) when a new subject meets a full table.
    public mutating func occurred(_ subject: String, now: MonotonicInstant) -> Verdict {
        if var entry = entries[subject] {
            guard now - entry.lastPassed >= pause else {
                entry.heldBackCount += 1
                entries[subject] = entry
                return .holdBack
            }
            entries[subject] = Entry(lastPassed: now, heldBackCount: 0)
            return .log(heldBackCount: entry.heldBackCount)
        }
        if entries.count >= subjectsMax, let oldest = entries.min(by: { $0.value.lastPassed < $1.value.lastPassed }) {
            entries[oldest.key] = nil
        }
        entries[subject] = Entry(lastPassed: now, heldBackCount: 0)
        return .log(heldBackCount: 0)
    }
}
