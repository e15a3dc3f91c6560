internal import Primitives
public import Telemetry

/// Records as they are stored: of one lane and one retention, in one row.
///
/// The records of a commit are cut into windows of at most `OutboxLimits.rowBytesMax` bytes; each window makes one row
/// for every kind of record in it. So rows overlap only within a window, and a whole window fits in a batch.
public struct OutboxChunk: Sendable, Equatable {
    public let lane: OutboxLane
    public let retention: Retention
    public let first: UInt64
    public internal(set) var last: UInt64
    public internal(set) var count: UInt64
    /// Encoded records joined with commas.
    public internal(set) var fragments: [UInt8]

    public init(
        lane: OutboxLane, retention: Retention = .standard, first: UInt64, last: UInt64, count: UInt64,
        fragments: [UInt8]
    ) {
        self.lane = lane
        self.retention = retention
        self.first = first
        self.last = last
        self.count = count
        self.fragments = fragments
    }

    /// Takes one more encoded record; its sequence is beyond the last.
    public mutating func append(_ fragment: some Collection<UInt8>, sequence: UInt64) {
        fragments.append(UInt8(ascii: ","))
        fragments += fragment
        count += 1
        last = sequence
    }

    /// Who goes first when there is no room.
    public var rank: EvictionRank {
        switch lane {
        case .readings: .readings(retention.priority)
        case .faults: .faults
        case .replays: .replays
        }
    }

    /// Cuts the records of a commit into rows, in order of their first sequence.
    public static func chunks(of commit: OutboxCommit) -> [OutboxChunk] {
        var chunks: [OutboxChunk] = []
        var window = 0
        var windowBytes = 0
        var windowFirst = commit.records.first?.sequence ?? 0
        for (index, record) in commit.records.enumerated() {
            let lane = lane(of: record.record)
            let retention =
                commit.retentions.isEmpty || lane == .faults ? Retention.standard : commit.retentions[index]
            let fragment = Batch.encodeFragment(record)
            let isTooWide = record.sequence - windowFirst >= OutboxLimits.rowSpanMax
            if windowBytes + fragment.count + 1 > OutboxLimits.rowBytesMax || isTooWide {
                window = chunks.count
                windowBytes = 0
                windowFirst = record.sequence
            }
            windowBytes += fragment.count + 1
            let place = chunks[window...].firstIndex { $0.lane == lane && $0.retention == retention }
            if let place {
                chunks[place].append(fragment, sequence: record.sequence)
            } else {
                chunks.append(
                    OutboxChunk(
                        lane: lane, retention: retention, first: record.sequence, last: record.sequence, count: 1,
                        fragments: fragment))
            }
        }
        return chunks
    }

    private static func lane(of record: Record) -> OutboxLane {
        switch record {
        case .reading: .readings
        case .fault: .faults
        }
    }
}

/// Who goes first when there is no room.
public enum EvictionRank: Hashable, Sendable, CaseIterable {
    /// Kept only for a replay.
    case acknowledged
    case replays
    case readings(Retention.Priority)
    case faults

    /// First those that go first.
    public static let allCases: [EvictionRank] =
        [.acknowledged, .replays] + Retention.Priority.allCases.map { .readings($0) } + [.faults]
}

/// A row as the quota sees it.
public struct StoredRow: Sendable, Equatable {
    public let first: UInt64
    public let rank: EvictionRank
    /// What its end gives back.
    public let bytes: Int

    public init(first: UInt64, rank: EvictionRank, bytes: Int) {
        self.first = first
        self.rank = rank
        self.bytes = bytes
    }
}

/// What must go so that a commit fits the quota.
public struct OutboxEviction: Sendable, Equatable {
    /// Stored rows to delete, in this order.
    public private(set) var stored: [StoredRow] = []
    /// Rows of the commit that are not stored at all.
    public private(set) var refused: [StoredRow] = []
    /// What is still too much when everything has gone; zero or less when it fits.
    public private(set) var excess: Int

