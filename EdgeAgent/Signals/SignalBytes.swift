internal import Primitives
internal import Rules
internal import Telemetry

/// Writes one signal's state. Instants are written as their age, because the axis begins anew with every boot.
struct SignalWriter {
    private var writer: StateWriter
    private let now: SignalTime

    init(version: UInt8, now: SignalTime) {
        writer = StateWriter(version: version)
        self.now = now
        fixed(UInt64(bitPattern: now.wall.milliseconds))
    }

    var bytes: [UInt8] { writer.bytes }

    mutating func number(_ number: UInt64) { writer.number(number) }
    mutating func flag(_ flag: Bool) { writer.number(flag ? 1 : 0) }
    mutating func fixed(_ word: UInt64) { writer.fixed(word) }
    mutating func double(_ value: Double) { writer.fixed(value.bitPattern) }
    mutating func text(_ text: String) { writer.text(text) }
    mutating func instant(_ instant: MonotonicInstant) {
        fixed(UInt64(bitPattern: (now.monotonic - instant).nanosecondsClamped))
    }

    /// Without device and metric, which are the signal's.
    mutating func reading(_ reading: Reading) {
        switch reading.value {
        case .number(let number):
            writer.number(0)
            text(number.text)
        case .text(let value):
            writer.number(1)
            text(value)
        case .boolean(let flag): writer.number(flag ? 3 : 2)
        }
        text(reading.unit ?? "")
        fixed(UInt64(bitPattern: reading.time.milliseconds))
        text(reading.quality.rawValue)
        text(reading.clock.rawValue)
    }
}

/// Reads what `SignalWriter` wrote; every answer is `nil` once the bytes are not that.
struct SignalReader {
    private var reader: StateReader
    /// What is now minus an age of zero.
    private let saved: MonotonicInstant

    init?(_ bytes: [UInt8], version: UInt8, now: SignalTime) {
        guard var reader = StateReader(bytes, version: version), let wall = reader.fixed() else { return nil }
        let away = now.wall - WallInstant(milliseconds: Int64(bitPattern: wall))
        // A clock that has jumped in between says nothing about how long the gateway was away.
        let known = away > .zero && away < .seconds(30 * 86_400) ? away.nanosecondsClamped : 0
        saved = MonotonicInstant(nanoseconds: now.monotonic.nanoseconds &- known)
        self.reader = reader
    }

    var isAtEnd: Bool { reader.isAtEnd }

    mutating func number() -> UInt64? { reader.number() }
    mutating func flag() -> Bool? { reader.number().flatMap { $0 <= 1 ? $0 == 1 : nil } }
    mutating func fixed() -> UInt64? { reader.fixed() }
    mutating func text() -> String? { reader.text() }
    /// Infinite is a value, NaN is damage.
    mutating func double() -> Double? {
        reader.fixed().map { Double(bitPattern: $0) }.flatMap { $0.isNaN ? nil : $0 }
    }

    mutating func instant() -> MonotonicInstant? {
        guard let age = reader.fixed() else { return nil }
        let (difference, overflow) = saved.nanoseconds.subtractingReportingOverflow(Int64(bitPattern: age))
        return overflow ? nil : MonotonicInstant(nanoseconds: difference)
    }

    mutating func reading(_ key: SignalKey) -> Reading? {
        guard let kind = number(), let value = value(kind), let unit = text(), let time = fixed(),
            let quality = text().flatMap({ ReadingQuality(rawValue: $0) }),
            let clock = text().flatMap({ ClockQuality(rawValue: $0) })
        else { return nil }
        return Reading(
            device: key.device, metric: key.metric, value: value, unit: unit.isEmpty ? nil : unit,
            time: WallInstant(milliseconds: Int64(bitPattern: time)), quality: quality, clock: clock)
    }

    private mutating func value(_ kind: UInt64) -> ReadingValue? {
        switch kind {
        case 0: text().flatMap { DecimalText($0) }.map(ReadingValue.number)
        case 1: text().map(ReadingValue.text)
        case 2: .boolean(false)
        case 3: .boolean(true)
        default: nil
        }
    }
}

extension Sketch {
    func write(to writer: inout SignalWriter) {
        writer.double(logGamma)
        writer.number(UInt64(zeroCount))
        for buckets in [negative, positive] {
            writer.number(UInt64(buckets.count))
            var before: Int64 = -(1 << 31)
            for bucket in buckets {
                writer.number(UInt64(Int64(bucket.index) - before))
                writer.number(UInt64(bucket.count))
                before = Int64(bucket.index)
            }
        }
    }

    init?(reading reader: inout SignalReader, bucketsMax: Int) {
        guard let logGamma = reader.double(), logGamma > 0, logGamma.isFinite, let zeroCount = reader.number(),
            let zeroes = UInt32(exactly: zeroCount), let negative = Self.buckets(&reader, bucketsMax),
            let positive = Self.buckets(&reader, bucketsMax)
        else { return nil }
        self.init(
            logGamma: logGamma, bucketsMax: bucketsMax, zeroCount: zeroes, negative: negative, positive: positive)
    }

    private static func buckets(_ reader: inout SignalReader, _ countMax: Int) -> [Bucket]? {
        guard let count = reader.number(), count <= UInt64(countMax) else { return nil }
        var buckets: [Bucket] = []
        var before: Int64 = -(1 << 31)
        for _ in 0..<count {
            guard let step = reader.number(), step < 1 << 32, step > 0 || buckets.isEmpty,
                let index = Int32(exactly: before + Int64(step)), let filled = reader.number(),
                let size = UInt32(exactly: filled)
            else { return nil }
            buckets.append(Bucket(index: index, count: size))
            before = Int64(index)
        }
        return buckets
    }
}
