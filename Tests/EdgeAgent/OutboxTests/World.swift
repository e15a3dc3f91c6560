import EdgeStore
import Foundation
import Outbox
import Primitives
import Telemetry
import Testing

/// A gateway's outbox and its hub, stepped by chance.
struct World {
    /// What a hub knows: as the hub's log does it.
    struct Hub {
        var seen = IntervalSet(intervalCountMax: .max)
        var received = IntervalSet(intervalCountMax: .max)
        var declared = IntervalSet(intervalCountMax: .max)

        var gaps: [Run] {
            guard let last = seen.last else { return [] }
            return seen.missing(in: Run(start: 1, count: last))
        }

        /// A record that is refused because it was declared would be lost.
        mutating func take(_ batch: OutboxBatch) throws {
            for run in batch.dropped.flatMap({ seen.missing(in: $0) }) { _ = declared.insert(run) }
            for run in batch.dropped { _ = seen.insert(run) }
            for run in batch.runs {
                try #require(declared.missing(in: run) == [run], "\(run) came and was declared as dropped")
                _ = received.insert(run)
                _ = seen.insert(run)
            }
        }

        /// Restored from an older copy: it knows less.
        mutating func forget(_ run: Run) {
            func without(_ set: IntervalSet) -> IntervalSet {
                var left = IntervalSet(intervalCountMax: .max)
                for part in set.runs.flatMap({ $0.subtracting([run]) }) { _ = left.insert(part) }
                return left
            }
            (seen, received, declared) = (without(seen), without(received), without(declared))
        }
    }

    struct Counts {
        var gone: UInt64 = 0
        var restored: UInt64 = 0
        var crashes = 0
    }

    /// In this world nothing is kept for a replay.
    static let seedThatKeepsNothing: UInt64 = 3

    private(set) var hub = Hub()
    private(set) var counts = Counts()
    private var store: any OutboxStore
    private var random: SeededRandom
    private let kind: StoreKind
    private let clocks = TestClocks()
    private let limits: OutboxLimits
    private let folder: TemporaryFolder
    private var lives = 0
    /// On their way, by lane; what the hub has, it may not have acknowledged.
    private var travelling: [OutboxBatch] = []
    private var after: [OutboxLane: UInt64] = [:]

    init(_ kind: StoreKind, seed: UInt64) throws {
        self.kind = kind
        random = SeededRandom(seed: seed)
        folder = try TemporaryFolder()
        var limits = OutboxLimits(quotaBytes: 192 * 1024)
        limits.replayKeep = seed == Self.seedThatKeepsNothing ? .zero : .seconds(600)
        limits.replayBytes = 64 * 1024
        self.limits = limits
        store =
            switch kind {
            case .memory: MemoryOutbox(limits: limits, clock: clocks.clock)
            case .sqlite: try SQLiteOutbox(path: folder.path + "/outbox-0", limits: limits, clock: clocks.clock)
            }
    }

    private mutating func chance(_ most: UInt64) -> UInt64 { random.next() % most }

    mutating func step() throws {
        switch chance(100) {
        case 0..<35: try append()
        case 35..<55: try send()
        case 55..<72: try acknowledge()
        case 72..<75: linkLost()
        case 75..<83: try askForGaps()
        case 83..<88: hubForgets()
        case 88..<96: try pass(.milliseconds(Int64(chance(40_000))))
        case 96..<98: try crash()
        default: try askForAnything()
        }
    }

    private mutating func append() throws {
        let first = try store.status().nextSequence
        let count = 1 + chance(chance(10) == 0 ? 600 : 12)
        let isNoisy = count < 12 && chance(3) == 0
        var retentions: [Retention] = []
        let records = (first..<first + count).map { sequence in
            let priority = Retention.Priority.allCases[Int(chance(3))]
            retentions.append(Retention(priority: priority, timeToLive: chance(6) == 0 ? .seconds(30) : nil))
            return chance(20) == 0
                ? fault(sequence) : readings(from: sequence, count: 1, padding: isNoisy ? 3000 : 0, metric: "m")[0]
        }
        _ = try store.append(
            OutboxCommit(records: records, retentions: retentions, wallTime: someTime, clock: .synchronised))
    }

