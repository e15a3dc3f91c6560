internal import Glibc

/// Percentiles in bounded memory: counts of values in buckets that widen by a constant factor, so that the error is
/// relative to the value.
///
/// When the buckets run out, neighbours are joined in pairs: the error grows to about twice, for all percentiles alike,
/// and `error` says so. Source: Masson, Rim, Lee, "DDSketch", VLDB 2019; Epicoco and others, "UDDSketch", 2020.
struct Sketch: Sendable, Equatable {
    struct Bucket: Sendable, Equatable {
        var index: Int32
        var count: UInt32
    }

    /// The relative error that holds now.
    var error: Double { (logGamma / 2).tanh }
    let bucketsMax: Int
    private(set) var logGamma: Double
    private(set) var zeroCount: UInt32 = 0
    /// By index, rising: the magnitudes of the values below zero, and the values above.
    private(set) var negative: [Bucket] = []
    private(set) var positive: [Bucket] = []

    /// - Parameters:
    ///   - error: relative; above 0 and below 1.
    ///   - bucketsMax: 8 bytes each.
    init(error: Double, bucketsMax: Int) {
        self.bucketsMax = bucketsMax
        logGamma = Glibc.log((1 + error) / (1 - error))
    }

    init(
        logGamma: Double, bucketsMax: Int, zeroCount: UInt32, negative: [Bucket], positive: [Bucket]
    ) {
        self.bucketsMax = bucketsMax
        self.logGamma = logGamma
        self.zeroCount = zeroCount
        self.negative = negative
        self.positive = positive
    }

    mutating func add(_ value: Double) {
        guard value.magnitude >= .leastNormalMagnitude else {
            zeroCount &+= 1
            return
        }
        let index = Int32((Glibc.log(value.magnitude) / logGamma).rounded(.up))
        if value > 0 { Self.add(1, at: index, to: &positive) } else { Self.add(1, at: index, to: &negative) }
        fit()
    }

    mutating func merge(_ other: Sketch) {
        var other = other
        // Both came from the same error by doublings, so that they meet.
        while other.logGamma < logGamma * 0.75 { other.collapse() }
        while logGamma < other.logGamma * 0.75 { collapse() }
        zeroCount &+= other.zeroCount
        for bucket in other.positive { Self.add(bucket.count, at: bucket.index, to: &positive) }
        for bucket in other.negative { Self.add(bucket.count, at: bucket.index, to: &negative) }
        fit()
    }

    /// The value with `percent` of the others below it, within `error` of one that was added; `nil` of none.
    func value(percent: Double) -> Double? {
        let count = (negative + positive).reduce(UInt64(zeroCount)) { $0 + UInt64($1.count) }
        guard count > 0 else { return nil }
        let rank = UInt64((percent / 100 * Double(count - 1)).rounded(.down))
        var passed: UInt64 = 0
        for bucket in negative.reversed() {
            passed += UInt64(bucket.count)
            if passed > rank { return -middle(bucket) }
        }
        passed += UInt64(zeroCount)
        if passed > rank { return 0 }
        for bucket in positive {
            passed += UInt64(bucket.count)
            if passed > rank { return middle(bucket) }
        }
        return nil
    }

    /// As far from both ends of the bucket, relatively.
    private func middle(_ bucket: Bucket) -> Double {
        let upper = Glibc.exp(Double(bucket.index) * logGamma)
        return upper * (1 - error)
    }

    private static func add(_ count: UInt32, at index: Int32, to buckets: inout [Bucket]) {
        var low = 0
        var high = buckets.count
        while low < high {
            let middle = (low + high) / 2
            if buckets[middle].index < index { low = middle + 1 } else { high = middle }
        }
        if low < buckets.count, buckets[low].index == index {
            buckets[low].count &+= count
        } else {
            buckets.insert(Bucket(index: index, count: count), at: low)
        }
    }

    private mutating func fit() {
        while positive.count + negative.count > bucketsMax { collapse() }
    }

    private mutating func collapse() {
        logGamma *= 2
        positive = Self.paired(positive)
        negative = Self.paired(negative)
    }

    private static func paired(_ buckets: [Bucket]) -> [Bucket] {
        var pairs: [Bucket] = []
        pairs.reserveCapacity(buckets.count / 2 + 1)
        for bucket in buckets {
            // Half, rounded up: bucket 2k joins 2k - 1.
            let index = (bucket.index + 1) >> 1
            if pairs.last?.index == index {
                pairs[pairs.count - 1].count &+= bucket.count
            } else {
                pairs.append(Bucket(index: index, count: bucket.count))
            }
        }
        return pairs
    }
}

extension Double {
    fileprivate var tanh: Double { Glibc.tanh(self) }
}
