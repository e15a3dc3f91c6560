public import ConfigText
import Actuation
import LocalMQTT
import ModbusDriver
import Primitives
import RuleSets
public import RuleTrial
public import Rules
public import Signals

extension AgentConfig {
    static let driversMax = 16

    /// Reads and checks the whole text; no file, socket or clock is touched.
    ///
    /// - Throws: every problem at once, each with line, key path, what was given and what is allowed.
    public init(toml: String) throws(ConfigError) {
        let root = try ConfigSection(toml: toml)
        hub = HubSection.read(root.section("hub"))
        let outboxSection = root.section("outbox")
        outbox = Self.readOutbox(outboxSection)
        let devices = KnownDevices()
        brokers = root.sections("mqtt", countMax: Self.driversMax).map { BrokerSection.read($0, devices) }
        lines = root.sections("modbus", countMax: Self.driversMax).map { LineSection.read($0, devices) }
        // Cases are checked with the rest, and run by nobody but `rule test`.
        var cases: [RuleCase] = []
        rules = RuleSection.read(root, cases: &cases)
        hubRules = Self.readHubRules(root.section("rules"))
        actuators = ActuatorSection.read(root, lines: lines)
        actuation = Self.readActuation(root.section("actuation"), beside: outbox.path)
        signals = SignalSection.read(root)
        Self.checkInterlocks(actuators, signals, root)
        signalStateInterval = root.section("signals").duration(
            "state_interval", default: .seconds(60), in: .seconds(1) ... .seconds(3600))
        log = root.section("log").choice(
            "level", default: .info, ["debug": .debug, "info": .info, "warning": .warning, "error": .error])
        if brokers.isEmpty, lines.isEmpty {
            root.problem("there is nothing to read from: add a [[mqtt]] broker or a [[modbus]] line")
        }
        noteActions(of: root.sections("rule", countMax: EdgeRule.countMax))
        try root.finish()
    }

    /// The rules of a whole configuration, or of a file that has nothing but rules, and the cases beside them.
    ///
    /// - Throws: as `init(toml:)`.
    public static func rulesAndCases(toml: String) throws(ConfigError) -> (rules: [Rule], cases: [RuleCase]) {
        let root = try ConfigSection(toml: toml)
        var cases: [RuleCase] = []
        let rules = RuleSection.read(root, cases: &cases).map(\.rule)
        if root.has("hub") {
            _ = try AgentConfig(toml: toml)
        } else {
            _ = SignalSection.read(root)
            try root.finish()
        }
        return (rules, cases)
    }

    /// The signals of the same file.
    ///
    /// - Throws: as `init(toml:)`.
    public static func signals(toml: String) throws(ConfigError) -> [SignalSettings] {
        SignalSection.read(try ConfigSection(toml: toml))
    }

    /// Interlocks see each reading at once, before windows and expressions make something of it.
    private static func checkInterlocks(_ actuators: [Actuator], _ signals: [SignalSettings], _ root: ConfigSection) {
        for actuator in actuators {
            for sensor in actuator.sensorsRead
            where signals.contains(where: { $0.worksOut(sensor.metric, of: sensor.device) }) {
                root.problem(
                    "actuator \(actuator.name): \(sensor.device)/\(sensor.metric) is worked out by a [[signal]], and its "
                        + "interlock and sensors see only what sensors give; write its expression in the interlock itself"
                )
            }
        }
    }

    private static func readActuation(_ section: ConfigSection, beside outbox: String) -> ActuationSettings {
        let folder = outbox.lastIndex(of: "/").map { String(outbox[...$0]) } ?? ""
        var settings = ActuationSettings(logPath: folder + "actuation.log", socketPath: folder + "edge-agent.sock")
        settings.logPath = section.text("log", default: settings.logPath, expected: "the path of a file")
        settings.socketPath = section.text("socket", default: settings.socketPath, expected: "the path of a socket")
        settings.logSize = section.bytes("log_size", default: settings.logSize, in: .kibibytes(4) ... .mebibytes(16))
        return settings
    }

    private static func readOutbox(_ section: ConfigSection) -> OutboxSettings {
        var settings = OutboxSettings()
        settings.path = section.text("path", default: settings.path, expected: "the path of a file")
        settings.quota = section.bytes("quota", default: settings.quota, in: .mebibytes(1) ... .gibibytes(1024))
        settings.commitInterval = section.duration(
            "commit_interval", default: settings.commitInterval, in: .zero ... .seconds(10))
        settings.commitBytes = section.bytes(
            "commit_bytes", default: settings.commitBytes, in: .kibibytes(1) ... .mebibytes(1))
        settings.replayKeep = section.duration(
            "replay_keep", default: settings.replayKeep, in: .zero ... .seconds(30 * 86_400))
        settings.replayQuota = optionalBytes(
            "replay_quota", section, in: .kibibytes(64)...ByteCount(bytes: settings.quota.bytes / 2))
        settings.liveShare = section.integer("live_share", default: settings.liveShare, in: 1...80)
        settings.backfillShare = section.integer("backfill_share", default: settings.backfillShare, in: 1...80)
        if settings.liveShare + settings.backfillShare > 90 {
            section.problem(
                "backfill_share", expected: "expected at most 90 together with live_share; faults need the rest")
        }
        settings.cardEndurance = optionalBytes(
            "card_endurance", section,
            in: ByteCount(bytes: 1_000_000_000)...ByteCount(bytes: 1_000_000_000_000_000))
        return settings
    }

    private static func optionalBytes(
        _ key: String, _ section: ConfigSection, in range: ClosedRange<ByteCount>
    ) -> ByteCount? {
        let bounds = "\(range.lowerBound) to \(range.upperBound)"
        return section.optional(key, expected: "an amount with its unit, such as \"64KiB\" or \"10GB\", from \(bounds)")
        {
            text in ByteCount(text).flatMap { range.contains($0) ? $0 : nil }
        }
    }
}

/// Devices that have a driver already: a device that two drivers read would be two devices under one name. And the
/// drivers' names: a name is the key of what its driver keeps in the outbox, so no two may share one.
final class KnownDevices {
    private var owners: [String: String] = [:]
    private var drivers: Set<String> = []

    /// The driver's name; notes a problem when it is missing or an earlier driver has it.
    func driverName(_ section: ConfigSection, expected: String) -> String? {
        guard let name = section.requiredText("name", expected: expected) else { return nil }
        if !drivers.insert(name).inserted {
            section.problem(
                "name", expected: "is the name of an earlier driver; every [[mqtt]] and [[modbus]] needs its own")
        }
        return name
    }

    /// Notes that `driver` reads `device`; the other driver when there is one.
    func claim(_ device: String, by driver: String) -> String? {
        if let owner = owners[device], owner != driver { return owner }
        owners[device] = driver
        return nil
    }
}
