public import JSON

/// The direct method by which the hub asks a gateway to send records again.
///
///     {"epoch":"9f86d081884c7d65","runs":[["1001","2"]]}
///
/// The gateway answers 200 with what it puts on its way again and what it did not find, 404 when it has no outbox of that
/// epoch, 400 when it cannot read the request. What was not found may still wait behind the end of its search: nobody may
/// count it as dropped, because a record that came later would then be taken for a repeat.
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
        /// What it did not find; not a declaration.
        public let gone: [Run]

        public init(replayedCount: UInt64, gone: [Run]) {
            self.replayedCount = replayedCount
            self.gone = gone
        }

        public var json: JSONValue { ["replayed": .string(String(replayedCount)), "gone": gone.json] }

        /// `nil` when it is no answer within its limits.
        public init?(_ value: JSONValue) {
            guard let count = value["replayed"]?.stringValue.flatMap({ UInt64($0) }),
                let gone = value["gone"].flatMap({ [Run]($0, countMax: 10 * ReplayRange.runsMax) })
            else { return nil }
            self.init(replayedCount: count, gone: gone)
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
