/// Which sequence numbers are known: sorted runs that neither touch nor overlap.
///
/// The hub keeps one for each (gateway, epoch). It stays small because what arrives is nearly always the next numbers;
/// every undeclared hole costs one more interval, up to `intervalCountMax`.
public struct IntervalSet: Sendable {
    /// Default limit of intervals: about 100 KiB when encoded at its worst.
    public static let intervalCountMaxDefault = 16_384

    private struct Interval: Equatable, Sendable {
        var first: UInt64
        var last: UInt64
    }

    public enum Insertion: Equatable, Sendable {
        case inserted
        /// The run would have made one interval more than allowed; nothing was changed.
        case full
    }

    public let intervalCountMax: Int
    private var intervals: [Interval] = []

    public init(intervalCountMax: Int = Self.intervalCountMaxDefault) {
        precondition(intervalCountMax >= 1, "an interval set needs room for one interval")
        self.intervalCountMax = intervalCountMax
    }

    public var isEmpty: Bool { intervals.isEmpty }
    public var intervalCount: Int { intervals.count }
    /// Smallest and largest known number.
    public var first: UInt64? { intervals.first?.first }
    public var last: UInt64? { intervals.last?.last }

    /// Everything known, rising.
    public var runs: [Run] { intervals.map { Self.run($0.first, $0.last) } }

    /// What is missing between the smallest and the largest known number, rising.
    public var holes: [Run] {
        zip(intervals, intervals.dropFirst()).map { Self.run($0.last + 1, $1.first - 1) }
    }

    /// Cost: O(log intervals).
    public func contains(_ sequence: UInt64) -> Bool {
        let index = firstIndex(endingAtOrAfter: sequence)
        return index < intervals.count && intervals[index].first <= sequence
    }

    /// The parts of the run that are not known, rising; empty when all of it is.
    public func missing(in run: Run) -> [Run] {
        guard !run.isEmpty else { return [] }
        var missing: [Run] = []
        var next = run.start
        var index = firstIndex(endingAtOrAfter: next)
        while index < intervals.count, intervals[index].first <= run.last {
            if intervals[index].first > next { missing.append(Self.run(next, intervals[index].first - 1)) }
            guard intervals[index].last < run.last else { return missing }
            next = intervals[index].last + 1
            index += 1
        }
        missing.append(Self.run(next, run.last))
        return missing
    }

    /// Adds a run, joining what touches. Cost: O(log intervals) at the end, O(intervals) elsewhere.
    public mutating func insert(_ run: Run) -> Insertion {
        guard !run.isEmpty else { return .inserted }
        // The first interval that overlaps or touches the run from below, and the one after the last that does.
        let low = firstIndex(endingAtOrAfter: run.start == 0 ? 0 : run.start - 1)
        var high = low
        while high < intervals.count, intervals[high].first <= run.last || intervals[high].first - 1 == run.last {
            high += 1
        }
        guard high > low else {
            guard intervals.count < intervalCountMax else { return .full }
            intervals.insert(Interval(first: run.start, last: run.last), at: low)
            return .inserted
        }
        let joined = Interval(
            first: min(intervals[low].first, run.start), last: max(intervals[high - 1].last, run.last))
        intervals[low] = joined
        if high - low > 1 { intervals.removeSubrange(low + 1..<high) }
        return .inserted
    }

    private static func run(_ first: UInt64, _ last: UInt64) -> Run {
        // 2^64 numbers do not fit a count; the one number that is lost is never used, because sequences start at 1.
        let (count, overflow) = (last - first).addingReportingOverflow(1)
        return Run(start: first, count: overflow ? .max : count)
    }

    private func firstIndex(endingAtOrAfter sequence: UInt64) -> Int {
        if let last = intervals.last, last.last < sequence { return intervals.count }
        var low = 0
        var high = intervals.count
        while low < high {
            let middle = (low + high) / 2
            if intervals[middle].last < sequence { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

extension IntervalSet: Equatable {
    /// Equal when they know the same numbers, whatever their limits.
    public static func == (left: Self, right: Self) -> Bool { left.intervals == right.intervals }
}

// MARK: - Bytes

/// Layout: `01`, then the number of intervals, then for each its distance from the one before and its length less one.
/// All but the first byte are base-128 numbers, low group first, high bit set on all but the last byte.
extension IntervalSet {
    private static let version: UInt8 = 1

    /// For the store; `init(decoding:)` reads it back.
    public func encoded() -> [UInt8] {
        var bytes = [Self.version]
        Self.append(UInt64(intervals.count), to: &bytes)
        var next: UInt64 = 0
        for interval in intervals {
            Self.append(interval.first - next, to: &bytes)
            Self.append(interval.last - interval.first, to: &bytes)
            next = interval.last == .max ? .max : interval.last + 1
        }
        return bytes
    }

    /// `nil` when the bytes are not what `encoded()` writes, or hold more intervals than allowed.
    public init?(decoding bytes: some Collection<UInt8>, intervalCountMax: Int = Self.intervalCountMaxDefault) {
        self.init(intervalCountMax: intervalCountMax)
        var rest = Array(bytes)[...]
        guard rest.popFirst() == Self.version, let count = Self.number(&rest), count <= UInt64(intervalCountMax) else {
            return nil
        }
        var next: UInt64 = 0
        for index in 0..<count {
            guard let distance = Self.number(&rest), let length = Self.number(&rest), index == 0 || distance > 0 else {
                return nil
            }
            let (first, overflow) = next.addingReportingOverflow(distance)
            let (last, carry) = first.addingReportingOverflow(length)
            guard !overflow, !carry else { return nil }
            intervals.append(Interval(first: first, last: last))
            next = last == .max ? .max : last + 1
        }
        guard rest.isEmpty else { return nil }
    }

    private static func append(_ number: UInt64, to bytes: inout [UInt8]) {
        var rest = number
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    private static func number(_ bytes: inout ArraySlice<UInt8>) -> UInt64? {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), through: 63, by: 7) {
            guard let byte = bytes.popFirst() else { return nil }
            guard shift < 63 || byte <= 1 else { return nil }
            value |= UInt64(byte & 0x7F) << shift
            // A last group of zeros would be a second spelling of the same number.
            if byte < 0x80 { return byte == 0 && shift > 0 ? nil : value }
        }
        return nil
    }
}
