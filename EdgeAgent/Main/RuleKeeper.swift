import AgentConfig
import ConfigText
import DriverRuntime
import HubTransport
import JSON
import Logging
import Outbox
import Pipeline
import Primitives
import RuleKeeping
import RuleSets
import SouthboundAPI
import Synchronization
import Timekeeping
import Uplink

/// The thread that takes sets of rules from the hub: fetches what the twin names, checks it whole, and lets it run in
/// one transaction with its text. Whatever fails on the way, what ran goes on running.
final class RuleKeeper: Sendable {
    /// For one fetch, from the look-up of the name to the last byte.
    static let fetchTimeMax = Duration.seconds(60)

    struct Surroundings: Sendable {
        let config: AgentConfig
        let uplink: UplinkSettings
        let store: any OutboxStore
        let drivers: [any SouthboundDriver]
        let clock: GatewayClock
        let logger: Logger
    }

    private struct Mail: Sendable {
        var wish: RuleSetWish?
        var isStopping = false
    }

    private let surroundings: Surroundings
    /// What the keeper tells the rest of the agent.
    struct Doors: Sendable {
        let swap: @Sendable (RuleSwap) -> Void
        /// The report says something else.
        let reported: @Sendable () -> Void
        /// Bytes on the network.
        let spent: @Sendable (UInt64) -> Void
    }

    private let wake: WakeSignal
    private let mail = Mutex(Mail())
    private let told: Mutex<RuleSetReport>
    private let thread = Mutex<OwnThread?>(nil)
    /// With which the agent starts: the file's, and those of the last good set.
    let firstRules: [EdgeRule]

    /// Reads what an earlier run kept. A set that cannot run any more, because the file has changed, is said so.
    init(_ surroundings: Surroundings) throws(AgentFailure) {
        guard let wake = WakeSignal() else {
            throw AgentFailure(description: "the system has no descriptor left; raise the limits of this service")
        }
        self.wake = wake
        self.surroundings = surroundings
        let (rules, report) = try surroundings.kept()
        firstRules = rules
        told = Mutex(report)
    }

    /// What the gateway says of sets. Any thread.
    var report: RuleSetReport { told.withLock { $0 } }

    /// The desired properties of the gateway's twin, all of them. Any thread; does not block.
    func desired(_ properties: JSONValue) {
        mail.withLock { $0.wish = RuleSetWish(properties[RuleSetReference.property]) }
        wake.ring()
    }

    func start(_ doors: Doors) throws(AgentFailure) {
        let made = OwnThread.run(name: "rules") { self.run(doors) }
        guard let made else {
            throw AgentFailure(description: "the system has no thread left; raise the limits of this service")
        }
        thread.withLock { $0 = made }
    }

    func stop() {
        mail.withLock { $0.isStopping = true }
        wake.ring()
        thread.withLock { thread in
            thread?.join()
            thread = nil
        }
    }

    // MARK: Its own thread

    private func run(_ doors: Doors) {
        var keeper = RuleSetKeeper(report)
        var random = SystemRandomNumberGenerator()
        note(keeper.report, doors)
        while !mail.withLock({ $0.isStopping }) {
            let now = SystemTime.monotonic
            if let wish = mail.withLock({ $0.wish.take() }), keeper.wished(wish, now: now) {
                note(keeper.report, doors)
            }
            guard let step = keeper.nextStep(now: SystemTime.monotonic) else {
                wake.wait(until: min(keeper.deadline ?? now + .seconds(60), now + .seconds(60)))
                continue
            }
            let outcome = perform(step, doors)
            keeper.ended(outcome, now: SystemTime.monotonic, using: &random)
            tell(step, outcome)
            note(keeper.report, doors)
        }
    }

