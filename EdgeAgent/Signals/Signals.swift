internal import Expressions
public import Primitives
public import Telemetry

/// The part of the pipeline that knows single signals: converts, marks, reduces, gathers windows, works out derived
/// metrics, and keeps a fault's context ready.
///
///     reading ─► scale, unit ─► range, step, rate ─► (rules) ─► expressions ─► windows ─► reduction ─► kept
///                                                                                            └► last minute's ring
///
/// A value: ask a copy, keep the copy once its output is durable. Only the signals that changed are copied.
public struct Signals: Sendable {
    /// Signals that can be told apart: 2,048. Further ones pass as they are.
    public static let keysMax = 2048
    /// Expressions at work, one a device: 512.
    public static let derivationsMax = 512
    /// Left-out readings that wait for a fault, in all: 32,768. About 80 bytes each.
    public static let contextEntriesMax = 32_768
    /// Tables of the configuration: 256.
    public static let settingsMax = 256
    /// Results of results of results: 8 deep.
    public static let derivedDepthMax = 8

    let settings: [SignalSettings]
    /// Longest time between two savings of what windows and open lines hold.
    let stateInterval: Duration
    var cells: [Cell<Channel>] = []
    /// `nil` for a signal for which nothing is declared.
    var index: [SignalKey: Int?] = [:]
    private var channelsOfDevice: [DeviceID: [Int]] = [:]
    private var derivations: [Cell<Derivation>] = []
    private var derivationIndex: [SignalKey: Int] = [:]
    private let anyDeviceExpressions: [Int]
    var contextEntryCount = 0
    var nextOrdinal: UInt64 = 0
    var passUntil: [DeviceID: MonotonicInstant] = [:]
    var isContextDirty = false
    /// What is kept of rings was taken over, and must not be found again.
    var isRingStored = false
    private var saidFull = false
    private var saidExpressionsFull: Set<Int> = []
    var earliest: MonotonicInstant?
    var dirty: [Int] = []
    var urgent: [Int] = []
    var nextSave: MonotonicInstant?
    var nextFigures: MonotonicInstant?
    /// Rows that hold something, as the index row lists them.
    var listed: Set<SignalKey> = []
    var orphans: [SignalKey] = []

    /// - Parameters:
    ///   - settings: at most `settingsMax`; the first that selects a signal counts.
    ///   - stateInterval: what a power cut may cost of windows and open lines. Default 60 s.
    public init(settings: [SignalSettings], stateInterval: Duration = .seconds(60)) {
        precondition(settings.count <= Self.settingsMax, "there are at most \(Self.settingsMax) tables [[signal]]")
        self.settings = settings
        self.stateInterval = stateInterval
        anyDeviceExpressions = settings.indices.filter { settings[$0].expression != nil && settings[$0].device == nil }
        for (place, one) in settings.enumerated() where one.expression != nil {
            if let device = one.device { derive(place, for: device) }
        }
    }

    /// Whether nothing is declared: then every reading passes as it is.
    public var isEmpty: Bool { settings.isEmpty }

    /// When `timeReached` should be called, if nothing comes before; `nil` for not at all. It may be early.
    public var nextDeadline: MonotonicInstant? {
        guard let nextSave else { return earliest }
        return earliest.map { min($0, nextSave) } ?? nextSave
    }

    /// What became of each signal's readings, in order of device and metric.
    public var figures: [SignalFigures] {
        cells.filter { $0.value.settings != nil }.map(\.value.figures).sorted { $0.key < $1.key }
    }

    // MARK: - One reading

    /// Converts and marks a reading, before rules look at it. `take` follows.
    ///
    /// - Parameter isResult: of a window: it is what it is.
    public mutating func prepare(
        _ given: Reading, isResult: Bool, at now: SignalTime, _ output: inout SignalOutput
    ) -> PreparedReading {
        var reading = given
        let time = now.eventTime(of: reading)
        let key = SignalKey(device: reading.device, metric: reading.metric)
        guard let place = channel(of: key, isResult: isResult, &output) else {
            return PreparedReading(
                reading: reading, number: Self.finite(reading), channel: nil, time: time, isResult: isResult)
        }
        guard !isResult, let chosen = cells[place].value.settings else {
            return PreparedReading(
                reading: reading, number: Self.finite(reading), channel: place, time: time, isResult: isResult)
        }
        if settings[chosen].expression == nil, !settings[chosen].conversion.isIdentity {
            convert(&reading, place, chosen, &output)
        }
        let number = Self.finite(reading)
        if let number, !settings[chosen].plausibility.isUnlimited {
            let quality = cells[place].value.plausibility.quality(
                of: number, reading.quality, at: time, settings[chosen].plausibility)
            if quality != reading.quality { cells[place].value.figures.marked += 1 }
            reading.quality = quality
        }
        return PreparedReading(reading: reading, number: number, channel: place, time: time, isResult: false)
    }

