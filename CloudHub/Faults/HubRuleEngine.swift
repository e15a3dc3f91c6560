import Crypto
import Glibc
import HubClock
public import Primitives
public import Rules
import Telemetry
import TimeZones

/// Holds the hub's own rules against what devices send. Pure but for SHA-1.
///
/// Values are judged on the axis of event time: a value that took longer than the lateness bound to arrive is history
/// and decides nothing, so back-fill never raises or reopens anything. Silence is judged on the hub's own monotonic
/// clock, so neither a device's clock nor a jump of the hub's date can feign it.
///
/// What is not possible here: an expression over several devices is judged in the order in which their events are
/// processed, not measured; one that arrives late, but within the bound, is held against what the others say now. Windows
/// and averages leave out what is older than the last value of the same device and metric.
public struct HubRuleEngine: Sendable {
    /// Where an observation stands in the log, for the id of a fault that it opens.
    public struct Place: Sendable, Equatable {
        public let partition: Int
        public let offset: Int64

        public init(partition: Int, offset: Int64) {
            self.partition = partition
            self.offset = offset
        }
    }

    /// The two clocks of the hub, read once a step.
    public struct HubTime: Sendable, Equatable {
        public let wall: WallInstant
        public let monotonic: MonotonicInstant

        public init(wall: WallInstant, monotonic: MonotonicInstant) {
            self.wall = wall
            self.monotonic = monotonic
        }
    }

    public static let statesMaxDefault = 100_000

    private let lateness: Duration
    private var values: RuleEvaluator
    private var silences: RuleEvaluator
    /// The rules, by name, that have no room for some device; it is not watched.
    public private(set) var fullRules: Set<String> = []
    private let takesAnyDevice: Bool
    private let devices: Set<DeviceID>
    private let readsNumbers: Bool

    /// - Parameters:
    ///   - rules: those of other places are left out.
    ///   - lateness: how much later than it was measured a value may arrive and still decide. Default 60 s.
    ///   - statesMax: states, rules times devices, of the rules about values and of those about silence each.
    public init(rules: [Rule], lateness: Duration = .seconds(60), statesMax: Int = HubRuleEngine.statesMaxDefault) {
        let own = rules.filter { $0.runs == .hub }
        self.lateness = lateness
        values = RuleEvaluator(rules: own.filter { $0.condition != .silent }, statesMax: statesMax)
        silences = RuleEvaluator(rules: own.filter { $0.condition == .silent }, statesMax: statesMax)
        takesAnyDevice = own.contains { $0.device == .any }
        devices = Set(own.flatMap(\.devicesNamed))
        readsNumbers = own.contains(where: \.readsNumbers)
    }

    public var isEmpty: Bool { !takesAnyDevice && devices.isEmpty }

    /// Whether any rule could look at this device.
    public func watches(_ device: DeviceID) -> Bool { takesAnyDevice || devices.contains(device) }

    /// Whether a rule needs the numbers in a plain JSON event.
    public var needsNumbers: Bool { readsNumbers }

    // MARK: - Inputs

    /// Restores what `snapshot` kept and starts the clocks of silence; time while the hub was down does not count.
    ///
    /// - Returns: `false` when the bytes are not a snapshot of this version; the rules then start anew.
    public mutating func begin(_ state: [UInt8]?, now: HubTime) -> Bool {
        tellTime(now)
        defer { silences.begin(at: now.monotonic) }
        guard let state else { return true }
        guard let (first, second) = Self.split(state) else { return false }
        let didRestore = values.restore(first, at: MonotonicInstant(nanoseconds: 0))
        return silences.restore(second, at: now.monotonic) && didRestore
    }

    /// A value arrived.
    ///
    /// - Parameters:
    ///   - value: `nil` for one that is no number; it only ends silence.
    ///   - time: when the device says that it was measured.
    ///   - arrivedAt: when the hub took it.
    public mutating func observed(
        _ metric: String, _ value: Double?, of device: DeviceID, time: WallInstant, arrivedAt: WallInstant,
        place: Place, now: HubTime
    ) -> [FaultReport] {
        var reports = self.reports(
            silences.heard(device: device, metric: metric, at: now.monotonic), of: silences.rules, time: now.wall,
            place: place)
        guard let value, arrivedAt - time <= lateness else { return reports }
        let instant = min(time, arrivedAt)
        reports += self.reports(
            values.observed(device: device, metric: metric, value: value, at: Self.axis(instant)), of: values.rules,
            time: instant, place: place)
        return reports
    }