    private func perform(_ step: RuleSetKeeper.Step, _ doors: Doors) -> RuleSetKeeper.Outcome {
        switch step {
        case .withdraw:
            return run(
                surroundings.config.rules, origin: "the hub, which has withdrawn its rule set", kept: KeptRuleSet.none,
                as: nil, doors)
        case .take(let reference):
            if let reason = surroundings.config.hubRules.refusal { return .refused([reason.description]) }
            let text: [UInt8]
            do throws(DocumentFailure) {
                text = try fetch(reference, doors)
            } catch {
                return error.outcome(of: reference)
            }
            let hash = Hex.encode(GatewayCrypto.sha256(text))
            guard hash == reference.sha256 else {
                return .refused(["sha256: what \(reference.address) holds has \(hash); publish the set again"])
            }
            do throws(ConfigError) {
                let (rules, count) = try surroundings.checked(text)
                let since = surroundings.clock.now().time
                return run(
                    rules, origin: "rule set \(reference.version)",
                    kept: KeptRuleSet(reference: reference, since: since, text: text).bytes,
                    as: .init(
                        version: reference.version, sha256: reference.sha256, since: since, ruleCount: count),
                    doors)
            } catch {
                return .refused(error.problems.map(\.description))
            }
        }
    }

    private func fetch(_ reference: RuleSetReference, _ doors: Doors) throws(DocumentFailure) -> [UInt8] {
        let present = surroundings.clock.certificateTime().unixSeconds
        let endpoint = surroundings.uplink.documentEndpoint(
            reference.address, bytesMax: RuleSet.bytesMax, foreignCAFile: surroundings.config.hubRules.caFile,
            present: present)
        guard let endpoint else { throw .unusable("it is no https:// address and no path at the hub") }
        return try HubLink.fetch(
            endpoint, certificateTime: present, wake: wake, deadline: SystemTime.monotonic + Self.fetchTimeMax,
            spent: doors.spent
        ) { isOvertaken }
    }

    /// Something else is wanted, or the agent stops.
    private var isOvertaken: Bool { mail.withLock { $0.isStopping || $0.wish != nil } }

    /// Hands the rules to the core and waits until they run and are kept, or are not.
    private func run(
        _ rules: [EdgeRule], origin: String, kept: [UInt8], as running: RuleSetReport.Running?,
        _ doors: Doors
    ) -> RuleSetKeeper.Outcome {
        let verdict = Monitor<SinkError??>(nil)
        doors.swap(
            RuleSwap(
                rules: rules, origin: origin, kept: [KeptState(key: Surroundings.key, bytes: kept)],
                done: { error in verdict.withLock { $0 = .some(error) } }))
        while true {
            // The core ends only after this thread.
            guard let ended = verdict.wait(atMost: .seconds(1), { $0 }) else {
                if mail.withLock({ $0.isStopping }) { return .interrupted }
                continue
            }
            guard let error = ended else { return .runs(running) }
            return .failed(["the outbox does not keep it: \(error.detail)"])
        }
    }

    // MARK: What is said

    private func tell(_ step: RuleSetKeeper.Step, _ outcome: RuleSetKeeper.Outcome) {
        let logger = surroundings.logger
        var metadata: Logger.Metadata = [:]
        if case .take(let reference) = step { metadata["version"] = "\(reference.version)" }
        switch outcome {
        case .runs(let running?):
            metadata["rules"] = "\(running.ruleCount)"
            logger.info("a rule set from the hub runs", metadata: metadata)
        case .runs(nil): logger.info("the rule set from the hub is withdrawn; the file's own rules run alone")
        case .refused(let problems):
            metadata["reason"] = "\(problems.prefix(RuleSetReport.problemsMax).joined(separator: "; "))"
            logger.error("a rule set from the hub is refused; what ran before runs on", metadata: metadata)
        case .failed(let problems):
            metadata["reason"] = "\(problems.joined(separator: "; "))"
            logger.warning("a rule set from the hub cannot be had now and is tried again", metadata: metadata)
        case .interrupted: break
        }
    }

    /// For the twin at once, and for `edge-agent status`, as far as the disk takes it.
    private func note(_ report: RuleSetReport, _ doors: Doors) {
        told.withLock { $0 = report }
        doors.reported()
        surroundings.keep(report)
    }
}

