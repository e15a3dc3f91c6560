import Primitives
import Signals
import Telemetry

/// Signals on a clock that the test moves, with what they gave out.
struct Bench {
    static let start: Int64 = 1_795_017_000_000

    let settings: [SignalSettings]
    var signals: Signals
    /// Milliseconds since the start, on the axis that never jumps.
    var elapsed: Int64 = 0
    /// How far the wall clock has jumped, in milliseconds.
    var jump: Int64 = 0
    var clock = ClockQuality.synchronised
    var kept: [Reading] = []
    var notices: [SignalNotice] = []
    var rows: [String: [UInt8]] = [:]

    init(_ settings: [SignalSettings], stateInterval: Duration = .seconds(60)) {
        self.settings = settings
        signals = Signals(settings: settings, stateInterval: stateInterval)
    }

    var now: SignalTime {
        SignalTime(
            monotonic: MonotonicInstant(nanoseconds: 1_000_000_000_000 + elapsed * 1_000_000), wall: wall, clock: clock)
    }
    var wall: WallInstant { WallInstant(milliseconds: Self.start + elapsed + jump) }

    static func device(_ text: String) -> DeviceID {
        guard let device = DeviceID(text) else { preconditionFailure("\(text) is no device id") }
        return device
    }

    func reading(
        _ value: ReadingValue, _ device: String = "d", _ metric: String = "m", unit: String? = nil,
        quality: ReadingQuality = .good
    ) -> Reading {
        Reading(
            device: Self.device(device), metric: metric, value: value, unit: unit, time: wall, quality: quality,
            clock: clock)
    }

    /// Goes on to that time, calling the machine when it wants to be called.
    mutating func advance(to milliseconds: Int64) {
        while let deadline = signals.nextDeadline {
            let due = (deadline.nanoseconds - 1_000_000_000_000 + 999_999) / 1_000_000
            guard due <= milliseconds else { break }
            elapsed = max(elapsed, due)
            var output = SignalOutput()
            signals.timeReached(at: now, &output)
            settle(output)
            store()
        }
        elapsed = milliseconds
    }

    mutating func take(_ reading: Reading, isResult: Bool = false) {
        var output = SignalOutput()
        let prepared = signals.prepare(reading, isResult: isResult, at: now, &output)
        let isKept = signals.take(prepared, at: now, &output)
        kept += output.kept
        notices += output.notices
        if isKept { kept.append(prepared.reading) }
        for one in output.derived { take(one.reading, isResult: one.isResult) }
    }

    mutating func take(number: Double, _ device: String = "d", _ metric: String = "m", unit: String? = nil) {
        guard let text = DecimalText(number) else { return }
        take(reading(.number(text), device, metric, unit: unit))
    }

    mutating func raiseFault(_ device: String = "d") {
        var output = SignalOutput()
        signals.faultRaised(for: Self.device(device), at: now, &output)
        settle(output)
    }

    mutating func store(isFinal: Bool = false) {
        for row in signals.rowsToKeep(at: now, isFinal: isFinal) { rows[row.key] = row.bytes }
    }

    /// A new run with what is stored; the axis begins elsewhere.
    mutating func restart(with settings: [SignalSettings]? = nil) {
        signals = Signals(settings: settings ?? self.settings)
        var output = SignalOutput()
        let keys = Set(Signals.rowKeys(index: rows[Signals.indexKey]))
        signals.begin(rows: rows.filter { keys.contains($0.key) }, at: now, &output)
        settle(output)
    }

    private mutating func settle(_ output: SignalOutput) {
        kept += output.kept
        notices += output.notices
        for one in output.derived { take(one.reading, isResult: one.isResult) }
    }

    /// The kept readings of a metric as milliseconds since the start and number.
    func points(_ metric: String = "m", _ device: String = "d") -> [(time: Int64, value: Double)] {
        kept.filter { $0.metric == metric && $0.device.text == device }.map {
            ($0.time.milliseconds - Self.start, $0.value.double ?? .nan)
        }
    }
}
