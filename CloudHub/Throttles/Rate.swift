/// How often something may be done: so many times a period, which may all come at once.
public struct Rate: Hashable, Sendable, CustomStringConvertible {
    public enum Period: String, Sendable, CaseIterable {
        case second = "s"
        case minute = "min"
        case hour = "h"

        var nanoseconds: Int64 {
            switch self {
            case .second: 1_000_000_000
            case .minute: 60_000_000_000
            case .hour: 3_600_000_000_000
            }
        }
    }

    public static let countMax = 10_000_000

    /// 1 … `countMax`.
    public let count: Int
    public let period: Period

    /// `nil` when the count is out of its range.
    public init?(_ count: Int, per period: Period) {
        guard (1...Self.countMax).contains(count) else { return nil }
        self.count = count
        self.period = period
    }

    /// Reads `100/s`, `600/min`, `10/h`.
    public init?(_ text: String) {
        let halves = text.split(separator: "/", omittingEmptySubsequences: false)
        guard halves.count == 2, halves[0].allSatisfy(\.isNumber), let count = Int(halves[0]),
            let period = Period(rawValue: String(halves[1]))
        else { return nil }
        self.init(count, per: period)
    }

    public var description: String { "\(count)/\(period.rawValue)" }
}
