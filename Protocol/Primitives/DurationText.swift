/// Durations as people write them in configuration and on command lines: `250ms`, `90s`, `1h30m`, `7d`.
public enum DurationText {
    private static let units: [(name: String, nanoseconds: Int64)] = [
        ("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000),
        ("min", 60_000_000_000), ("h", 3_600_000_000_000), ("d", 86_400_000_000_000),
    ]

    /// One or more whole numbers, each with its unit (`ns us ms s m h d`, `min` for `m`), larger units first. `nil` for
    /// anything else, a bare number among it, and for more than 292 years.
    public static func parse(_ text: some StringProtocol) -> Duration? {
        var rest = Substring(text)
        var total: Int64 = 0
        var unitBefore = Int64.max
        guard !rest.isEmpty else { return nil }
        while !rest.isEmpty {
            let digits = rest.prefix { $0.isASCII && $0.isNumber }
            rest = rest.dropFirst(digits.count)
            let name = rest.prefix { $0.isASCII && $0.isLetter }
            rest = rest.dropFirst(name.count)
            guard let count = Int64(digits), let unit = units.first(where: { $0.name == name })?.nanoseconds,
                unit < unitBefore
            else { return nil }
            let (part, tooLong) = count.multipliedReportingOverflow(by: unit)
            let (sum, carried) = total.addingReportingOverflow(part)
            guard !tooLong, !carried else { return nil }
            total = sum
            unitBefore = unit
        }
        return .nanoseconds(total)
    }

    /// The text that `parse` reads back: `1h30m`, `250ms`, `0s`. Negative durations are written as `0s`.
    public static func format(_ duration: Duration) -> String {
        var rest = max(0, duration.nanosecondsClamped)
        var text = ""
        for unit in units.reversed() where unit.name != "min" && rest >= unit.nanoseconds {
            text += "\(rest / unit.nanoseconds)\(unit.name)"
            rest %= unit.nanoseconds
        }
        return text.isEmpty ? "0s" : text
    }
}
