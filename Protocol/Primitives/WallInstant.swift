/// A point in civil time (UTC), in milliseconds since 1970-01-01T00:00:00Z. It can jump; never measure with it.
public struct WallInstant: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let milliseconds: Int64

    public init(milliseconds: Int64) { self.milliseconds = milliseconds }

    /// The instant that IoT Hub's REST bodies use for "never": 0001-01-01T00:00:00Z.
    public static let never = WallInstant(milliseconds: -62_135_596_800_000)

    public static func < (left: Self, right: Self) -> Bool { left.milliseconds < right.milliseconds }

    /// Saturates instead of trapping or wrapping: peers name instants too.
    public static func + (instant: Self, duration: Duration) -> Self {
        let (sum, overflow) = instant.milliseconds.addingReportingOverflow(duration.millisecondsClamped)
        return Self(milliseconds: overflow ? (duration < .zero ? .min : .max) : sum)
    }

    /// Saturates at what 64 bits of milliseconds hold.
    public static func - (later: Self, earlier: Self) -> Duration {
        let (difference, overflow) = later.milliseconds.subtractingReportingOverflow(earlier.milliseconds)
        return .milliseconds(overflow ? (later < earlier ? .min : .max) : difference)
    }

    /// Whole seconds since 1970, rounded down.
    public var unixSeconds: Int64 {
        let (seconds, rest) = milliseconds.quotientAndRemainder(dividingBy: 1000)
        return rest < 0 ? seconds - 1 : seconds
    }

    /// RFC 3339 in UTC with milliseconds, left out when they are zero: `2026-11-21T08:53:00.250Z`.
    public var description: String {
        let seconds = unixSeconds
        let fraction = (milliseconds % 1000 + 1000) % 1000
        let days = seconds >= 0 ? seconds / 86_400 : (seconds - 86_399) / 86_400
        let ofDay = seconds - days * 86_400
        let (year, month, day) = CivilDate.fromDays(days)
        var text = Self.padded(year, 4) + "-" + Self.padded(month, 2) + "-" + Self.padded(day, 2) + "T"
        text += Self.padded(ofDay / 3600, 2) + ":" + Self.padded(ofDay / 60 % 60, 2) + ":" + Self.padded(ofDay % 60, 2)
        if fraction != 0 { text += "." + Self.padded(fraction, 3) }
        return text + "Z"
    }

    /// Reads RFC 3339: `T` or a space, any number of fraction digits (cut to milliseconds), `Z` or a numeric offset.
    /// A text without an offset is taken as UTC, as IoT Hub does. `nil` for anything else or a date that does not exist.
    public init?(_ text: some StringProtocol) {
        var scan = Scan(bytes: Array(text.utf8))
        guard let year = scan.digits(4), scan.take("-"), let month = scan.digits(2), scan.take("-"),
            let day = scan.digits(2), scan.take("T") || scan.take("t") || scan.take(" "),
            let hour = scan.digits(2), scan.take(":"), let minute = scan.digits(2), scan.take(":"),
            let second = scan.digits(2), hour < 24, minute < 60, second <= 60,
            let days = CivilDate.days(year: year, month: month, day: day)
        else { return nil }
        var millis: Int64 = 0
        if scan.take(".") {
            guard let fraction = scan.fractionMilliseconds() else { return nil }
            millis = fraction
        }
        guard let offset = scan.offsetSeconds(), scan.isAtEnd else { return nil }
        milliseconds = (days * 86_400 + hour * 3600 + minute * 60 + second - offset) * 1000 + millis
    }

    private static func padded(_ value: Int64, _ width: Int) -> String {
        let text = String(value)
        return text.count >= width ? text : String(repeating: "0", count: width - text.count) + text
    }
}

/// The proleptic Gregorian calendar as day numbers; day 0 is 1970-01-01.
enum CivilDate {
    static func days(year: Int64, month: Int64, day: Int64) -> Int64? {
        guard (1...12).contains(month), day >= 1, day <= length(of: month, in: year) else { return nil }
        let shifted = month <= 2 ? year - 1 : year
        let era = (shifted >= 0 ? shifted : shifted - 399) / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }

    static func fromDays(_ days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthIndex = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * monthIndex + 2) / 5 + 1
        let month = monthIndex < 10 ? monthIndex + 3 : monthIndex - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
    }

    private static func length(of month: Int64, in year: Int64) -> Int64 {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }
}

private struct Scan {
    let bytes: [UInt8]
    var index = 0

    var isAtEnd: Bool { index == bytes.count }

    mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard index < bytes.count, bytes[index] == UInt8(ascii: character) else { return false }
        index += 1
        return true
    }

    mutating func digit() -> Int64? {
        guard index < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[index]) else { return nil }
        defer { index += 1 }
        return Int64(bytes[index] - UInt8(ascii: "0"))
    }

    mutating func digits(_ count: Int) -> Int64? {
        var value: Int64 = 0
        for _ in 0..<count {
            guard let digit = digit() else { return nil }
            value = value * 10 + digit
        }
        return value
    }

    mutating func fractionMilliseconds() -> Int64? {
        guard let first = digit() else { return nil }
        var value = first * 100
        var weight: Int64 = 10
        while let next = digit() {
            value += next * weight
            weight /= 10
        }
        return value
    }

    mutating func offsetSeconds() -> Int64? {
        if isAtEnd || take("Z") || take("z") { return 0 }
        let sign: Int64 = take("+") ? 1 : (take("-") ? -1 : 0)
        guard sign != 0, let hours = digits(2), take(":"), let minutes = digits(2), hours < 24, minutes < 60 else {
            return nil
        }
        return sign * (hours * 3600 + minutes * 60)
    }
}
