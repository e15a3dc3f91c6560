/// How dear a record is to the gateway while the way to the hub is closed, and for how long it is worth sending.
///
/// Faults stand above every priority. All records of one sensor should have the same retention: order is kept within a
/// sensor because its records are stored together.
public struct Retention: Hashable, Sendable {
    /// Who goes first when the gateway's outbox is full: low before normal before high, the oldest first.
    public enum Priority: Int, Sendable, Hashable, CaseIterable, Comparable {
        case low = 0
        case normal = 1
        case high = 2

        public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    }

    /// What is configured for no sensor in particular: normal, and it does not expire.
    public static let standard = Retention()

    public var priority: Priority
    /// A record that waits for longer is not sent any more; the hub is told. Counted in time that has surely passed, so
    /// that a clock which jumps expires nothing. `nil` for no end.
    public var timeToLive: Duration?

    public init(priority: Priority = .normal, timeToLive: Duration? = nil) {
        self.priority = priority
        self.timeToLive = timeToLive
    }
}
