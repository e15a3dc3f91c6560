public import Primitives
public import RuleSets
public import Rules
public import Signals
public import SouthboundAPI
public import Telemetry

/// Turns what drivers deliver into what is kept, and into what is done here and now.
///
///     readings ─► signals: convert, mark ─► rules ─► signals: reduce, gather ─► records with sequences
///     health ────────────────────────────────► │            + state for the same transaction
///                                              └─► actuations back to the drivers
///
/// Rules see every reading, also those that are not kept, and what windows and expressions give.
///
/// A value: ask a copy, keep the copy once its output is durable, and drop it when the store refused. Then a delivery that
/// comes again finds the rules as they were, and no fault is lost or raised twice.
public struct Pipeline: Sendable {
    /// The built-in rule about devices that do not answer their driver.
    public static let noAnswerRule = EdgeRule.noAnswerName
    /// Faults of devices that do not answer: 512.
    public static let noAnswerFaultsMax = 512

    private static let stateVersion: UInt8 = 1

    /// What is done with single signals. To be set before `begin`; by default every reading is kept as it is.
    public var signals = Signals(settings: [])
    private var rules: [EdgeRule]
    private let epoch: Epoch
    private let sha1: @Sendable ([UInt8]) -> [UInt8]
    private let zoneOffset: @Sendable (Schedule.Zone, WallInstant) -> Int
    private var evaluator: RuleEvaluator
    private var open = OpenFaults()
    /// A zone with summer time is looked at again: changes lie on whole quarters of an hour.
    private var zoneLook: MonotonicInstant?
    private var keptRevision: UInt64 = 0
    private var isOpenChanged = false

    /// - Parameters:
    ///   - rules: unique names, none reserved, at most `EdgeRule.countMax`.
    ///   - epoch: of the outbox that keeps the records.
    ///   - zoneOffset: seconds east of Greenwich in a schedule's zone at a time.
    ///   - sha1: gives the 20 bytes of SHA-1.
    public init(
        rules: [EdgeRule], epoch: Epoch, statesMax: Int = RuleEvaluator.statesMaxDefault,
        zoneOffset: @escaping @Sendable (Schedule.Zone, WallInstant) -> Int = { zone, _ in zone.fixedOffset ?? 0 },
        sha1: @escaping @Sendable ([UInt8]) -> [UInt8]
    ) {
        Self.check(rules)
        self.rules = rules
        self.epoch = epoch
        self.zoneOffset = zoneOffset
        self.sha1 = sha1
        evaluator = RuleEvaluator(rules: rules.map(\.rule), statesMax: statesMax)
    }

    private static func check(_ rules: [EdgeRule]) {
        precondition(rules.count <= EdgeRule.countMax, "a gateway has at most \(EdgeRule.countMax) rules")
        precondition(
            rules.allSatisfy { !EdgeRule.reservedNames.contains($0.rule.name) }, "a rule has the name of a built-in one"
        )
    }

    /// When `timeReached` should be called, if nothing comes before; `nil` for not at all. It may be early.
    public var nextDeadline: MonotonicInstant? {
        [evaluator.nextDeadline, signals.nextDeadline, zoneLook].compactMap(\.self).min()
    }

    /// Faults that are raised and not cleared.
    public var openFaultCount: Int { open.faults.count }

    // MARK: - Inputs

    /// Comes first, once: takes over what an earlier run kept. Faults whose rule is gone or decides otherwise now are
    /// cleared, and the actions of those that stay are asked for again: the crash may have come before the action, and
    /// a power cut may have undone it.
    ///
    /// - Parameters:
    ///   - bytes: `state` of the last output that had one; `nil` for a new outbox.
    ///   - rows: what was kept of `Signals.rowKeys`.
    ///   - isServed: whether a driver still looks after the device.
    public mutating func begin(
        restoring bytes: [UInt8]?, signals rows: [String: [UInt8]] = [:], at now: PipelineTime, firstSequence: UInt64,
        isServed: (DeviceID) -> Bool = { _ in true }
    ) -> PipelineOutput {
        var turn = Turn(now: now, nextSequence: firstSequence)
        tellTime(now)
        if let bytes, !restore(bytes, at: now.monotonic) {
            turn.output.notices.append(.stateUnreadable)
            isOpenChanged = true
        }
        keptRevision = evaluator.revision
        evaluator.begin(at: now.monotonic)
        beginSignals(rows, &turn)
        for key in open.sortedKeys {
            if key.rule == Self.noAnswerRule {
                if !isServed(key.device) { clearOrphan(key, "\(key.device) is no longer configured", &turn) }
            } else if let edgeRule = rules.first(where: { $0.rule.name == key.rule }),
                evaluator.isBreached(rule: key.rule, device: key.device)
            {
                let value = evaluator.breachingValue(rule: key.rule, device: key.device)
                act(edgeRule.whenRaised, edgeRule.rule, key.device, value.flatMap { DecimalText($0)?.text }, &turn)
            } else {
                clearOrphan(key, "\(key.rule): the rule was changed or removed", &turn)
            }
        }
        return finish(turn)
    }

