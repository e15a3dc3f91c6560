/// When a rule is in force: windows of the week, in one time zone.
///
///     mon-fri 08:00-18:00      sat,sun 09:00-12:30      daily 22:00-06:00
///
/// A window that ends at or before its beginning runs into the next day. Days: mon tue wed thu fri sat sun, ranges and
/// lists of them, or daily.
public struct Schedule: Hashable, Sendable {
    /// Whose wall clock the windows are read on.
    public enum Zone: Hashable, Sendable {
        /// Minutes east of Greenwich, -14 h … +14 h.
        case offset(minutes: Int)
        /// The zone that the machine is set to.
        case local
        /// One of the time zone database, with its summer time: `Europe/Berlin`. Whether there is such a one is for
        /// whoever has the database.
        case named(String)
    }

    public static let minutesPerWeek = 7 * 1440
    /// Windows of one rule: 16.
    public static let windowsMax = 16

    /// As written, in order.
    public let texts: [String]
    public let zone: Zone
    /// Whether the rule is in force while nobody knows what time it is. Default true: a fault too many is better than
    /// one that nobody sees.
    public let isActiveWithoutClock: Bool
    /// Minutes of the week from Monday 00:00; disjoint, rising.
    private let ranges: [Range<Int>]

    /// - Throws: the first problem and the number of its text.
    public init(
        parsing texts: [String], zone: Zone = .local, isActiveWithoutClock: Bool = true
    ) throws(RuleTextError) {
        guard (1...Self.windowsMax).contains(texts.count) else {
            throw RuleTextError(column: 1, problem: "a schedule has 1 to \(Self.windowsMax) windows")
        }
        var minutes = [Bool](repeating: false, count: Self.minutesPerWeek)
        for text in texts {
            let window = try Self.window(text)
            for day in window.days {
                for minute in window.from..<window.to {
                    minutes[(day * 1440 + minute) % Self.minutesPerWeek] = true
                }
            }
        }
        self.texts = texts
        self.zone = zone
        self.isActiveWithoutClock = isActiveWithoutClock
        ranges = Self.ranges(of: minutes)
    }

    /// Whether the rule is in force.
    ///
    /// - Parameter minuteOfWeek: 0 is Monday 00:00 in the schedule's zone.
    public func contains(minuteOfWeek: Int) -> Bool { ranges.contains { $0.contains(minuteOfWeek) } }

    /// Minutes until that changes, 1 or more; `nil` when it never does.
    public func minutesToChange(from minuteOfWeek: Int) -> Int? {
        if let range = ranges.first(where: { $0.contains(minuteOfWeek) }) {
            if range.upperBound < Self.minutesPerWeek { return range.upperBound - minuteOfWeek }
            // Over the end of the week, perhaps into a window that begins with it.
            guard let first = ranges.first, first.lowerBound == 0 else { return range.upperBound - minuteOfWeek }
            guard first != range else { return nil }
            return Self.minutesPerWeek - minuteOfWeek + first.upperBound
        }
        let next = ranges.first { $0.lowerBound > minuteOfWeek } ?? ranges.first
        return next.map {
            let distance = $0.lowerBound - minuteOfWeek
            return distance > 0 ? distance : distance + Self.minutesPerWeek
        }
    }

    /// For the fingerprint: what decides, however it was written.
    var text: String {
        ranges.map { "\($0.lowerBound)-\($0.upperBound)" }.joined(separator: ",")
            + " \(zone.text) \(isActiveWithoutClock)"
    }

    // MARK: - Text

    private static let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

    private static func window(_ text: String) throws(RuleTextError) -> (days: Set<Int>, from: Int, to: Int) {
        guard text.utf8.count <= 100 else {
            throw RuleTextError(column: 1, problem: "a window has at most 100 bytes")
        }
        var scan = TextScan(text)
        let days = try scan.days(days)
        let from = try scan.timeOfDay()
        guard scan.takes("-") else {
            throw RuleTextError(column: scan.column, problem: "a - is needed here, as in 08:00-18:00")
        }
        var to = try scan.timeOfDay()
        try scan.end()
        if to <= from { to += 1440 }
        return (days, from, to)
    }