    private static func finite(_ reading: Reading) -> Double? {
        reading.value.double.flatMap { $0.isFinite ? $0 : nil }
    }

    private mutating func convert(_ reading: inout Reading, _ place: Int, _ chosen: Int, _ output: inout SignalOutput) {
        let conversion = settings[chosen].conversion
        if conversion.apply(to: &reading, known: &cells[place].value.known) { return }
        guard !cells[place].value.saidUnit else { return }
        cells[place].value.saidUnit = true
        output.notices.append(
            .unitUnknown(cells[place].value.key, unit: reading.unit ?? "", wanted: conversion.unit ?? ""))
    }

    /// Takes a prepared reading, after the rules have seen it.
    ///
    /// - Returns: whether the reading itself is to be kept, behind what `output` has to be kept.
    public mutating func take(
        _ prepared: PreparedReading, at now: SignalTime, _ output: inout SignalOutput
    ) -> Bool {
        guard let place = prepared.channel else { return true }
        for consumer in cells[place].value.consumers { feed(consumer, prepared, &output) }
        guard !prepared.isResult, let chosen = cells[place].value.settings else { return true }
        if !settings[chosen].windows.isEmpty { gather(prepared, place, chosen, now, &output) }
        let entry = ContextRing.Entry(reading: prepared.reading, time: prepared.time, ordinal: nextOrdinal)
        nextOrdinal += 1
        let isPassing = isPassing(prepared.reading.device, at: now.monotonic)
        let outcome =
            isPassing && settings[chosen].reduction != .all
            ? cells[place].value.reducer.keep(entry, prepared.number)
            : cells[place].value.reducer.take(entry, number: prepared.number, settings[chosen])
        count(outcome, prepared.reading, place, isPassing: isPassing)
        if let released = outcome.released {
            output.kept.append(released)
            note(place, isGivenOut: true, now)
        } else if outcome.isHeld {
            note(place, isGivenOut: false, now)
        }
        if outcome.isHeld, let deadline = cells[place].value.reducer.deadline(settings[chosen]) {
            noteDeadline(deadline)
        }
        if let superseded = outcome.superseded { leaveOut(superseded, place, chosen) }
        if !outcome.isKept, !outcome.isHeld { leaveOut(entry, place, chosen) }
        return outcome.isKept
    }

    private mutating func count(_ outcome: Reducer.Outcome, _ reading: Reading, _ place: Int, isPassing: Bool) {
        let bytes = SignalFigures.bytes(of: reading)
        cells[place].value.figures.readings += 1
        cells[place].value.figures.bytesIn += bytes
        if outcome.isKept {
            cells[place].value.figures.kept += 1
            cells[place].value.figures.bytesOut += bytes
            if isPassing { cells[place].value.figures.context += 1 }
        }
        if let released = outcome.released { countGivenOut(released, place) }
    }

    private mutating func countGivenOut(_ reading: Reading, _ place: Int) {
        cells[place].value.figures.kept += 1
        cells[place].value.figures.bytesOut += SignalFigures.bytes(of: reading)
    }

    private mutating func leaveOut(_ entry: ContextRing.Entry, _ place: Int, _ chosen: Int) {
        contextEntryCount += cells[place].value.ring.insert(
            entry, limit: settings[chosen].contextMax, mayGrow: contextEntryCount < Self.contextEntriesMax)
    }

    // MARK: - Windows