    /// A driver delivered; `readings` in the order in which they were read.
    public mutating func deliveryReceived(
        readings: [Reading], health: [DeviceHealth], at now: PipelineTime, firstSequence: UInt64
    ) -> PipelineOutput {
        var turn = Turn(now: now, nextSequence: firstSequence)
        tellTime(now)
        turn.output.records.reserveCapacity(readings.count + health.count)
        for reading in readings { take(reading, &turn) }
        for health in health { take(health, &turn) }
        return finish(turn)
    }

    /// The clock has moved.
    public mutating func timeReached(at now: PipelineTime, firstSequence: UInt64) -> PipelineOutput {
        var turn = Turn(now: now, nextSequence: firstSequence)
        tellTime(now)
        for outcome in evaluator.timeReached(now.monotonic) { settle(outcome, reading: nil, &turn) }
        endWindows(&turn)
        return finish(turn)
    }

    /// Other rules from here on. A rule whose definition is the same keeps what it knows, and its open faults stay as
    /// they are; the actions of those are asked for only when they are others than before. A fault whose rule is gone or
    /// decides otherwise now is cleared, with what its rule did at the end of a fault; if the new definition is breached
    /// too, that is a new fault.
    ///
    /// - Parameters:
    ///   - rules: as for `init`.
    ///   - origin: where they come from, for the messages of cleared faults: "rule set 7".
    public mutating func replaceRules(
        _ rules: [EdgeRule], origin: String, at now: PipelineTime, firstSequence: UInt64
    ) -> PipelineOutput {
        Self.check(rules)
        var turn = Turn(now: now, nextSequence: firstSequence)
        tellTime(now)
        let before = self.rules
        self.rules = rules
        let zoneOffset = zoneOffset
        evaluator.replaceRules(rules.map(\.rule), at: now.monotonic) { Self.clock(of: $0, now, zoneOffset) }
        zoneLook = nil
        tellTime(now)
        for key in open.sortedKeys where key.rule != Self.noAnswerRule {
            let old = before.first { $0.rule.name == key.rule }
            let new = rules.first { $0.rule.name == key.rule }
            if let new, evaluator.isBreached(rule: key.rule, device: key.device) {
                guard new.whenRaised != old?.whenRaised else { continue }
                let value = evaluator.breachingValue(rule: key.rule, device: key.device)
                act(new.whenRaised, new.rule, key.device, value.flatMap { DecimalText($0)?.text }, &turn)
            } else {
                if let old { act(old.whenCleared, old.rule, key.device, nil, &turn) }
                clearOrphan(
                    key, "\(key.rule): the rule was \(new == nil ? "removed" : "changed") by \(origin)", &turn)
            }
        }
        isOpenChanged = true
        return finish(turn)
    }

    /// The agent stops: nothing comes after this.
    public mutating func stop(at now: PipelineTime, firstSequence: UInt64) -> PipelineOutput {
        finish(Turn(now: now, nextSequence: firstSequence), isFinal: true)
    }

    /// Schedules follow the wall clock; while it is unset they do as the rule says.
    private mutating func tellTime(_ now: PipelineTime) {
        guard !evaluator.zones.isEmpty else { return }
        guard now.clock != .unset else {
            zoneLook = nil
            return evaluator.clockIs(nil, at: now.monotonic)
        }
        if evaluator.zones.contains(where: { $0.fixedOffset == nil }) {
            let quarter: Int64 = 900_000
            let past = (now.wall.milliseconds % quarter + quarter) % quarter
            zoneLook = now.monotonic + .milliseconds(quarter - past)
        }
        evaluator.clockIs(Self.clock(of: evaluator.zones, now, zoneOffset), at: now.monotonic)
    }

    private static func clock(
        of zones: [Schedule.Zone], _ now: PipelineTime, _ zoneOffset: (Schedule.Zone, WallInstant) -> Int
    ) -> RuleClock? {
        guard now.clock != .unset else { return nil }
        return RuleClock(
            wallOffset: now.wall.milliseconds - now.monotonic.nanoseconds / 1_000_000,
            zoneOffsets: zones.map { zoneOffset($0, now.wall) })
    }

    // MARK: - One turn

