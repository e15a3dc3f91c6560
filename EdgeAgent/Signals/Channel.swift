internal import Primitives
internal import Telemetry

/// One signal's state.
struct Channel: Sendable {
    /// An expression that reads this signal.
    struct Consumer: Sendable {
        let derivation: Int
        let input: Int
    }

    let key: SignalKey
    /// Index of its settings; `nil` for a signal that only expressions read.
    let settings: Int?
    var consumers: [Consumer] = []
    var known = KnownConversion()
    var plausibility = PlausibilityState()
    var reducer = Reducer()
    var ring = ContextRing()
    var windows: [Window]
    var figures: SignalFigures
    /// Of the last reading that a window has counted.
    var unit: String?
    var saidUnit = false
    /// Whether the state differs from the kept one; and whether the kept one would repeat what was given out.
    var isDirty = false
    var mustSave = false
    /// Whether what is kept of it is more than nothing.
    var isStored = false

    init(key: SignalKey, settings: Int?, _ all: [SignalSettings]) {
        self.key = key
        self.settings = settings
        windows = settings.map { all[$0].windows.map { _ in Window() } } ?? []
        figures = SignalFigures(key: key)
        figures.bound = settings.flatMap { all[$0].reduction.boundText }
    }

    /// Whether there is anything that a restart should find again.
    var hasState: Bool { reducer.held != nil || windows.contains { $0.isOpen } }

    // MARK: - Bytes

    private static let version: UInt8 = 1

    /// - Parameter isFinal: nothing comes after these bytes.
    func bytes(_ settings: SignalSettings, at now: SignalTime, isFinal: Bool) -> [UInt8] {
        guard hasState else { return [] }
        var writer = SignalWriter(version: Self.version, now: now)
        writer.fixed(Self.fingerprint(settings))
        writer.flag(isFinal)
        reducer.write(to: &writer)
        for window in windows { window.write(to: &writer) }
        writer.text(unit ?? "")
        return writer.bytes
    }

    /// The reading that a line could have ended at, from bytes of whatever settings; `nil` when there is none.
    static func held(_ bytes: [UInt8], _ key: SignalKey, at now: SignalTime) -> Reading? {
        guard var reader = SignalReader(bytes, version: version, now: now), reader.fixed() != nil, reader.flag() != nil
        else { return nil }
        return Reducer(reading: &reader, key: key)?.held?.reading
    }

    /// - Returns: `false` when the bytes cannot be read or belong to other settings; then nothing is taken over.
    mutating func restore(_ bytes: [UInt8], _ settings: SignalSettings, at now: SignalTime) -> Bool {
        guard !bytes.isEmpty else { return true }
        guard var reader = SignalReader(bytes, version: Self.version, now: now), let mark = reader.fixed(),
            mark == Self.fingerprint(settings), let isFinal = reader.flag(),
            let reducer = Reducer(reading: &reader, key: key)
        else { return false }
        var windows: [Window] = []
        for one in settings.windows {
            guard let window = Window(reading: &reader, one, now: now, isDoubtful: !isFinal) else { return false }
            windows.append(window)
        }
        guard let unit = reader.text(), reader.isAtEnd else { return false }
        self.reducer = reducer
        self.windows = windows
        self.unit = unit.isEmpty ? nil : unit
        isStored = true
        return true
    }

    /// Changes when state that was kept for other settings would mean something else.
    private static func fingerprint(_ settings: SignalSettings) -> UInt64 {
        var parts: [String] = []
        if case .swingingDoor(let errorMax) = settings.reduction { parts.append("door \(errorMax)") }
        for window in settings.windows {
            parts.append("\(window.length.nanosecondsClamped) \(window.every.nanosecondsClamped)")
            if window.hasPercentiles { parts.append("sketch \(window.percentileErrorMax)") }
            if let counter = window.counter { parts.append("counter \(counter.wrap ?? 0)") }
        }
        parts.append(settings.conversion.unit ?? "")
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325  // FNV-1a
        for byte in parts.joined(separator: "\u{0}").utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        return hash
    }
}

/// A place of its own for one element of an array: when the array is copied to be tried out, only the elements that change
/// are copied with it.
struct Cell<Value: Sendable>: Sendable {
    private var only: [Value]

    init(_ value: Value) { only = [value] }

    var value: Value {
        get { only[0] }
        _modify { yield &only[0] }
    }
}
