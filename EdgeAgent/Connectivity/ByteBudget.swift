public import Primitives

/// How many bytes may still cross the network today, in either direction, and what happens when there are none left.
///
/// A day is one of UTC by a clock that can be trusted; while it cannot, a day ends 24 hours after it was begun.
public struct ByteBudget: Sendable {
    /// What becomes of the rest of the day.
    public enum AtEnd: Sendable { case faultsOnly, nothing }

    public enum Allowance: Sendable, Equatable { case everything, faults, nothing }

    /// `nil` for no limit.
    public let perDay: UInt64?
    private let atEnd: AtEnd
    /// Since 1970; `nil` before the first trusted look.
    private var day: Int64?
    private var began: MonotonicInstant?
    public private(set) var spent: UInt64 = 0
    /// Of what was spent, so much is kept.
    private var kept: UInt64 = 0

    /// - Parameter kept: what `state` gave an earlier run; what cannot be read is nothing.
    public init(perDay: UInt64?, atEnd: AtEnd, kept: [UInt8]?) {
        self.perDay = perDay
        self.atEnd = atEnd
        let words = String(decoding: kept ?? [], as: UTF8.self).split(separator: " ")
        guard words.count == 2, let day = Int64(words[0]), let spent = UInt64(words[1]) else { return }
        self.day = day
        self.spent = spent
        self.kept = spent
    }

    public var allowance: Allowance {
        guard let perDay, spent >= perDay else { return .everything }
        return atEnd == .faultsOnly ? .faults : .nothing
    }

    /// What is to be kept over a restart.
    public var state: [UInt8] { Array("\(day ?? 0) \(spent)".utf8) }

    /// Whether it is worth a write: at the end of the budget, and after each sixty-fourth of it.
    public var isToBeKept: Bool {
        guard let perDay else { return false }
        return spent < kept || spent - kept >= max(1, perDay / 64) || (spent >= perDay) != (kept >= perDay)
    }

    public mutating func stateKept() { kept = spent }

    public mutating func used(_ bytes: UInt64) {
        let (sum, overflow) = spent.addingReportingOverflow(bytes)
        spent = overflow ? .max : sum
    }

    /// - Parameter wall: the time, when it can be trusted.
    /// - Returns: whether a new day has begun.
    public mutating func timePassed(wall: WallInstant?, now: MonotonicInstant) -> Bool {
        let start = began ?? now
        began = start
        if let today = wall.map({ $0.unixSeconds / 86_400 }) {
            // A day that was kept by a clock which ran ahead is no day: nothing is given twice.
            guard let before = day, today > before else {
                day = today
                return false
            }
            day = today
        } else if now - start < .seconds(86_400) {
            return false
        }
        began = now
        spent = 0
        return true
    }
}