    private struct Turn {
        let now: PipelineTime
        var nextSequence: UInt64
        var output = PipelineOutput()

        mutating func keep(_ record: Record) {
            output.records.append(SequencedRecord(sequence: nextSequence, record: record))
            nextSequence += 1
        }
    }

    private mutating func take(_ reading: Reading, _ turn: inout Turn) {
        let record = Record.reading(reading)
        if let problem = record.problem {
            turn.output.notices.append(
                .readingRefused(
                    device: reading.device, metric: reading.metric, member: problem.member, rule: problem.rule))
            return
        }
        guard signals.isEmpty else { return filter(reading, isResult: false, depth: 0, &turn) }
        turn.keep(record)
        watch(reading, number: reading.value.double, &turn)
    }

    /// Shows a reading to the rules.
    private mutating func watch(_ reading: Reading, number: Double?, _ turn: inout Turn) {
        let outcomes: [RuleOutcome]
        // What is called bad must not close a relay; that it spoke still counts against silence.
        if reading.quality != .bad, let value = number {
            outcomes = evaluator.observed(
                device: reading.device, metric: reading.metric, value: value, at: turn.now.monotonic)
        } else {
            outcomes = evaluator.heard(device: reading.device, metric: reading.metric, at: turn.now.monotonic)
        }
        for outcome in outcomes { settle(outcome, reading: reading, &turn) }
    }

    private mutating func settle(_ outcome: RuleOutcome, reading: Reading?, _ turn: inout Turn) {
        let edgeRule = rules[outcome.rule]
        let rule = edgeRule.rule
        let key = OpenFaults.Key(rule: rule.name, device: outcome.device)
        // The sensor's own text where a reading decided; a value that waited for the clock has only its number.
        let value = outcome.value.flatMap { number in reading?.value ?? DecimalText(number).map(ReadingValue.number) }
        var template = FaultTemplate(
            key: key, message: rule.message.message(rule: rule, device: outcome.device, value: value?.description),
            metric: rule.metric, value: value, limit: rule.limitText, time: reading?.time ?? turn.now.wall,
            clock: reading?.clock ?? turn.now.clock)
        switch outcome.kind {
        case .full:
            turn.output.notices.append(.rulesFull(rule: rule.name, device: outcome.device))
        case .breached:
            act(edgeRule.whenRaised, rule, outcome.device, value?.description, &turn)
            raise(template, rule.severity, &turn)
        case .recovered, .suspended:
            act(edgeRule.whenCleared, rule, outcome.device, value?.description, &turn)
            template.message =
                outcome.kind == .suspended
                ? "\(rule.name): its schedule has ended" : Self.clearedMessage(rule, outcome.device, value)
            clear(template, &turn)
        }
    }

    private static func clearedMessage(_ rule: Rule, _ device: DeviceID, _ value: ReadingValue?) -> String {
        if case .expression = rule.condition { return "\(rule.name) of \(device): no longer so" }
        guard let metric = rule.metric, let value, rule.condition != .silent else {
            return "\(rule.name): \(device) is heard again"
        }
        // A text value may be long; the number of a rule never is.
        return "\(rule.name): \(metric) of \(device) is back at \(value.description.prefix(64))"
    }

    private mutating func take(_ health: DeviceHealth, _ turn: inout Turn) {
        let key = OpenFaults.Key(rule: Self.noAnswerRule, device: health.device)
        var template = FaultTemplate(key: key, message: "", time: health.time, clock: health.clock)
        if health.answers {
            template.message = "\(health.device) answers again"
            clear(template, &turn)
        } else if open[key] == nil {
            guard open.count(of: Self.noAnswerRule) < Self.noAnswerFaultsMax else {
                turn.output.notices.append(.faultsFull(device: health.device))
                return
            }
            let reason = String(health.reason.prefix(200))
            template.message = "\(health.device) does not answer" + (reason.isEmpty ? "" : ": \(reason)")
            raise(template, .critical, &turn)
        }
    }

    // MARK: - Signals

    private mutating func beginSignals(_ rows: [String: [UInt8]], _ turn: inout Turn) {
        var output = SignalOutput()
        signals.begin(rows: rows, at: turn.now.forSignals, &output)
        keep(output, &turn)
        endWindows(&turn)
    }

    /// Rules see the converted and marked reading, whether it is kept or not. A fault that it raises stands behind it,
    /// and what windows and expressions make of it behind that.
    private mutating func filter(_ reading: Reading, isResult: Bool, depth: Int, _ turn: inout Turn) {
        var output = SignalOutput()
        let prepared = signals.prepare(reading, isResult: isResult, at: turn.now.forSignals, &output)
        let isKept = signals.take(prepared, at: turn.now.forSignals, &output)
        keep(output, &turn)
        if isKept { turn.keep(.reading(prepared.reading)) }
        watch(prepared.reading, number: prepared.number, &turn)
        derive(output.derived, depth: depth + 1, &turn)
    }

