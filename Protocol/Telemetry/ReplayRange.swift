public import JSON

/// The direct method by which the hub asks a gateway to send records again.
///
///     {"epoch":"9f86d081884c7d65","runs":[["1001","2"]]}
///
/// The gateway answers 200 with what it puts on its way again, what is gone, and what it has not looked for yet; 404 when
/// it has no outbox of that epoch, 400 when it cannot read the request. What is gone it declares as dropped in a batch,
/// and only that counts: nobody else may take a record for dropped, because one that came later would be taken for a
/// repeat.
public struct ReplayRange: Hashable, Sendable {
    public static let methodName = "ReplayRange"
    /// Runs of one request.
    public static let runsMax = 100

    public let epoch: Epoch
    /// Rising, without neighbours or overlaps; none empty.
    public let runs: [Run]

    /// - Parameter runs: those beyond `runsMax` are left out.
    public init(epoch: Epoch, runs: [Run]) {
        self.epoch = epoch
        self.runs = Array(runs.prefix(Self.runsMax))
    }

    public var json: JSONValue { ["epoch": .string(epoch.text), "runs": runs.json] }

    /// `nil` when it is no request within its limits.
    public init?(_ value: JSONValue) {
        guard let epoch = value["epoch"]?.stringValue.flatMap({ Epoch($0) }),
            let runs = value["runs"].flatMap({ [Run]($0, countMax: Self.runsMax) }), !runs.isEmpty
        else { return nil }
        self.init(epoch: epoch, runs: runs)
    }

    /// What a gateway answers with status 200.
    public struct Answer: Hashable, Sendable {
        /// Records that travel again.
        public let replayedCount: UInt64
        /// What is neither kept nor waits, for people: a batch declares it.
        public let gone: [Run]
        /// To be asked for again: time was over before it was looked for. Empty from a gateway that does not say so.
        public let rest: [Run]

        /// Runs of `gone`.
        public static let goneMax = 10 * ReplayRange.runsMax

        public init(replayedCount: UInt64, gone: [Run], rest: [Run] = []) {
            self.replayedCount = replayedCount
            self.gone = gone
            self.rest = rest
        }

        public var json: JSONValue {
            let all: JSONValue = ["replayed": .string(String(replayedCount)), "gone": gone.json, "rest": rest.json]
            let done: JSONValue = ["replayed": .string(String(replayedCount)), "gone": gone.json]
            return rest.isEmpty ? done : all
        }

        /// `nil` when it is no answer within its limits.
        public init?(_ value: JSONValue) {
            guard let count = value["replayed"]?.stringValue.flatMap({ UInt64($0) }),
                let gone = value["gone"].flatMap({ [Run]($0, countMax: Self.goneMax) })
            else { return nil }
            var rest: [Run] = []
            if let value = value["rest"] {
                guard let runs = [Run](value, countMax: ReplayRange.runsMax) else { return nil }
                rest = runs
            }
            self.init(replayedCount: count, gone: gone, rest: rest)
        }
    }
}

extension [Run] {
    /// Pairs of texts: start and count.
    fileprivate var json: JSONValue {
        .array(map { .array([.string(String($0.start)), .string(String($0.count))]) })
    }

    /// Only runs that rise and do not overlap.
    fileprivate init?(_ value: JSONValue, countMax: Int) {
        guard let pairs = value.arrayValue, pairs.count <= countMax else { return nil }
        self = []
        var next: UInt64 = 1
        for pair in pairs {
            guard let texts = pair.arrayValue, texts.count == 2,
                let start = texts[0].stringValue.flatMap({ UInt64($0) }),
                let count = texts[1].stringValue.flatMap({ UInt64($0) }), start >= next, count > 0,
                start <= UInt64.max - count
            else { return nil }
            append(Run(start: start, count: count))
            next = start + count
        }
    }
}
