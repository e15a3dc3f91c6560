import JSON
import Outbox
import Primitives
import RuleSets
import SouthboundAPI
import Telemetry
import Timekeeping

/// What the gateway tells about itself in the reported properties of its twin.
struct GatewayReport {
    /// Ids of children in one report: with the longest ids still far under the twin's 32 KiB.
    static let childrenNamedMax = 100
    /// The newest entries of receipts in one report.
    static let quarantineMax = 5
    /// The last commands that came as messages from the cloud: there is no other way to tell how they ended.
    static let commandsMax = 5
    /// Characters of a reason, an outcome or a command's name.
    static let textLengthMax = 320

    let store: any OutboxStore
    let drivers: [any SouthboundDriver]
    let health: OutboxHealth
    let clock: GatewayClock
    let rules: RuleKeeper

    /// A patch of reported properties. It has nothing that changes by itself, so that an unchanged gateway is told once.
    ///
    /// - Parameter desiredVersion: the version of the desired properties that was seen; `nil` for none.
    func patch(desiredVersion: Int64?) -> [UInt8] {
        let children = Set(drivers.flatMap(\.devices)).sorted()
        let now = clock.now()
        let report: JSONValue = [
            "agent": [
                "version": .string(AgentVersion.text),
                "epoch": .string(store.epoch.text),
                "desiredVersion": desiredVersion.map { .number(JSONNumber($0)) } ?? .null,
            ],
            "clock": ["quality": .string(now.quality.rawValue), "source": .string(now.source.description)],
            "drivers": .array(drivers.map { .string($0.name) }),
            "children": [
                "count": .number(JSONNumber(Int64(children.count))),
                "ids": .array(children.prefix(Self.childrenNamedMax).map { .string($0.text) }),
            ],
            "outbox": outbox,
            RuleSetReference.property: rules.report.json,
            "quarantine": .array(quarantine),
            "commands": .array(commands),
        ]
        return report.serialized()
    }

    /// Whether readings are kept; the reason has no numbers in it that change by themselves.
    private var outbox: JSONValue {
        guard let problem = health.problem else { return ["state": "good", "reason": .null] }
        return ["state": "degraded", "reason": .string(String(problem.prefix(Self.textLengthMax)))]
    }

    /// What the hub could not accept of late: mostly children that are missing or belong to another gateway there.
    private var quarantine: [JSONValue] {
        // Receipts are for the operator's eyes; a disk that cannot be read is told by those who need it.
        let receipts = (try? store.receipts(countMax: Self.quarantineMax)) ?? []
        let entries = receipts.flatMap { stored in
            (Receipt(parsing: stored.bytes)?.entries ?? []).map { (stored.time, $0) }
        }
        return entries.prefix(Self.quarantineMax).map { time, entry in
            var members: JSONObject = [
                "time": .string(time.description),
                "code": .string(entry.code.rawValue),
                "reason": .string(String(entry.reason.prefix(Self.textLengthMax))),
            ]
            if let run = entry.run { members["records"] = .string(run.description) }
            if let first = entry.first {
                members["device"] = .string(first.device.text)
                members["metric"] = .string(String(first.metric.prefix(Self.textLengthMax)))
                members["measured"] = .string(first.time.description)
            }
            return .object(members)
        }
    }

    private var commands: [JSONValue] {
        ((try? store.endedCommands(countMax: Self.commandsMax)) ?? []).map { command in
            [
                "device": .string(command.device.text),
                "name": .string(String(command.name.prefix(Self.textLengthMax))),
                "outcome": .string(String(command.outcome.prefix(Self.textLengthMax))),
            ]
        }
    }
}

/// The program's version, as the hub and the command line are told.
enum AgentVersion {
    static let text = "0.1.0"
}
