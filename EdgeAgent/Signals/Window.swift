internal import Primitives
internal import Telemetry

/// What is known of the readings between two ends.
struct Pane: Sendable {
    private(set) var count: UInt64 = 0
    private(set) var mean = 0.0
    /// Sum of squared differences from the mean. Source: Welford 1962; Chan, Golub, LeVeque 1979 for the merge.
    private(set) var squares = 0.0
    private(set) var sum = 0.0
    private(set) var min = Double.infinity
    private(set) var max = -Double.infinity
    private(set) var first: (value: Double, time: MonotonicInstant)?
    private(set) var last: (value: Double, time: MonotonicInstant)?
    private(set) var sketch: Sketch?
    /// `nil` for a value that may go either way.
    private let counter: Counter?
    /// Of a counter: what it has counted since the first reading.
    private(set) var rise = 0.0
    /// Of a counter: it began anew, and what it had counted just before is not known.
    private(set) var wasReset = false
    /// Something was uncertain, or left out because it was bad, or lost by a crash.
    var isDoubtful = false

    init(sketch: Sketch?, counter: Counter? = nil) {
        self.sketch = sketch
        self.counter = counter
    }

    mutating func add(_ value: Double, at time: MonotonicInstant) {
        count += 1
        let difference = value - mean
        mean += difference / Double(count)
        squares += difference * (value - mean)
        sum += value
        min = Swift.min(min, value)
        max = Swift.max(max, value)
        if first == nil { first = (value, time) }
        count(to: value)
        last = (value, time)
        sketch?.add(value)
    }

    private mutating func count(to value: Double) {
        guard let counter, let last else { return }
        let step = counter.step(from: last.value, to: value)
        rise += step.rise
        wasReset = wasReset || step.isReset
    }

    /// `later` follows this one in time.
    mutating func merge(_ later: Pane) {
        isDoubtful = isDoubtful || later.isDoubtful
        guard later.count > 0 else { return }
        let total = Double(count + later.count)
        let difference = later.mean - mean
        squares += later.squares + difference * difference * Double(count) / total * Double(later.count)
        mean += difference * Double(later.count) / total
        count += later.count
        sum += later.sum
        min = Swift.min(min, later.min)
        max = Swift.max(max, later.max)
        if let next = later.first { count(to: next.value) }
        rise += later.rise
        wasReset = wasReset || later.wasReset
        first = first ?? later.first
        last = later.last
        if let other = later.sketch {
            if sketch == nil { sketch = other } else { sketch?.merge(other) }
        }
    }

    /// `nil` when there are too few readings for it, or the result is beyond a double.
    func value(_ aggregate: Aggregate) -> DecimalText? {
        guard count > 0 else { return nil }
        switch aggregate {
        case .count: return DecimalText(count)
        case .min: return DecimalText(min)
        case .max: return DecimalText(max)
        case .first: return (first?.value).flatMap { DecimalText($0) }
        case .last: return (last?.value).flatMap { DecimalText($0) }
        case .mean: return Rounding.decimal(mean)
        case .sum: return Rounding.decimal(sum)
        case .standardDeviation:
            return count < 2 ? nil : Rounding.decimal((Swift.max(squares, 0) / Double(count - 1)).squareRoot())
        case .rate:
            guard let first, let last, last.time > first.time else { return nil }
            let seconds = Double((last.time - first.time).nanosecondsClamped) / 1e9
            return Rounding.decimal((counter == nil ? last.value - first.value : rise) / seconds)
        case .percentile(let percent):
            // Never beyond what was really there.
            return sketch?.value(percent: percent).flatMap { Rounding.decimal(Swift.max(min, Swift.min($0, max))) }
        }
    }

    // MARK: - Bytes

    func write(to writer: inout SignalWriter) {
        writer.number(count)
        writer.flag(isDoubtful)
        guard count > 0, let first, let last else { return }
        for value in [mean, squares, sum, min, max, first.value, last.value] { writer.double(value) }
        writer.instant(first.time)
        writer.instant(last.time)
        if counter != nil {
            writer.double(rise)
            writer.flag(wasReset)
        }
        guard let sketch else { return writer.number(0) }
        writer.number(1)
        sketch.write(to: &writer)
    }

    init?(reading reader: inout SignalReader, empty: Sketch?, counter: Counter?) {
        guard let count = reader.number(), let isDoubtful = reader.flag() else { return nil }
        sketch = empty
        self.counter = counter
        self.count = count
        self.isDoubtful = isDoubtful
        guard count > 0 else { return }
        guard let mean = reader.double(), let squares = reader.double(), let sum = reader.double(),
            let min = reader.double(), let max = reader.double(), let first = reader.double(),
            let last = reader.double(), let firstTime = reader.instant(), let lastTime = reader.instant()
        else { return nil }
        if counter != nil {
            guard let rise = reader.double(), let wasReset = reader.flag() else { return nil }
            (self.rise, self.wasReset) = (rise, wasReset)
        }
        guard let hasSketch = reader.flag(), hasSketch == (empty != nil) else { return nil }
        self.mean = mean
        self.squares = squares
        self.sum = sum
        self.min = min
        self.max = max
        self.first = (first, firstTime)
        self.last = (last, lastTime)
        guard let empty else { return }
        guard let sketch = Sketch(reading: &reader, bucketsMax: empty.bucketsMax) else { return nil }
        self.sketch = sketch
    }
}

