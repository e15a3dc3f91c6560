public import Telemetry

/// Records as they are stored: neighbours of one lane in one row.
public struct OutboxChunk: Sendable, Equatable {
    public let lane: OutboxLane
    public let first: UInt64
    public internal(set) var count: UInt64
    /// Encoded records joined with commas.
    public internal(set) var fragments: [UInt8]

    public init(lane: OutboxLane, first: UInt64, count: UInt64, fragments: [UInt8]) {
        self.lane = lane
        self.first = first
        self.count = count
        self.fragments = fragments
    }

    public var run: Run { Run(start: first, count: count) }

    /// What it counts against the quota.
    public var quotaBytes: Int { fragments.count + OutboxLimits.rowOverheadBytes }

    /// Cuts records into rows: a row holds neighbours of one lane and at most `OutboxLimits.rowBytesMax` bytes.
    public static func chunks(of records: [SequencedRecord]) -> [OutboxChunk] {
        var chunks: [OutboxChunk] = []
        for record in records {
            let fragment = Batch.encodeFragment(record)
            let lane = lane(of: record.record)
            if let last = chunks.last, last.lane == lane,
                last.fragments.count + 1 + fragment.count <= OutboxLimits.rowBytesMax
            {
                chunks[chunks.count - 1].fragments.append(UInt8(ascii: ","))
                chunks[chunks.count - 1].fragments += fragment
                chunks[chunks.count - 1].count += 1
            } else {
                chunks.append(OutboxChunk(lane: lane, first: record.sequence, count: 1, fragments: fragment))
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

/// A stored row as the quota sees it.
public struct StoredRow: Sendable, Equatable {
    public let first: UInt64
    public let count: UInt64
    public let fragmentBytes: Int

    public init(first: UInt64, count: UInt64, fragmentBytes: Int) {
        self.first = first
        self.count = count
        self.fragmentBytes = fragmentBytes
    }

    public var quotaBytes: Int { fragmentBytes + OutboxLimits.rowOverheadBytes }
}

/// What must go so that a commit fits the quota.
public struct OutboxEviction: Sendable, Equatable {
    /// First sequences of stored rows to delete.
    public private(set) var storedRows: [UInt64] = []
    /// The chunks of the commit that are stored.
    public private(set) var incoming: [OutboxChunk]
    /// Everything that is dropped, rising, neighbours joined.
    public private(set) var dropped: [Run] = []
    /// How the stored bytes change.
    private(set) var bytesDelta: Int

    /// Decides: oldest stored readings, then the commit's own readings from the oldest on, then oldest stored faults.
    ///
    /// - Parameter nextStored: the oldest stored row of a lane after a sequence.
    public static func decide(
        storedBytes: Int, quotaBytes: Int, incoming: [OutboxChunk],
        nextStored: (OutboxLane, UInt64) throws(OutboxError) -> StoredRow?
    ) throws(OutboxError) -> OutboxEviction {
        var eviction = OutboxEviction(incoming: incoming)
        func excess() -> Int { storedBytes + eviction.bytesDelta - quotaBytes }
        var position: UInt64 = 0
        while excess() > 0, let row = try nextStored(.readings, position) {
            eviction.drop(row)
            position = row.first
        }
        while excess() > 0, let index = eviction.incoming.firstIndex(where: { $0.lane == .readings }) {
            eviction.dropIncoming(at: index)
        }
        position = 0
        while excess() > 0, let row = try nextStored(.faults, position) {
            eviction.drop(row)
            position = row.first
        }
        eviction.dropped = Run.joined(eviction.dropped)
        return eviction
    }

    private init(incoming: [OutboxChunk]) {
        self.incoming = incoming
        bytesDelta = incoming.reduce(0) { $0 + $1.quotaBytes }
    }

    private mutating func drop(_ row: StoredRow) {
        storedRows.append(row.first)
        dropped.append(Run(start: row.first, count: row.count))
        bytesDelta -= row.quotaBytes
    }

    private mutating func dropIncoming(at index: Int) {
        let chunk = incoming.remove(at: index)
        dropped.append(chunk.run)
        bytesDelta -= chunk.quotaBytes
    }
}

extension Run {
    /// Sorted, with neighbours and overlaps joined.
    public static func joined(_ runs: some Sequence<Run>) -> [Run] {
        var joined: [Run] = []
        for run in runs.sorted(by: { $0.start < $1.start }) where run.count > 0 {
            if let last = joined.last, run.start <= last.start + last.count {
                let end = max(last.start + last.count, run.start + run.count)
                joined[joined.count - 1] = Run(start: last.start, count: end - last.start)
            } else {
                joined.append(run)
            }
        }
        return joined
    }
}
