internal import Primitives
internal import Telemetry

/// Decides for one signal which readings are kept.
struct Reducer: Sendable {
    /// The last kept reading.
    private(set) var last: (reading: Reading, time: MonotonicInstant)?
    private(set) var door: SwingingDoor?
    /// The reading at which a straight line may end; it is kept when the next one cannot be passed.
    private(set) var held: ContextRing.Entry?

    /// What follows for a reading: those that are kept before it, and what becomes of it.
    struct Outcome {
        /// Was held, and is kept now.
        var released: Reading?
        /// Was held, and is left out for good.
        var superseded: ContextRing.Entry?
        /// Whether the reading itself is kept.
        var isKept = false
        /// Whether the reading is held; if neither, it is left out.
        var isHeld = false
    }

    mutating func take(_ entry: ContextRing.Entry, number: Double?, _ settings: SignalSettings) -> Outcome {
        if case .swingingDoor(let errorMax) = settings.reduction, let number {
            return swing(entry, number, errorMax)
        }
        guard keeps(entry, number, settings) else { return Outcome() }
        return keep(entry, number)
    }

    /// Keeps the reading whatever the settings say: a fault is near.
    mutating func keep(_ entry: ContextRing.Entry, _ number: Double?) -> Outcome {
        last = (entry.reading, entry.time)
        door = number.map { SwingingDoor(startTime: entry.reading.time.milliseconds, startValue: $0) }
        let released = held?.reading
        held = nil
        return Outcome(released: released, isKept: true)
    }

    /// The held reading, for the fault that wants to see it; the next reading begins anew.
    mutating func takeHeld() -> ContextRing.Entry? {
        defer {
            held = nil
            door = nil
        }
        return held
    }

    /// When the held reading is to be kept though no other comes.
    func deadline(_ settings: SignalSettings) -> MonotonicInstant? {
        guard held != nil, let last else { return nil }
        return last.time + settings.heartbeat
    }

    /// The held reading, which is kept now; the line goes on from it.
    mutating func heartbeat() -> Reading? {
        guard let held else { return nil }
        self.held = nil
        last = (held.reading, held.time)
        door = held.reading.value.double.map {
            SwingingDoor(startTime: held.reading.time.milliseconds, startValue: $0)
        }
        return held.reading
    }

    // MARK: - Kinds

    private mutating func swing(_ entry: ContextRing.Entry, _ number: Double, _ errorMax: Double) -> Outcome {
        let reading = entry.reading
        guard let last, last.reading.quality == reading.quality, last.reading.clock == reading.clock,
            last.reading.unit == reading.unit
        else { return keep(entry, number) }
        // What is bad says nothing that could lie on a line.
        if reading.quality == .bad { return Outcome() }
        guard door != nil, (held ?? entry).reading.time <= reading.time else { return keep(entry, number) }
        if door?.passes(number, at: reading.time.milliseconds, errorMax: errorMax) == true {
            let superseded = held
            held = entry
            return Outcome(superseded: superseded, isHeld: true)
        }
        guard let end = held, let endNumber = end.reading.value.double else { return keep(entry, number) }
        self.last = (end.reading, end.time)
        var next = SwingingDoor(startTime: end.reading.time.milliseconds, startValue: endNumber)
        guard next.passes(number, at: reading.time.milliseconds, errorMax: errorMax) else { return keep(entry, number) }
        door = next
        held = entry
        return Outcome(released: end.reading, isHeld: true)
    }

    private func keeps(_ entry: ContextRing.Entry, _ number: Double?, _ settings: SignalSettings) -> Bool {
        if settings.reduction == .none { return false }
        guard let last else { return true }
        if settings.intervalMin > .zero, entry.time - last.time < settings.intervalMin { return false }
        if settings.reduction == .all || last.reading.quality != entry.reading.quality { return true }
        if entry.time - last.time >= settings.heartbeat { return true }
        // What is bad says nothing that could be compared.
        if entry.reading.quality == .bad { return false }
        if case .deadband(let absolute, let percent) = settings.reduction, let number,
            let before = last.reading.value.double
        {
            let difference = (number - before).magnitude
            return difference > absolute && difference > before.magnitude * percent / 100
        }
        return entry.reading.value != last.reading.value
    }

    // MARK: - Bytes

    func write(to writer: inout SignalWriter) {
        // A line whose start is known and whose end is open is all that a restart could break.
        guard let door, let held, let last else { return writer.flag(false) }
        writer.flag(true)
        writer.reading(last.reading)
        writer.instant(last.time)
        writer.reading(held.reading)
        writer.instant(held.time)
        writer.fixed(UInt64(bitPattern: door.startTime))
        for value in [door.startValue, door.steepest, door.flattest] { writer.double(value) }
    }

    init() {}

    init?(reading reader: inout SignalReader, key: SignalKey) {
        guard let isOpen = reader.flag() else { return nil }
        guard isOpen else { return }
        guard let lastReading = reader.reading(key), let lastTime = reader.instant(),
            let heldReading = reader.reading(key), let heldTime = reader.instant(), let startTime = reader.fixed(),
            let startValue = reader.double(), let steepest = reader.double(), let flattest = reader.double()
        else { return nil }
        last = (lastReading, lastTime)
        held = ContextRing.Entry(reading: heldReading, time: heldTime, ordinal: 0)
        door = SwingingDoor(
            startTime: Int64(bitPattern: startTime), startValue: startValue, steepest: steepest, flattest: flattest)
    }
}
