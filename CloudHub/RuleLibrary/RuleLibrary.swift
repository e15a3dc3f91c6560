import ConfigText
import Crypto
public import Primitives
public import RuleSets
import RuleTrial
public import Rules

/// A set of rules as it was published. It never changes; another text needs another version.
public struct PublishedRuleSet: Sendable, Equatable {
    public let version: String
    /// Of the text; 64 lower-case hexadecimal digits.
    public let sha256: String
    public let byteCount: Int
    public let ruleCount: Int
    public let caseCount: Int
    public let publishedAt: WallInstant

    public init(
        version: String, sha256: String, byteCount: Int, ruleCount: Int, caseCount: Int, publishedAt: WallInstant
    ) {
        self.version = version
        self.sha256 = sha256
        self.byteCount = byteCount
        self.ruleCount = ruleCount
        self.caseCount = caseCount
        self.publishedAt = publishedAt
    }

    /// What the twin of a gateway is told; the gateway asks the hub that it is connected to.
    public func reference(for gateway: DeviceID) -> RuleSetReference {
        RuleSetReference(
            version: version, address: RuleSetAPI.path(of: sha256, for: gateway), sha256: sha256)
    }
}

/// Why something was not published or is not there.
public enum RuleLibraryError: Error, Sendable, Equatable, CustomStringConvertible {
    case wrongVersion(String)
    /// Every problem of the text.
    case refused([String])
    case otherText(version: String)
    case full(setsMax: Int)
    case unknown(version: String)

    public var isRetryable: Bool { false }

    public var description: String {
        switch self {
        case .wrongVersion(let version):
            "'\(version.prefix(128))' is no version: 1 to 100 letters, digits, - _ or ."
        case .refused(let problems): problems.joined(separator: "\n")
        case .otherText(let version):
            "version \(version) is published with another text, and gateways may run it; give this one another version"
        case .full(let setsMax): "the hub holds \(setsMax) rule sets already; withdraw some that nobody runs"
        case .unknown(let version): "no rule set \(version.prefix(128)) is published here; see: cloud-hub ruleset list"
        }
    }
}

/// What keeps the published sets. Errors beside `RuleLibraryError` are the store's own.
public protocol RuleSetStore: Sendable {
    /// Durable when it returns. The same version with the same text again changes nothing and answers the one that is
    /// there.
    ///
    /// - Throws: `.otherText`, `.full`.
    func publish(_ set: PublishedRuleSet, text: [UInt8], setsMax: Int) async throws -> PublishedRuleSet
    /// Newest first.
    func published() async throws -> [PublishedRuleSet]
    /// `nil` when there is none.
    func text(version: String) async throws -> (set: PublishedRuleSet, text: [UInt8])?
    func text(sha256: String) async throws -> [UInt8]?
    /// - Returns: whether it was there.
    func withdraw(version: String) async throws -> Bool
    /// What gateways are asked to run and say that they run, by their twins; at most `countMax`.
    func users(countMax: Int) async throws -> [RuleSetUser]
}

/// A gateway that has to do with sets.
public struct RuleSetUser: Sendable, Equatable {
    public let gateway: DeviceID
    public let wish: RuleSetWish
    public let report: RuleSetReport

    public init(gateway: DeviceID, wish: RuleSetWish, report: RuleSetReport) {
        self.gateway = gateway
        self.wish = wish
        self.report = report
    }
}

/// The published sets: checked by the gateways' own reader before they are kept.
public struct RuleLibrary: Sendable {
    /// Sets in one hub: 1,000.
    public static let setsMax = 1000
    /// Gateways in one list: 10,000.
    public static let usersMax = 10_000

    private let store: any RuleSetStore
    private let clock: @Sendable () -> WallInstant
    private let zoneOffset: @Sendable (Schedule.Zone, WallInstant) -> Int?
    private let zoneProblem: @Sendable (String) -> String?

    /// - Parameters:
    ///   - zoneOffset: seconds east of Greenwich in a schedule's zone at a time; `nil` for the gateway's own zone, and for
    ///     one that `zoneProblem` says something of.
    ///   - zoneProblem: what is wrong with the name of a zone, and what to do; `nil` when the hub knows it.
    public init(
        _ store: any RuleSetStore, clock: @escaping @Sendable () -> WallInstant,
        zoneOffset: @escaping @Sendable (Schedule.Zone, WallInstant) -> Int? = { zone, _ in zone.fixedOffset },
        zoneProblem: @escaping @Sendable (String) -> String? = { "the time zone \($0) is not known here" }
    ) {
        self.store = store
        self.clock = clock
        self.zoneOffset = zoneOffset
        self.zoneProblem = zoneProblem
    }

    /// Checks the text whole and keeps it.
    ///
    /// Whether a gateway has the actuators and devices that the rules name, and whether its own file has a rule of the
    /// same name, only that gateway can say. Cases of schedules in the gateway's own time zone are run there too.
    ///
    /// - Returns: the set, and how many cases only gateways can run.
    /// - Throws: `RuleLibraryError`, or the store's own.
    public func publish(_ text: [UInt8], version: String) async throws -> (set: PublishedRuleSet, leftCount: Int) {
        guard RuleSetReference.isVersion(version) else { throw RuleLibraryError.wrongVersion(version) }
        let set: RuleSet
        do throws(ConfigError) { set = try RuleSet(bytes: text) } catch {
            throw RuleLibraryError.refused(error.problems.map(\.description))
        }
        let zoneOffset = zoneOffset
        let now = clock()
        let isWithoutZone = { (example: RuleCase) in
            example.rule.schedule.map { zoneOffset($0.zone, example.start ?? now) == nil } ?? false
        }
        let failed = set.failedCases(leavingOut: isWithoutZone) { zoneOffset($0, $1) ?? 0 }
        let problems = zoneProblems(set) + failed.map(\.description)
        guard problems.isEmpty else { throw RuleLibraryError.refused(problems) }
        let published = PublishedRuleSet(
            version: version, sha256: Hex.encode(SHA256.hash(data: text)), byteCount: text.count,
            ruleCount: set.rules.count, caseCount: set.cases.count, publishedAt: now)
        return (
            try await store.publish(published, text: text, setsMax: Self.setsMax),
            set.cases.count(where: isWithoutZone)
        )
    }

    /// A zone that nobody knows is no gateway's own: no gateway could run the set.
    private func zoneProblems(_ set: RuleSet) -> [String] {
        set.rules.enumerated().compactMap { index, rule in
            guard case .named(let name)? = rule.rule.schedule?.zone else { return nil }
            return zoneProblem(name).map { "rule[\(index + 1)].time_zone: \($0)" }
        }
    }

    /// Newest first.
    public func published() async throws -> [PublishedRuleSet] { try await store.published() }

    /// - Throws: `.unknown`, or the store's own.
    public func text(version: String) async throws -> (set: PublishedRuleSet, text: [UInt8]) {
        guard let found = try await store.text(version: version) else {
            throw RuleLibraryError.unknown(version: version)
        }
        return found
    }

    public func text(sha256: String) async throws -> [UInt8]? { try await store.text(sha256: sha256) }

    /// - Throws: `.unknown`, or the store's own.
    public func withdraw(version: String) async throws {
        guard try await store.withdraw(version: version) else { throw RuleLibraryError.unknown(version: version) }
    }

    /// Every gateway whose twin wants a set, or says something of one.
    public func users() async throws -> [RuleSetUser] { try await store.users(countMax: Self.usersMax) }
}
