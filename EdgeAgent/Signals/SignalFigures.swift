public import Primitives
internal import Telemetry
internal import Rules

/// What became of one signal's readings since the agent started.
public struct SignalFigures: Sendable, Equatable {
    public let key: SignalKey
    /// The largest error of what was left out, for people; `nil` when everything is kept or nothing is promised.
    public var bound: String?
    /// Readings that came in.
    public var readings: UInt64 = 0
    /// Of these, those that were kept, also for a fault's sake.
    public var kept: UInt64 = 0
    /// Kept because a fault was raised within a minute.
    public var context: UInt64 = 0
    /// Results of its windows.
    public var results: UInt64 = 0
    /// Marked as bad or uncertain here.
    public var marked: UInt64 = 0
    /// Results of its expression that were unknown.
    public var unknown: UInt64 = 0
    /// Faults whose minute before was longer than there was room for.
    public var contextCuts: UInt64 = 0
    /// Of what came in, as JSON in a batch, without compression.
    public var bytesIn: UInt64 = 0
    /// Of what was kept and of the results.
    public var bytesOut: UInt64 = 0

    public init(key: SignalKey) { self.key = key }

    /// The part of the bytes that need not be sent, in percent; below 0 when windows add more than is left out.
    public var savingPercent: Double {
        bytesIn == 0 ? 0 : 100 * (1 - Double(bytesOut) / Double(bytesIn))
    }

    /// What one reading is in a batch: `{"seq":"…","device":"…","metric":"…","value":"…","unit":"…","time":"…"}`.
    static func bytes(of reading: Reading) -> UInt64 {
        let value =
            switch reading.value {
            case .number(let number): number.text.utf8.count + 2
            case .text(let text): text.utf8.count + 2
            case .boolean(let flag): flag ? 4 : 5
            }
        let unit = reading.unit.map { $0.utf8.count + 10 } ?? 0
        let quality = reading.quality == .good ? 0 : reading.quality.rawValue.utf8.count + 13
        return UInt64(90 + reading.device.text.utf8.count + reading.metric.utf8.count + value + unit + quality)
    }

    // MARK: - Bytes

    private static let version: UInt8 = 1

    /// For the store, so that `edge-agent status` can show them.
    public static func bytes(of figures: [SignalFigures], at time: WallInstant) -> [UInt8] {
        var writer = StateWriter(version: version)
        writer.fixed(UInt64(bitPattern: time.milliseconds))
        writer.number(UInt64(figures.count))
        for one in figures {
            writer.text(one.key.device.text)
            writer.text(one.key.metric)
            writer.text(one.bound ?? "")
            for count in one.counts { writer.number(count) }
        }
        return writer.bytes
    }

    private var counts: [UInt64] {
        [readings, kept, context, results, marked, unknown, contextCuts, bytesIn, bytesOut]
    }

    /// `nil` when the bytes are not what `bytes` writes.
    public static func read(_ bytes: [UInt8]) -> (time: WallInstant, figures: [SignalFigures])? {
        guard var reader = StateReader(bytes, version: version), let time = reader.fixed(), let count = reader.number()
        else { return nil }
        var all: [SignalFigures] = []
        for _ in 0..<count {
            guard let device = reader.text().flatMap({ DeviceID($0) }), let metric = reader.text(),
                let bound = reader.text()
            else { return nil }
            var one = SignalFigures(key: SignalKey(device: device, metric: metric))
            one.bound = bound.isEmpty ? nil : bound
            let paths: [WritableKeyPath<SignalFigures, UInt64>] = [
                \.readings, \.kept, \.context, \.results, \.marked, \.unknown, \.contextCuts, \.bytesIn, \.bytesOut,
            ]
            for path in paths {
                guard let number = reader.number() else { return nil }
                one[keyPath: path] = number
            }
            all.append(one)
        }
        guard reader.isAtEnd else { return nil }
        return (WallInstant(milliseconds: Int64(bitPattern: time)), all)
    }
}