    private mutating func gather(
        _ prepared: PreparedReading, _ place: Int, _ chosen: Int, _ now: SignalTime, _ output: inout SignalOutput
    ) {
        guard let number = prepared.number else { return }
        for one in settings[chosen].windows.indices {
            let window = settings[chosen].windows[one]
            give(cells[place].value.windows[one].advance(to: prepared.time, now, window), place, one, now, &output)
            if prepared.reading.quality == .bad {
                cells[place].value.windows[one].doubt()
                continue
            }
            cells[place].value.windows[one].add(
                number, isDoubtful: prepared.reading.quality == .uncertain, at: prepared.time, now, window)
            noteDeadline(cells[place].value.windows[one].end)
        }
        cells[place].value.unit = prepared.reading.unit
        note(place, isGivenOut: false, now)
    }

    private mutating func give(
        _ results: [Window.Result], _ place: Int, _ one: Int, _ now: SignalTime, _ output: inout SignalOutput
    ) {
        guard !results.isEmpty, let chosen = cells[place].value.settings else { return }
        note(place, isGivenOut: true, now)
        let window = settings[chosen].windows[one]
        let key = cells[place].value.key
        let unit = cells[place].value.unit
        for result in results {
            for aggregate in window.aggregates {
                guard let value = result.pane.value(aggregate) else { continue }
                let reading = Reading(
                    device: key.device, metric: key.metric + window.suffix(aggregate), value: .number(value),
                    unit: aggregate.unit(unit), time: result.time,
                    quality: result.pane.isDoubtful(window, aggregate) ? .uncertain : .good, clock: now.clock)
                cells[place].value.figures.results += 1
                cells[place].value.figures.bytesOut += SignalFigures.bytes(of: reading)
                output.derived.append(DerivedReading(reading: reading, isResult: true))
            }
        }
    }

    /// The clock has moved: windows end, and readings that were held for too long are kept.
    public mutating func timeReached(at now: SignalTime, _ output: inout SignalOutput) {
        passUntil = passUntil.isEmpty ? passUntil : passUntil.filter { $0.value >= now.monotonic }
        guard let first = earliest, first <= now.monotonic else { return }
        earliest = nil
        for place in cells.indices {
            guard let chosen = cells[place].value.settings else { continue }
            for one in settings[chosen].windows.indices where cells[place].value.windows[one].isOpen {
                if cells[place].value.windows[one].end <= now.monotonic {
                    let results = cells[place].value.windows[one].advance(
                        to: now.monotonic, now, settings[chosen].windows[one])
                    note(place, isGivenOut: true, now)
                    give(results, place, one, now, &output)
                }
                if cells[place].value.windows[one].isOpen { noteDeadline(cells[place].value.windows[one].end) }
            }
            guard let deadline = cells[place].value.reducer.deadline(settings[chosen]) else { continue }
            guard deadline <= now.monotonic, let reading = cells[place].value.reducer.heartbeat() else {
                noteDeadline(deadline)
                continue
            }
            output.kept.append(reading)
            countGivenOut(reading, place)
            note(place, isGivenOut: true, now)
        }
    }

    // MARK: - Faults

    /// A fault was raised for the device: what was left out of its last minute is kept after all, and for a minute
    /// everything is.
    public mutating func faultRaised(for device: DeviceID, at now: SignalTime, _ output: inout SignalOutput) {
        guard !isEmpty else { return }
        passUntil[device] = now.monotonic + ContextRing.span
        isContextDirty = true
        var entries: [ContextRing.Entry] = []
        for place in channelsOfDevice[device] ?? [] where cells[place].value.settings != nil {
            contextEntryCount -= cells[place].value.ring.count
            var (taken, isCut) = cells[place].value.ring.take(before: now.monotonic, of: cells[place].value.key)
            if let held = cells[place].value.reducer.takeHeld() {
                taken.append(held)
                note(place, isGivenOut: true, now)
            }
            if isCut {
                cells[place].value.figures.contextCuts += 1
                output.notices.append(.contextCut(cells[place].value.key, kept: taken.count))
            }
            cells[place].value.figures.context += UInt64(taken.count)
            for entry in taken { countGivenOut(entry.reading, place) }
            entries += taken
        }
        output.kept += entries.sorted { ($0.time, $0.ordinal) < ($1.time, $1.ordinal) }.map(\.reading)
    }

    private func isPassing(_ device: DeviceID, at instant: MonotonicInstant) -> Bool {
        guard !passUntil.isEmpty, let until = passUntil[device] else { return false }
        return instant <= until
    }

    // MARK: - Expressions