/// One window of one signal: panes of `every`, of which the last `paneCount` make a result at each end.
///
/// Ends lie on whole multiples of `every` on the wall clock, and are fixed on the axis that never jumps when the pane
/// begins: a clock that jumps meanwhile moves no reading from one pane to another. The pane after that is up to half
/// longer or shorter, so that ends are whole again.
struct Window: Sendable {
    /// Buckets of a window's sketches in all.
    static let bucketsMax = 2048

    private(set) var panes: [Pane] = []
    /// Of the last pane; meaningless while there is none.
    private(set) var end = MonotonicInstant(nanoseconds: 0)
    private(set) var endWall = WallInstant(milliseconds: 0)
    /// Its end came while the gateway was away.
    private var endedMeanwhile = false

    var isOpen: Bool { !panes.isEmpty }

    static func emptySketch(_ settings: WindowSettings) -> Sketch? {
        guard settings.hasPercentiles else { return nil }
        let share = bucketsMax / settings.paneCount
        return Sketch(error: settings.percentileErrorMax, bucketsMax: Swift.min(Swift.max(share, 64), 256))
    }

    /// A result that is ready.
    struct Result {
        let pane: Pane
        let time: WallInstant
    }

    /// Ends every pane whose time is over, oldest first; the results of those in whose window something came.
    mutating func advance(to instant: MonotonicInstant, _ now: SignalTime, _ settings: WindowSettings) -> [Result] {
        var results: [Result] = []
        while isOpen, instant >= end {
            var whole = panes[0]
            for pane in panes.dropFirst() { whole.merge(pane) }
            if whole.count > 0 { results.append(Result(pane: whole, time: endTime(now, settings))) }
            if panes.count >= settings.paneCount { panes.removeFirst() }
            guard panes.contains(where: { $0.count > 0 }) else {
                panes = []
                break
            }
            open(after: end, now, settings)
        }
        return results
    }

    mutating func add(
        _ value: Double, isDoubtful: Bool, at instant: MonotonicInstant, _ now: SignalTime, _ settings: WindowSettings
    ) {
        begin(at: instant, now, settings)
        panes[panes.count - 1].add(value, at: instant)
        if isDoubtful { panes[panes.count - 1].isDoubtful = true }
    }

    /// Something came that cannot be counted.
    mutating func doubt() {
        if isOpen { panes[panes.count - 1].isDoubtful = true }
    }

    private mutating func begin(at instant: MonotonicInstant, _ now: SignalTime, _ settings: WindowSettings) {
        guard !isOpen else { return }
        let every = Swift.max(settings.every.millisecondsClamped, 1)
        let wall = now.wall(at: instant).milliseconds
        setEnd(atWall: (Self.floorDivided(wall, every) + 1) * every, now)
        panes = [Pane(sketch: Self.emptySketch(settings), counter: settings.counter)]
    }

    private mutating func open(after previous: MonotonicInstant, _ now: SignalTime, _ settings: WindowSettings) {
        let every = Swift.max(settings.every.millisecondsClamped, 1)
        // The multiple that is nearest to a full length from here: exactly that, unless the clock has jumped.
        let wall = now.wall(at: previous).milliseconds + every + every / 2
        setEnd(atWall: Self.floorDivided(wall, every) * every, now)
        end = Swift.max(end, previous + .milliseconds((every + 1) / 2))
        panes.append(Pane(sketch: Self.emptySketch(settings), counter: settings.counter))
    }

    private mutating func setEnd(atWall milliseconds: Int64, _ now: SignalTime) {
        endedMeanwhile = false
        endWall = WallInstant(milliseconds: milliseconds)
        end = now.monotonic + (endWall - now.wall)
    }

    /// The planned time, unless the clock has jumped since: then what the end is by the clock of now.
    private func endTime(_ now: SignalTime, _ settings: WindowSettings) -> WallInstant {
        if endedMeanwhile { return endWall }
        let measured = now.wall(at: end)
        let difference = (measured.milliseconds - endWall.milliseconds).magnitude
        return difference <= 1000 ? endWall : measured
    }

    private static func floorDivided(_ value: Int64, _ divisor: Int64) -> Int64 {
        let quotient = value / divisor
        return value % divisor < 0 ? quotient - 1 : quotient
    }

    // MARK: - Bytes

    func write(to writer: inout SignalWriter) {
        writer.number(UInt64(panes.count))
        guard isOpen else { return }
        writer.fixed(UInt64(bitPattern: endWall.milliseconds))
        for pane in panes { pane.write(to: &writer) }
    }

    init() {}

    /// - Parameter isDoubtful: the bytes are not from a clean stop, and what came after them is lost.
    init?(reading reader: inout SignalReader, _ settings: WindowSettings, now: SignalTime, isDoubtful: Bool) {
        guard let count = reader.number(), count <= UInt64(settings.paneCount) else { return nil }
        guard count > 0 else { return }
        guard let milliseconds = reader.fixed() else { return nil }
        for _ in 0..<count {
            guard
                let pane = Pane(
                    reading: &reader, empty: Self.emptySketch(settings), counter: settings.counter)
            else { return nil }
            panes.append(pane)
        }
        if isDoubtful { panes[panes.count - 1].isDoubtful = true }
        endWall = WallInstant(milliseconds: Int64(bitPattern: milliseconds))
        let rest = endWall - now.wall
        // Over, or by a clock that knows nothing: it ends now, and its results carry the end that was planned.
        let isRunning = rest > .zero && rest <= settings.every + settings.every / 2
        endedMeanwhile = !isRunning
        end = isRunning ? now.monotonic + rest : now.monotonic
    }
}