    private mutating func endWindows(_ turn: inout Turn) {
        guard !signals.isEmpty else { return }
        var output = SignalOutput()
        signals.timeReached(at: turn.now.forSignals, &output)
        keep(output, &turn)
        derive(output.derived, depth: 1, &turn)
    }

    private mutating func derive(_ derived: [DerivedReading], depth: Int, _ turn: inout Turn) {
        // The configuration has no circles; this holds for what it cannot see.
        guard depth <= Signals.derivedDepthMax else { return }
        for one in derived {
            if let problem = Record.reading(one.reading).problem {
                turn.output.notices.append(
                    .readingRefused(
                        device: one.reading.device, metric: one.reading.metric, member: problem.member,
                        rule: problem.rule))
            } else {
                filter(one.reading, isResult: one.isResult, depth: depth, &turn)
            }
        }
    }

    private mutating func keepContext(of device: DeviceID, _ turn: inout Turn) {
        guard !signals.isEmpty else { return }
        var output = SignalOutput()
        signals.faultRaised(for: device, at: turn.now.forSignals, &output)
        keep(output, &turn)
    }

    private func keep(_ output: SignalOutput, _ turn: inout Turn) {
        for reading in output.kept { turn.keep(.reading(reading)) }
        for notice in output.notices { turn.output.notices.append(.signal(notice)) }
    }

    // MARK: - Faults

    /// What a transition says besides its id, direction and severity.
    private struct FaultTemplate {
        let key: OpenFaults.Key
        var message: String
        var metric: String?
        var value: ReadingValue?
        var limit: String?
        let time: WallInstant
        let clock: ClockQuality

        func transition(_ fault: OpenFaults.Fault, _ state: FaultState) -> Record {
            .fault(
                FaultTransition(
                    faultID: fault.id, device: key.device, rule: key.rule, state: state, severity: fault.severity,
                    message: message, metric: metric, value: value, limit: limit, time: time, clock: clock))
        }
    }

    private mutating func raise(_ template: FaultTemplate, _ severity: Severity, _ turn: inout Turn) {
        guard open[template.key] == nil else { return }
        keepContext(of: template.key.device, &turn)
        let id = FaultTransition.identity(
            device: template.key.device, rule: template.key.rule, epoch: epoch, openingSequence: turn.nextSequence,
            sha1: sha1)
        let fault = OpenFaults.Fault(id: id, severity: severity)
        open.open(template.key, fault)
        isOpenChanged = true
        turn.keep(template.transition(fault, .raised))
    }

    private mutating func clear(_ template: FaultTemplate, _ turn: inout Turn) {
        guard let fault = open.close(template.key) else { return }
        isOpenChanged = true
        turn.keep(template.transition(fault, .cleared))
    }

    private mutating func clearOrphan(_ key: OpenFaults.Key, _ message: String, _ turn: inout Turn) {
        clear(FaultTemplate(key: key, message: message, time: turn.now.wall, clock: turn.now.clock), &turn)
    }

    private func act(
        _ actions: [LocalAction], _ rule: Rule, _ device: DeviceID, _ value: String?, _ turn: inout Turn
    ) {
        for action in actions {
            turn.output.actuations.append(
                RuleAction(
                    rule: rule.name, device: device, deed: action.deed(rule: rule, device: device, value: value)))
        }
    }

    // MARK: - State

    private mutating func finish(_ turn: Turn, isFinal: Bool = false) -> PipelineOutput {
        var output = turn.output
        if signals.hasRetentions { output.retentions = output.records.map { signals.retention(of: $0.record) } }
        output.signalRows = signals.rowsToKeep(at: turn.now.forSignals, isFinal: isFinal)
        guard isOpenChanged || evaluator.revision != keptRevision else { return output }
        isOpenChanged = false
        keptRevision = evaluator.revision
        var writer = StateWriter(version: Self.stateVersion)
        writer.blob(evaluator.snapshot(at: turn.now.monotonic))
        open.write(to: &writer)
        output.state = writer.bytes
        return output
    }

    /// All or nothing.
    private mutating func restore(_ bytes: [UInt8], at now: MonotonicInstant) -> Bool {
        guard var reader = StateReader(bytes, version: Self.stateVersion), let snapshot = reader.blob(),
            let faults = OpenFaults(reading: &reader), reader.isAtEnd, evaluator.restore(snapshot, at: now)
        else { return false }
        open = faults
        return true
    }
}