    private static func ranges(of minutes: [Bool]) -> [Range<Int>] {
        var ranges: [Range<Int>] = []
        var start: Int?
        for minute in 0...minutes.count {
            let isIn = minute < minutes.count && minutes[minute]
            if isIn, start == nil { start = minute }
            if !isIn, let from = start {
                ranges.append(from..<minute)
                start = nil
            }
        }
        return ranges
    }
}

extension Schedule.Zone {
    /// `utc`, `local`, an offset such as `+01:00`, or what can be the name of a zone; `nil` for anything else.
    public init?(_ text: String) {
        switch text {
        case "utc", "UTC", "Z": self = .offset(minutes: 0)
        case "local": self = .local
        case _ where Self.isName(text): self = .named(text)
        default:
            let bytes = Array(text.utf8)
            guard bytes.count == 6, bytes[3] == UInt8(ascii: ":"), let sign = bytes.first,
                sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-"),
                let hours = Int(text.dropFirst().prefix(2)), let minutes = Int(text.suffix(2)),
                (0...59).contains(minutes), hours >= 0, hours * 60 + minutes <= 14 * 60
            else { return nil }
            self = .offset(minutes: (sign == UInt8(ascii: "-") ? -1 : 1) * (hours * 60 + minutes))
        }
    }

    private static func isName(_ text: String) -> Bool {
        let isLetter: (UInt8) -> Bool = { (65...90).contains($0) || (97...122).contains($0) }
        return (1...64).contains(text.utf8.count) && text.utf8.first.map(isLetter) == true && !text.hasSuffix("/")
            && text.utf8.allSatisfy { isLetter($0) || (48...57).contains($0) || "/_+-".utf8.contains($0) }
    }

    /// Seconds east of Greenwich; `nil` where it changes with the time.
    public var fixedOffset: Int? {
        switch self {
        case .offset(let minutes): minutes * 60
        case .local, .named: nil
        }
    }

    /// As it is written.
    public var text: String {
        switch self {
        case .local: return "local"
        case .named(let name): return name
        case .offset(0): return "utc"
        case .offset(let minutes):
            let hours = minutes.magnitude / 60
            let rest = minutes.magnitude % 60
            return (minutes < 0 ? "-" : "+") + (hours < 10 ? "0" : "") + "\(hours):" + (rest < 10 ? "0" : "")
                + "\(rest)"
        }
    }
}

extension TextScan {
    /// `mon-fri,sun` or `daily`.
    fileprivate mutating func days(_ names: [String]) throws(RuleTextError) -> Set<Int> {
        skipSpaces()
        let start = column
        let text = word()
        if text == "daily" { return Set(names.indices) }
        var found: Set<Int> = []
        var offset = 0
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false).map {
                names.firstIndex(of: String($0))
            }
            guard (1...2).contains(ends.count), let first = ends[0], let last = ends[ends.count - 1] else {
                throw RuleTextError(
                    column: start + offset,
                    problem: "\"\(part.prefix(20))\" is no day; allowed are mon tue wed thu fri sat sun, ranges such "
                        + "as mon-fri, lists such as sat,sun, and daily")
            }
            var day = first
            found.insert(day)
            while day != last {
                day = (day + 1) % names.count
                found.insert(day)
            }
            offset += part.count + 1
        }
        return found
    }

    /// Minutes since midnight; 24:00 is the end of the day.
    fileprivate mutating func timeOfDay() throws(RuleTextError) -> Int {
        skipSpaces()
        let start = column
        let hours = try digits(0...24, expected: "a time of day such as 08:00")
        guard takes(":") else { throw RuleTextError(column: column, problem: "a : is needed here, as in 08:00") }
        let minutes = try digits(0...59, expected: "minutes from 00 to 59")
        guard hours < 24 || minutes == 0 else {
            throw RuleTextError(column: start, problem: "the day ends at 24:00")
        }
        return hours * 60 + minutes
    }
}