    /// Everything in the log has been seen up to now: fires what waits for time alone.
    public mutating func caughtUp(now: HubTime) -> [FaultReport] {
        tellTime(now)
        let settled = now.wall + (.zero - lateness)
        let held = reports(
            values.timeReached(Self.axis(settled)), of: values.rules, time: settled, place: nil)
        return held
            + reports(silences.timeReached(now.monotonic), of: silences.rules, time: now.wall, place: nil)
    }

    /// Values that a rule should have looked at and had no room for, since the start.
    public var unwatchedCount: UInt64 { values.unwatchedCount &+ silences.unwatchedCount }

    /// How many states, rules times devices, each kind of rule may have.
    public var statesMax: Int { values.statesMax }

    /// Changes when a commit should keep a new snapshot.
    public var revision: UInt64 { values.revision &+ silences.revision }

    /// - Parameter now: what `begin` will count the silences' time from.
    public func snapshot(now: HubTime) -> [UInt8] {
        let first = values.snapshot(at: MonotonicInstant(nanoseconds: 0))
        let length = withUnsafeBytes(of: UInt32(first.count).littleEndian) { Array($0) }
        return length + first + silences.snapshot(at: now.monotonic)
    }

    /// Schedules of rules about values go by the time at which a value was measured, those of rules about silence by the
    /// hub's clock. A change between summer and winter time is seen up to the lateness bound late.
    private mutating func tellTime(_ now: HubTime) {
        if !values.zones.isEmpty {
            values.clockIs(
                RuleClock(wallOffset: 0, zoneOffsets: values.zones.map { Self.offset(of: $0, at: now.wall) }),
                at: Self.axis(now.wall + (.zero - lateness)))
        }
        guard !silences.zones.isEmpty else { return }
        silences.clockIs(
            RuleClock(
                wallOffset: now.wall.milliseconds - now.monotonic.nanoseconds / 1_000_000,
                zoneOffsets: silences.zones.map { Self.offset(of: $0, at: now.wall) }), at: now.monotonic)
    }

    private static func offset(of zone: Schedule.Zone, at time: WallInstant) -> Int {
        if let fixed = zone.fixedOffset { return fixed }
        // A zone that is not there was refused before.
        if case .named(let name) = zone { return SystemZones.files.rules(of: name)?.offset(at: time.unixSeconds) ?? 0 }
        var seconds = time_t(time.milliseconds / 1000)
        var parts = tm()
        return localtime_r(&seconds, &parts) == nil ? 0 : parts.tm_gmtoff
    }

    // MARK: - Outcomes

    private mutating func reports(
        _ outcomes: [RuleOutcome], of rules: [Rule], time: WallInstant, place: Place?
    ) -> [FaultReport] {
        var reports: [FaultReport] = []
        for outcome in outcomes {
            let rule = rules[outcome.rule]
            switch outcome.kind {
            case .breached: reports.append(Self.report(.raised, outcome, of: rule, time: time, place: place))
            case .recovered, .suspended:
                reports.append(Self.report(.cleared, outcome, of: rule, time: time, place: place))
            case .full: fullRules.insert(rule.name)
            }
        }
        return reports
    }

    private static func report(
        _ state: FaultState, _ outcome: RuleOutcome, of rule: Rule, time: WallInstant, place: Place?
    ) -> FaultReport {
        let value = outcome.value.flatMap { DecimalText($0) }
        let opening = place.map { "\($0.partition)/\($0.offset)" } ?? "\(time.milliseconds)"
        let id = UniqueID.named(
            "\(outcome.device)/\(rule.name)/hub/\(opening)", in: FaultTransition.namespace,
            sha1: { Array(Insecure.SHA1.hash(data: $0)) })
        return FaultReport(
            FaultTransition(
                faultID: id, device: outcome.device, rule: rule.name, state: state, severity: rule.severity,
                message: rule.message.message(rule: rule, device: outcome.device, value: value?.text),
                metric: rule.metric, value: value.map(ReadingValue.number), limit: rule.limitText, time: time),
            origin: .hub)
    }

    private static func axis(_ instant: WallInstant) -> MonotonicInstant {
        let (nanoseconds, overflow) = instant.milliseconds.multipliedReportingOverflow(by: 1_000_000)
        return MonotonicInstant(nanoseconds: overflow ? (instant.milliseconds < 0 ? .min : .max) : nanoseconds)
    }

    private static func split(_ state: [UInt8]) -> ([UInt8], [UInt8])? {
        guard state.count >= 4 else { return nil }
        let length = state.prefix(4).reversed().reduce(0) { $0 << 8 | Int($1) }
        guard length <= state.count - 4 else { return nil }
        return (Array(state[4..<4 + length]), Array(state[(4 + length)...]))
    }
}
