/// What holds every year: `CET-1CEST,M3.5.0,M10.5.0/3`. Source: POSIX.1-2024 section 8.3 (TZ), RFC 9636 section 3.3.
struct YearlyRule: Sendable, Equatable {
    /// A day of the year and a time of that day.
    private struct Change: Sendable, Equatable {
        enum Day: Sendable, Equatable {
            /// 1 … 365; 29 February is never counted.
            case julian(Int)
            /// 0 … 365.
            case ordinal(Int)
            /// Month, week 1 … 5 (the last), weekday from Sunday 0.
            case month(Int, week: Int, weekday: Int)
        }

        let day: Day
        /// Seconds after midnight; may be before it or days after it.
        let time: Int
    }

    private struct Summer: Sendable, Equatable {
        let offset: Int
        let start: Change
        let end: Change
    }

    /// Seconds east of Greenwich.
    private let standard: Int
    private let summer: Summer?

    init?(parsing bytes: ArraySlice<UInt8>) {
        var scan = Scan(rest: bytes)
        guard bytes.count <= 128, scan.name(), let west = scan.time(hoursMax: 24) else { return nil }
        standard = -west
        guard !scan.isAtEnd else {
            summer = nil
            return
        }
        guard scan.name() else { return nil }
        var offset = standard + 3600
        if scan.rest.first != UInt8(ascii: ",") {
            guard let west = scan.time(hoursMax: 24) else { return nil }
            offset = -west
        }
        guard let start = scan.change(), let end = scan.change(), scan.isAtEnd else { return nil }
        summer = Summer(offset: offset, start: start, end: end)
    }

    func offset(at time: Int64) -> Int {
        guard let summer else { return standard }
        // A hundred million years either way, so that nothing overflows.
        let time = min(max(time, -1 << 52), 1 << 52)
        let year = Self.year(ofDay: Self.floorDivided(time + Int64(standard), 86_400))
        let start = Self.instant(summer.start, year) - Int64(standard)
        let end = Self.instant(summer.end, year) - Int64(summer.offset)
        let isSummer = start < end ? time >= start && time < end : !(time >= end && time < start)
        return isSummer ? summer.offset : standard
    }

    // MARK: - Days

    /// Seconds since 1970 by the local clock.
    private static func instant(_ change: Change, _ year: Int64) -> Int64 {
        let first = days(year, 1)
        let day: Int64
        switch change.day {
        case .julian(let number): day = first + Int64(number) - 1 + (isLeap(year) && number > 59 ? 1 : 0)
        case .ordinal(let number): day = first + Int64(number)
        case .month(let month, let week, let weekday):
            let begin = days(year, month)
            let next = month == 12 ? days(year + 1, 1) : days(year, month + 1)
            // 1970 began on a Thursday.
            let away = (Int64(weekday) - (begin + 4) % 7 + 14) % 7
            var found = begin + away + Int64(week - 1) * 7
            while found >= next { found -= 7 }
            day = found
        }
        return day * 86_400 + Int64(change.time)
    }

    private static func isLeap(_ year: Int64) -> Bool { year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) }

    /// Days from 1970 to the first of the month; the year is counted from March, so that a leap day is its last.
    private static func days(_ year: Int64, _ month: Int) -> Int64 {
        let years = month > 2 ? year : year - 1
        let era = floorDivided(years, 400)
        let ofEra = years - era * 400
        let ofYear = (153 * Int64((month + 9) % 12) + 2) / 5
        return era * 146_097 + ofEra * 365 + ofEra / 4 - ofEra / 100 + ofYear - 719_468
    }

    private static func year(ofDay day: Int64) -> Int64 {
        // At most one year too late by the mean length of a year.
        var year = 1970 + floorDivided(day * 400, 146_097)
        while days(year, 1) > day { year -= 1 }
        while days(year + 1, 1) <= day { year += 1 }
        return year
    }

    private static func floorDivided(_ value: Int64, _ divisor: Int64) -> Int64 {
        let quotient = value / divisor
        return value % divisor < 0 ? quotient - 1 : quotient
    }

    // MARK: - Text

    private struct Scan {
        var rest: ArraySlice<UInt8>

        var isAtEnd: Bool { rest.isEmpty }

        mutating func takes(_ character: Unicode.Scalar) -> Bool {
            guard rest.first == UInt8(ascii: character) else { return false }
            rest.removeFirst()
            return true
        }

        /// `CET`, or `<+0330>`.
        mutating func name() -> Bool {
            if takes("<") {
                guard let end = rest.firstIndex(of: UInt8(ascii: ">")) else { return false }
                rest = rest[(end + 1)...]
                return true
            }
            let letters = rest.prefix { (65...90).contains($0) || (97...122).contains($0) }
            rest = rest.dropFirst(letters.count)
            return letters.count >= 3
        }

        mutating func number(_ range: ClosedRange<Int>) -> Int? {
            let digits = rest.prefix { (48...57).contains($0) }
            guard (1...3).contains(digits.count) else { return nil }
            rest = rest.dropFirst(digits.count)
            let value = digits.reduce(0) { $0 * 10 + Int($1) - 48 }
            return range.contains(value) ? value : nil
        }

        /// `1`, `-1:30`, `+3:30:15`: seconds.
        mutating func time(hoursMax: Int) -> Int? {
            let isNegative = takes("-")
            if !isNegative { _ = takes("+") }
            guard let hours = number(0...hoursMax) else { return nil }
            var seconds = hours * 3600
            for unit in [60, 1] where takes(":") {
                guard let more = number(0...59) else { return nil }
                seconds += more * unit
            }
            return isNegative ? -seconds : seconds
        }

        /// `,M3.5.0/2`, `,J60`, `,59`.
        mutating func change() -> Change? {
            guard takes(",") else { return nil }
            let day: Change.Day
            if takes("M") {
                guard let month = number(1...12), takes("."), let week = number(1...5), takes("."),
                    let weekday = number(0...6)
                else { return nil }
                day = .month(month, week: week, weekday: weekday)
            } else if takes("J") {
                guard let number = number(1...365) else { return nil }
                day = .julian(number)
            } else {
                guard let number = number(0...365) else { return nil }
                day = .ordinal(number)
            }
            guard takes("/") else { return Change(day: day, time: 7200) }
            // Source: RFC 9636 section 3.3.1: a week before and after.
            return time(hoursMax: 167).map { Change(day: day, time: $0) }
        }
    }
}
