import Expressions
import Primitives
import Signals
import Telemetry
import TimeZones

/// In thousandths of what is promised.
private let errorMax = limit(1000, canary: 400)

/// libFuzzer calls this with bytes of its own making. The first one says what the others are: an expression, a zone's file,
/// kept rows, or the settings of a signal and its readings.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = fuzzed(start, count)
    guard let kind = bytes.first else { return 0 }
    let rest = Array(bytes.dropFirst())
    switch kind {
    case UInt8(ascii: "e"): expression(String(decoding: rest, as: UTF8.self))
    case UInt8(ascii: "z"): zone(rest)
    case UInt8(ascii: "r"): rows(rest)
    default: readings(kind, rest)
    }
    return 0
}

private func expression(_ text: String) {
    guard let read = try? SignalExpression(parsing: text) else { return }
    hold(text.utf8.count <= SignalExpression.bytesMax, "the limit of an expression's length is passed")
    hold(read.signals.count <= SignalExpression.signalsMax, "the limit of an expression's signals is passed")
    hold((try? SignalExpression(parsing: read.text)) == read, "a written expression is read as another")
    for value in [Double.nan, .infinity, 0, -1, 1e308, .leastNonzeroMagnitude] {
        let number = read.number { $0 % 2 == 0 ? value : 3 }
        hold(number.map(\.isFinite) ?? true, "an expression gives what is no number")
        _ = read.truth { _ in value }
        _ = read.number { _ in nil }
    }
}

private func zone(_ bytes: [UInt8]) {
    guard let rules = ZoneRules(parsing: bytes) else { return }
    for time in [Int64.min, -2_208_988_800, -1, 0, 1_795_251_180, 4_733_510_400, .max] {
        hold((-200_000...200_000).contains(rules.offset(at: time)), "a zone is further away than a day")
    }
}

/// One signal on a clock of its own.
private struct Plant {
    let settings: SignalSettings
    var signals: Signals
    var elapsed: Int64 = 0
    var raw: [(time: Int64, value: Double)] = []
    var kept: [(time: Int64, value: Double)] = []
    var rows: [String: [UInt8]] = [:]

    init(_ settings: SignalSettings) {
        self.settings = settings
        signals = Signals(settings: [settings])
    }

    var now: SignalTime {
        SignalTime(
            monotonic: MonotonicInstant(nanoseconds: 1_000_000_000_000 + elapsed * 1_000_000),
            wall: WallInstant(milliseconds: 1_795_000_000_000 + elapsed), clock: .synchronised)
    }

    mutating func take(_ output: SignalOutput) {
        for reading in output.kept where reading.metric == "m" {
            kept.append((reading.time.milliseconds, reading.value.double ?? .nan))
        }
        for derived in output.derived {
            hold(derived.reading.value.double?.isFinite ?? true, "a window gives no number")
        }
    }

    mutating func observe(_ value: Double, _ device: DeviceID) {
        guard let text = DecimalText(value) else { return }
        var output = SignalOutput()
        signals.timeReached(at: now, &output)
        take(output)
        output = SignalOutput()
        let reading = Reading(device: device, metric: "m", value: .number(text), time: now.wall)
        let prepared = signals.prepare(reading, isResult: false, at: now, &output)
        let isKept = signals.take(prepared, at: now, &output)
        take(output)
        raw.append((now.wall.milliseconds, text.double))
        if isKept { kept.append((now.wall.milliseconds, text.double)) }
    }

    mutating func fault(_ device: DeviceID) {
        var output = SignalOutput()
        signals.faultRaised(for: device, at: now, &output)
        take(output)
    }

    mutating func restart() {
        for row in signals.rowsToKeep(at: now, isFinal: true) { rows[row.key] = row.bytes }
        signals = Signals(settings: [settings])
        var output = SignalOutput()
        signals.begin(rows: rows, at: now, &output)
        take(output)
        for row in signals.rowsToKeep(at: now) { rows[row.key] = row.bytes }
    }
}

private func rows(_ bytes: [UInt8]) {
    guard let device = DeviceID("d") else { return }
    var settings = SignalSettings(metric: "m")
    settings.reduction = .swingingDoor(errorMax: 1)
    settings.windows = [
        WindowSettings(length: .seconds(10), every: .seconds(5), aggregates: [.mean, .rate, .percentile(90)])
    ]
    settings.counter = Counter(wrap: 100)
    var plant = Plant(settings)
    for key in ["signals", "signal-context", "signal-ring", "signal/d/m"] { plant.rows[key] = bytes }
    var output = SignalOutput()
    plant.signals.begin(rows: plant.rows, at: plant.now, &output)
    for step in 1..<20 as Range<Int64> {
        plant.elapsed = step * 1500
        plant.observe(Double(step), device)
    }
    plant.fault(device)
    plant.restart()
}

private func readings(_ kind: UInt8, _ bytes: [UInt8]) {
    guard bytes.count > 3, let device = DeviceID("d") else { return }
    var settings = SignalSettings(metric: "m")
    let bound = Double(bytes[0]) / 16
    switch kind % 3 {
    case 0: settings.reduction = .swingingDoor(errorMax: bound)
    case 1: settings.reduction = .deadband(absolute: bound, percent: 0)
    default: settings.reduction = .changes
    }
    settings.heartbeat = .seconds(1 + Int64(bytes[1] % 60))
    settings.contextMax = 1 + Int(bytes[2] % 200)
    settings.windows = [WindowSettings(length: .seconds(10), aggregates: [.mean, .max, .rate, .percentile(50)])]
    if kind > 127 { settings.counter = Counter(wrap: 64) }
    var plant = Plant(settings)
    var value = 0.0
    for (step, change) in zip(bytes.dropFirst(3), bytes.dropFirst(4)) {
        plant.elapsed += 1 + Int64(step & 0x3F) * 50
        switch change {
        case 255: plant.fault(device)
        case 254: plant.restart()
        default:
            value += Double(Int8(bitPattern: change)) / 8
            plant.observe(value, device)
        }
    }
    hold(plant.kept.count <= plant.raw.count, "more is kept than was read, or something twice")
    let kept = plant.kept.sorted { $0.time < $1.time }
    let isLine = kind % 3 == 0
    let error = kind % 3 == 2 ? 0 : bound
    for (time, value) in plant.raw {
        guard let next = kept.firstIndex(where: { $0.time >= time }) else {
            // What came after the last kept one is held by a line, and else told by it.
            if let last = kept.last, !isLine { check(value, last.value, error) }
            continue
        }
        if kept[next].time == time {
            check(value, kept[next].value, 0)
        } else if next > 0 {
            let (from, to) = (kept[next - 1], kept[next])
            let share = Double(time - from.time) / Double(to.time - from.time)
            check(value, isLine ? from.value + (to.value - from.value) * share : from.value, error)
        } else {
            hold(false, "the first reading is not kept")
        }
    }
}

private func check(_ value: Double, _ told: Double, _ error: Double) {
    let off = (value - told).magnitude
    hold(off <= error * Double(errorMax) / 1000 + 1e-6, "the limit of what leaving out may err is passed")
}