    private mutating func feed(
        _ consumer: Channel.Consumer, _ prepared: PreparedReading, _ output: inout SignalOutput
    ) {
        let chosen = derivations[consumer.derivation].value.settings
        let result = derivations[consumer.derivation].value.take(
            consumer.input, prepared.reading, number: prepared.number, at: prepared.time, settings[chosen])
        if let result {
            output.derived.append(DerivedReading(reading: result, isResult: false))
        } else if let place = index[derivations[consumer.derivation].value.key] ?? nil {
            cells[place].value.figures.unknown += 1
        }
    }

    private mutating func derive(_ chosen: Int, for device: DeviceID) {
        guard let expression = settings[chosen].expression, let metric = settings[chosen].metric else { return }
        let key = SignalKey(device: device, metric: metric)
        guard derivationIndex[key] == nil, derivations.count < Self.derivationsMax else { return }
        let derivation = Derivation(settings: chosen, key: key, expression)
        derivations.append(Cell(derivation))
        derivationIndex[key] = derivations.count - 1
        _ = add(key, settings: chosen)
        for input in expression.signals.indices {
            let read = derivation.inputKey(input)
            let place = (index[read] ?? nil) ?? add(read, settings: settings.firstIndex { $0.selects(read) })
            if let place {
                cells[place].value.consumers.append(.init(derivation: derivations.count - 1, input: input))
            }
        }
    }

    // MARK: - Signals

    /// The signal's channel, made when it is seen for the first time; `nil` when nothing is declared for it.
    private mutating func channel(of key: SignalKey, isResult: Bool, _ output: inout SignalOutput) -> Int? {
        if let known = index[key] { return known }
        for chosen in anyDeviceExpressions {
            guard
                settings[chosen].expression?.signals.contains(where: { $0.device == nil && $0.metric == key.metric })
                    == true
            else { continue }
            derive(chosen, for: key.device)
            if derivations.count == Self.derivationsMax, saidExpressionsFull.insert(chosen).inserted {
                output.notices.append(.expressionsFull(key))
            }
        }
        if let known = index[key] { return known }
        guard index.count < Self.keysMax else {
            if !saidFull { output.notices.append(.full(key)) }
            saidFull = true
            return nil
        }
        let chosen = isResult ? nil : settings.firstIndex { $0.selects(key) }
        guard let chosen else {
            index[key] = .some(nil)
            return nil
        }
        return add(key, settings: chosen)
    }

    mutating func add(_ key: SignalKey, settings chosen: Int?) -> Int? {
        guard index.count < Self.keysMax || index[key] != nil else { return nil }
        cells.append(Cell(Channel(key: key, settings: chosen, settings)))
        index[key] = cells.count - 1
        channelsOfDevice[key.device, default: []].append(cells.count - 1)
        return cells.count - 1
    }

    // MARK: - Deadlines

    func chosenSettings(_ key: SignalKey) -> Int? { settings.firstIndex { $0.selects(key) } }

    mutating func noteDeadline(_ deadline: MonotonicInstant) {
        if let earliest, earliest <= deadline { return }
        earliest = deadline
    }

    /// The signal's state has changed. `isGivenOut`: what is kept of it would give the same out again.
    mutating func note(_ place: Int, isGivenOut: Bool, _ now: SignalTime) {
        if isGivenOut, cells[place].value.isStored, !cells[place].value.mustSave {
            cells[place].value.mustSave = true
            urgent.append(place)
        }
        guard !cells[place].value.isDirty else { return }
        cells[place].value.isDirty = true
        dirty.append(place)
        if nextSave == nil { nextSave = now.monotonic + stateInterval }
    }
}

extension Aggregate {
    /// The unit of a result over values in `unit`.
    func unit(_ unit: String?) -> String? {
        switch self {
        case .count: nil
        case .rate: unit.map { $0 + "/s" }.flatMap { $0.utf8.count <= TelemetryLimits.unitBytesMax ? $0 : nil }
        case .min, .max, .mean, .sum, .standardDeviation, .first, .last, .percentile: unit
        }
    }
}

extension Pane {
    /// Whether a result is not to be trusted wholly: also when percentiles err by more than was asked for.
    func isDoubtful(_ settings: WindowSettings, _ aggregate: Aggregate) -> Bool {
        if case .rate = aggregate, wasReset { return true }
        if case .percentile = aggregate, let sketch, sketch.error > settings.percentileErrorMax * 1.001 { return true }
        return isDoubtful
    }
}