extension RuleKeeper.Surroundings {
    /// The set that runs.
    static let key = "rules/set"
    /// What is said of it, for `edge-agent status`.
    static let reportKey = "rules/report"

    /// The rules of the text beside those of the file, all checked and all cases run; and how many the set has.
    func checked(_ text: [UInt8]) throws(ConfigError) -> (rules: [EdgeRule], setCount: Int) {
        let set = try RuleSet(bytes: text)
        let merged: [EdgeRule]
        var problems: [ConfigProblem] = []
        do throws(ConfigError) {
            merged = try config.rules(with: set) { [drivers, gateway = uplink.gateway] device in
                device == gateway || drivers.contains { $0.serves(device) }
            }
        } catch {
            problems = error.problems
            merged = []
        }
        problems += SystemZones.problems(set.rules.map(\.rule)).map {
            ConfigProblem(keyPath: "", line: nil, given: nil, expected: $0)
        }
        problems += set.failedCases { WallClock.offset(in: $0, at: $1) }
        guard problems.isEmpty else { throw ConfigError(problems: problems) }
        return (merged, set.rules.count)
    }

    /// What runs from the start on.
    ///
    /// - Throws: when the outbox does not give it back: to run without it would end the faults of its rules.
    func kept() throws(AgentFailure) -> ([EdgeRule], RuleSetReport) {
        let bytes: [UInt8]
        do throws(OutboxError) {
            bytes = try store.kept(Self.key) ?? KeptRuleSet.none
        } catch {
            throw AgentFailure(description: "the rule set that ran last cannot be read: \(error)")
        }
        guard bytes != KeptRuleSet.none else { return (config.rules, RuleSetReport()) }
        guard let kept = KeptRuleSet(bytes, sha256: { GatewayCrypto.sha256($0) }) else {
            return refusing("", "", ["the rule set that ran before is damaged in the outbox"])
        }
        let reference = kept.reference
        do throws(ConfigError) {
            let (rules, count) = try checked(kept.text)
            let running = RuleSetReport.Running(
                version: reference.version, sha256: reference.sha256, since: kept.since, ruleCount: count)
            return (rules, RuleSetReport(running: running))
        } catch {
            return refusing(reference.version, reference.sha256, error.problems.map(\.description))
        }
    }

    /// The file's rules alone, and why.
    private func refusing(_ version: String, _ sha256: String, _ problems: [String]) -> ([EdgeRule], RuleSetReport) {
        logger.error(
            "the rule set that ran before cannot run any more; the file's own rules run alone",
            metadata: ["version": "\(version)", "reason": "\(problems.joined(separator: "; "))"])
        return (
            config.rules,
            RuleSetReport(
                refused: .init(version: version, sha256: sha256, problems: problems, willRetry: false))
        )
    }

    func keep(_ report: RuleSetReport) {
        let bytes = report.json.serialized()
        do throws(OutboxError) {
            guard try store.kept(Self.reportKey) != bytes else { return }
            _ = try store.append(
                OutboxCommit(
                    records: [], kept: [KeptState(key: Self.reportKey, bytes: bytes)], wallTime: clock.now().time,
                    clock: clock.now().quality))
        } catch {
            logger.debug("what is said of rule sets is not kept", metadata: ["reason": "\(error)"])
        }
    }
}

extension DocumentFailure {
    func outcome(of reference: RuleSetReference) -> RuleSetKeeper.Outcome {
        switch self {
        case .stopped: .interrupted
        case .unreachable(let detail): .failed([detail])
        case .unusable(let detail): .refused(["\(reference.address): \(detail)"])
        case .status(let status) where (300..<400).contains(status):
            .refused([
                "\(reference.address): the server answers with HTTP status \(status); redirections are not followed, "
                    + "so name the address itself"
            ])
        case .status(let status):
            .failed(["\(reference.address): the server answers with HTTP status \(status)"])
        }
    }
}