    private mutating func send() throws {
        guard let lane = OutboxLane.allCases.randomElement(using: &random) else { return }
        let request = TakeRequest(lane: lane, after: after[lane] ?? 0, bytesMax: 2000 + Int(chance(120_000)))
        guard let batch = try store.take(request) else {
            after[lane] = 0
            return
        }
        after[lane] = batch.lastSequence
        travelling.append(batch)
    }

    /// The hub takes some of what travels, perhaps without a word; acknowledgements come in the order of the batches.
    private mutating func acknowledge() throws {
        guard !travelling.isEmpty else { return }
        let batch = travelling.removeFirst()
        try hub.take(batch)
        if chance(10) > 0 { try store.acknowledge([batch]) }
    }

    private mutating func linkLost() {
        travelling = []
        after = [:]
    }

    private mutating func hubForgets() {
        guard let last = hub.seen.last, chance(3) == 0 else { return }
        hub.forget(Run(start: 1 + chance(last), count: 1 + chance(200)))
    }

    private mutating func pass(_ duration: Duration) throws {
        clocks.pass(duration)
        _ = try store.tidy()
    }

    private mutating func askForGaps() throws {
        for hole in hub.gaps.prefix(8) { try ask(hole) }
    }

    private mutating func askForAnything() throws {
        try ask(Run(start: 1 + chance(try store.status().nextSequence), count: 1 + chance(3000)))
    }

    private mutating func ask(_ run: Run) throws {
        var rest: Run? = run
        while let asked = rest {
            let outcome = try store.replay(asked)
            counts.gone += outcome.gone.reduce(0) { $0 + $1.count }
            counts.restored += outcome.restored.reduce(0) { $0 + $1.count }
            if let left = outcome.rest {
                try #require(left.start > asked.start && left.last <= asked.last, "the search gets on")
            }
            rest = outcome.rest
            // Not always to the end.
            if chance(4) == 0 { return }
        }
        after[.replays] = 0
    }

    /// What is on the disk now is what the next life finds; a store in memory has no such moment.
    private mutating func crash() throws {
        linkLost()
        counts.crashes += 1
        guard kind == .sqlite else { return }
        let (old, new) = ("\(folder.path)/outbox-\(lives)", "\(folder.path)/outbox-\(lives + 1)")
        for suffix in ["", "-wal"] where FileManager.default.fileExists(atPath: old + suffix) {
            try FileManager.default.copyItem(atPath: old + suffix, toPath: new + suffix)
        }
        lives += 1
        store = try SQLiteOutbox(path: new, limits: limits, clock: clocks.clock)
        for suffix in ["", "-wal", "-shm", ".lock", ".reserve"] { unlink(old + suffix) }
    }

    /// Everything travels, and the hub asks until nothing is missing.
    mutating func comeToRest() throws {
        linkLost()
        for _ in 0..<200 {
            let first = try store.status().nextSequence
            _ = try store.append(commit(readings(from: first, count: 1)))
            for lane in OutboxLane.allCases {
                var position: UInt64 = 0
                while let batch = try store.take(TakeRequest(lane: lane, after: position, bytesMax: 150_000)) {
                    position = batch.lastSequence
                    try hub.take(batch)
                    try store.acknowledge([batch])
                }
            }
            let gaps = hub.gaps
            if gaps.isEmpty { break }
            for hole in gaps {
                var rest: Run? = hole
                while let asked = rest { rest = try store.replay(asked).rest }
            }
            try pass(.seconds(1))
        }
        let next = try store.status().nextSequence
        #expect(hub.seen.missing(in: Run(start: 1, count: next - 1)) == [])
    }
}
