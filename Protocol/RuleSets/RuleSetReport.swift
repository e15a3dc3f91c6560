public import JSON
public import Primitives

/// What a gateway says about sets from the hub: the reported property `rules` of its twin.
///
///     {"version": "2026-11-20", "sha256": "…", "since": "2026-11-20T09:00:00Z", "count": 12,
///      "refused": {"version": "2026-11-21", "problems": ["line 3: rule[1].when = …"], "more": 0, "willRetry": false}}
public struct RuleSetReport: Hashable, Sendable {
    /// Problems that are told one by one.
    public static let problemsMax = 10
    /// Characters of one of them.
    public static let problemLengthMax = 300

    /// What runs.
    public struct Running: Hashable, Sendable {
        public let version: String
        public let sha256: String
        public let since: WallInstant
        public let ruleCount: Int

        public init(version: String, sha256: String, since: WallInstant, ruleCount: Int) {
            self.version = version
            self.sha256 = sha256
            self.since = since
            self.ruleCount = ruleCount
        }
    }

    /// What was wanted last and does not run.
    public struct Refusal: Hashable, Sendable {
        public let version: String
        /// Empty when the wish had none.
        public let sha256: String
        public let problems: [String]
        /// Problems that are not among them.
        public let moreCount: Int
        /// Trouble that may pass, such as the network's: the gateway tries again by itself. Otherwise only another wish
        /// helps.
        public let willRetry: Bool

        public init(version: String, sha256: String, problems: [String], willRetry: Bool) {
            self.version = version
            self.sha256 = sha256
            self.problems = problems.prefix(RuleSetReport.problemsMax).map {
                String($0.prefix(RuleSetReport.problemLengthMax))
            }
            moreCount = max(0, problems.count - RuleSetReport.problemsMax)
            self.willRetry = willRetry
        }

        fileprivate init(_ json: JSONValue) {
            version = json["version"]?.stringValue ?? ""
            sha256 = json["sha256"]?.stringValue ?? ""
            problems = (json["problems"]?.arrayValue ?? []).prefix(RuleSetReport.problemsMax).compactMap(\.stringValue)
            moreCount = Int(clamping: json["more"]?.int64Value ?? 0)
            willRetry = json["willRetry"]?.boolValue ?? false
        }

        fileprivate var json: JSONValue {
            [
                "version": .string(version), "sha256": .string(sha256),
                "problems": .array(problems.map { .string($0) }), "more": .number(JSONNumber(Int64(moreCount))),
                "willRetry": .bool(willRetry),
            ]
        }
    }

    /// `nil`: the rules of the gateway's own file alone.
    public var running: Running?
    /// `nil`: what is wanted runs, or is on its way.
    public var refused: Refusal?

    public init(running: Running? = nil, refused: Refusal? = nil) {
        self.running = running
        self.refused = refused
    }

    /// A patch of the reported properties: what is not so any more is null in it.
    public var json: JSONValue {
        [
            "version": running.map { .string($0.version) } ?? .null,
            "sha256": running.map { .string($0.sha256) } ?? .null,
            "since": running.map { .string($0.since.description) } ?? .null,
            "count": running.map { .number(JSONNumber(Int64($0.ruleCount))) } ?? .null,
            "refused": refused?.json ?? .null,
        ]
    }

    /// - Parameter json: the reported property, of whatever a gateway wrote there; `nil` when it says nothing.
    public init(_ json: JSONValue?) {
        if let version = json?["version"]?.stringValue, let hash = json?["sha256"]?.stringValue {
            running = Running(
                version: version, sha256: hash,
                since: json?["since"]?.stringValue.flatMap { WallInstant($0) } ?? .never,
                ruleCount: Int(clamping: json?["count"]?.int64Value ?? 0))
        }
        if let refusal = json?["refused"], case .object = refusal { refused = Refusal(refusal) }
    }
}