    /// Decides: rank by rank the oldest stored rows, then the commit's own of that rank. Acknowledged rows of the store
    /// go for anything; a fault goes only for a fault.
    ///
    /// - Parameters:
    ///   - excess: by how much the store would pass its quota with the whole commit.
    ///   - incoming: the rows of the commit, oldest first.
    ///   - nextStored: the oldest stored row of a rank after a sequence.
    public static func decide(
        excess: Int, incoming: [StoredRow],
        nextStored: (EvictionRank, UInt64) throws(OutboxError) -> StoredRow?
    ) throws(OutboxError) -> OutboxEviction {
        var eviction = OutboxEviction(excess: excess)
        for rank in EvictionRank.allCases {
            var position: UInt64 = 0
            while eviction.excess > 0, let row = try nextStored(rank, position) {
                eviction.stored.append(row)
                eviction.excess -= row.bytes
                position = row.first
            }
            for row in incoming where row.rank == rank && eviction.excess > 0 {
                eviction.refused.append(row)
                eviction.excess -= row.bytes
            }
            if eviction.excess <= 0 { break }
        }
        return eviction
    }

    private init(excess: Int) { self.excess = excess }
}

/// Puts rows together into one batch, oldest first, without passing a size. Rows that overlap go together, their
/// records in order.
public struct OutboxBatchBuilder {
    private let bytesMax: Int
    private var rows: [UInt64] = []
    private var runs: [Run] = []
    private var fragments: [UInt8] = []
    /// Overlapping rows that are complete only when a later one begins.
    private var window: [OutboxChunk] = []
    private var isFull = false

    public init(bytesMax: Int) { self.bytesMax = bytesMax }

    /// Rows must come in order of their first sequence.
    ///
    /// - Returns: `false` when no further row is wanted.
    public mutating func add(_ row: OutboxChunk) -> Bool {
        if let end = window.map(\.last).max(), row.first > end { closeWindow() }
        guard !isFull else { return false }
        window.append(row)
        return true
    }

    /// `nil` when there was nothing.
    public mutating func batch(dropped: [Run]) -> OutboxBatch? {
        closeWindow()
        guard !rows.isEmpty else { return nil }
        return OutboxBatch(rows: rows, runs: runs, fragments: fragments, dropped: dropped)
    }

    private mutating func closeWindow() {
        guard !window.isEmpty else { return }
        defer { window = [] }
        let bytes = window.reduce(0) { $0 + $1.fragments.count + 1 }
        guard !isFull, rows.isEmpty || fragments.count + bytes <= bytesMax else {
            isFull = true
            return
        }
        let joined = window.count == 1 ? window[0].fragments : Self.merged(window)
        if !fragments.isEmpty { fragments.append(UInt8(ascii: ",")) }
        fragments += joined
        rows += window.map(\.first)
        let isWhole = window.count == 1 && window[0].last - window[0].first + 1 == window[0].count
        let added = isWhole ? [Run(start: window[0].first, count: window[0].count)] : FragmentList(joined).runs
        for run in added {
            if let last = runs.last, last.start + last.count == run.start {
                runs[runs.count - 1] = Run(start: last.start, count: last.count + run.count)
            } else {
                runs.append(run)
            }
        }
        isFull = fragments.count >= bytesMax
    }

    /// The records of several rows in the order of their sequences, each once.
    public static func merged(_ rows: [OutboxChunk]) -> [UInt8] {
        let lists = rows.map { FragmentList($0.fragments) }
        let all = lists.indices.flatMap { list in lists[list].map { (list: list, record: $0) } }
            .sorted { $0.record.sequence < $1.record.sequence }
        var bytes: [UInt8] = []
        var last: UInt64?
        for (list, record) in all where record.sequence != last {
            if last != nil { bytes.append(UInt8(ascii: ",")) }
            bytes += lists[list].bytes[record.range]
            last = record.sequence
        }
        return bytes
    }
}

extension Run {
    /// Sorted, with neighbours and overlaps joined.
    public static func joined(_ runs: some Sequence<Run>) -> [Run] {
        var joined: [Run] = []
        for run in runs.sorted(by: { $0.start < $1.start }) where run.count > 0 {
            if let before = joined.last, before.last == .max || run.start <= before.last + 1 {
                let last = max(before.last, run.last)
                joined[joined.count - 1] = Run(
                    start: before.start, count: last - before.start == .max ? .max : last - before.start + 1)
            } else {
                joined.append(run)
            }
        }
        return joined
    }

    /// What is left of the run when all those are taken away.
    public func subtracting(_ runs: [Run]) -> [Run] {
        var left: [Run] = []
        var next = start
        for run in Run.joined(runs) where run.last >= start && run.start <= last {
            if run.start > next { left.append(Run(start: next, count: run.start - next)) }
            guard run.last < last else { return left }
            next = max(next, run.last + 1)
        }
        if next <= last, !isEmpty { left.append(Run(start: next, count: last - next + 1)) }
        return left
    }
}
