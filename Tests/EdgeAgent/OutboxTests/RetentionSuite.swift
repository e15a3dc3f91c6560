import EdgeStore
import Outbox
import Primitives
import Telemetry
import Testing

/// Quota, priorities, time to live and replay, on every implementation of `OutboxStore`.
@Suite struct RetentionSuite {
    private static let quota = 256 * 1024

    /// No replay, so that what is acknowledged is gone.
    private static var plain: OutboxLimits {
        var limits = OutboxLimits(quotaBytes: quota)
        limits.replayKeep = .zero
        return limits
    }

    private static let low = Retention(priority: .low)
    private static let high = Retention(priority: .high)

    /// Rows of about 10 KB of noise: a quarter of the quota is about six of them.
    private func fill(
        _ store: any OutboxStore, from first: UInt64, count: UInt64, _ retention: Retention = .standard,
        metric: String = "temperature"
    ) throws -> [Run] {
        var dropped: [Run] = []
        for sequence in first..<first + count {
            dropped += try store.append(
                commit(readings(from: sequence, count: 1, padding: 4000, metric: metric), retention))
        }
        return Run.joined(dropped)
    }

    private func stored(_ store: any OutboxStore, _ lane: OutboxLane = .readings) throws -> [Run] {
        try store.take(everything(lane))?.runs ?? []
    }

    @Test(arguments: StoreKind.allCases) func overTheQuotaTheOldestReadingsGoAndAreDeclaredOnce(kind: StoreKind) throws
    {
        try kind.withStore(limits: Self.plain) { store in
            _ = try store.append(commit([fault(1)]))
            let dropped = try fill(store, from: 2, count: 200)
            let count = try #require(dropped.first?.count)
            #expect(dropped == [Run(start: 2, count: count)] && count > 100, "the oldest, without a hole")
            let status = try store.status()
            #expect(status.undeclaredCount == count)
            #expect(status.account.droppedCount == count)
            let batch = try #require(try store.take(everything(.readings)))
            #expect(batch.dropped == dropped)
            #expect(batch.runs == [Run(start: 2 + count, count: 200 - count)])
            #expect(try stored(store, .faults) == [Run(start: 1, count: 1)])
            try store.acknowledge([batch])
            _ = try store.append(commit(readings(from: 202, count: 1)))
            #expect(try store.status().undeclaredCount == 0)
            #expect(try store.take(everything(.faults))?.dropped == [])
        }
    }

    @Test(arguments: StoreKind.allCases) func lowPriorityGoesBeforeNormalBeforeHighBeforeFaults(kind: StoreKind) throws
    {
        try kind.withStore(limits: Self.plain) { store in
            // High ones first, so that age alone would take them.
            #expect(try fill(store, from: 1, count: 10, Self.high) == [])
            #expect(try fill(store, from: 11, count: 10) == [])
            #expect(try fill(store, from: 21, count: 10, Self.low) == [])
            var gone: [UInt64] = []
            var next: UInt64 = 31
            while gone.count < 25, next < 500 {
                gone += try fill(store, from: next, count: 1, Self.high).flatMap { Array($0.start...$0.last) }
                next += 1
            }
            #expect(gone.prefix(20) == [21...30, 11...20].joined().map { $0 }.prefix(20), "\(gone)")
            #expect(gone.dropFirst(20).elementsEqual(UInt64(1)...UInt64(gone.count - 20)), "\(gone)")
            // A low reading finds no place among dearer ones.
            let refused = try fill(store, from: next, count: 1, Self.low)
            #expect(refused == [Run(start: next, count: 1)])
        }
    }

    @Test(arguments: StoreKind.allCases) func faultsAreDroppedOnlyWhenNoReadingIsLeft(kind: StoreKind) throws {
        try kind.withStore(limits: Self.plain) { store in
            _ = try fill(store, from: 1, count: 5, Self.high)
            var dropped: [Run] = []
            for sequence in UInt64(6)...600 { dropped += try store.append(commit([fault(sequence, padding: 900)])) }
            #expect(Run.joined(dropped).first == Run(start: 1, count: Run.joined(dropped)[0].count))
            #expect(try stored(store) == [])
            #expect(try stored(store, .faults).last?.last == 600)
            let reading = try store.append(commit(readings(from: 601, count: 1, padding: 4000), Self.high))
            #expect(reading == [Run(start: 601, count: 1)], "no fault goes for a reading")
        }
    }

    @Test(arguments: StoreKind.allCases) func lossesAreCountedBySensorUntilACommitReportsThem(kind: StoreKind) throws {
        try kind.withStore(limits: Self.plain) { store in
            let dropped = try fill(store, from: 1, count: 100, metric: "pressure")
            let count = dropped.reduce(0) { $0 + $1.count }
            let loss = SensorLoss(
                sensor: SensorName(device: "thermostat-1", metric: "pressure"), reason: .dropped, count: count)
            #expect(try store.losses() == [loss])
            let report = Reading(
                device: device("thermostat-1"), metric: LossReport.metric(loss),
                value: .number(try #require(DecimalText("\(count)"))), time: someTime)
            #expect(report.metric == "fieldline.dropped.pressure")
            // The report itself takes no place that a loss would have to be counted for.
            _ = try store.append(
                commit([SequencedRecord(sequence: 101, record: .reading(report))], Self.low, reported: [loss]))
            let left = try store.losses().reduce(0) { $0 + $1.count }
            // A low report in a full store goes at once, and its number comes back.
            let isStored = try stored(store).contains { $0.contains(101) }
            #expect(isStored ? left <= 1 : left >= count)
        }
    }

    /// Sensors of several priorities take turns: their rows overlap, and the batch is in order all the same.
    @Test(arguments: StoreKind.allCases) func mixedPrioritiesOfOneCommitTravelInOrder(kind: StoreKind) throws {
        try kind.withStore { store in
            let records = readings(from: 1, count: 3000)
            let all: [Retention] = [.standard, Self.low, Self.high]
            _ = try store.append(
                OutboxCommit(
                    records: records, retentions: records.map { all[Int($0.sequence) % 3] }, wallTime: someTime,
                    clock: .synchronised))
            #expect(try store.status().tallies.map(\.amount.records) == [1000, 1000, 1000])
            var sequences: [UInt64] = []
            var after: UInt64 = 0
            while let batch = try store.take(TakeRequest(lane: .readings, after: after, bytesMax: 128 * 1024)) {
                #expect(batch.fragments.count <= 128 * 1024)
                let found = FragmentList(batch.fragments).map(\.sequence)
                #expect(batch.runs == Run.joining(found))
                sequences += found
                after = batch.lastSequence
                try store.acknowledge([batch])
            }
            #expect(sequences == Array(1...3000))
            #expect(try store.status().recordCount == 0 && store.status().tallies.isEmpty)
        }
    }

    @Test(arguments: StoreKind.allCases) func expiredReadingsAreNotSentAndDeclared(kind: StoreKind) throws {
        let clocks = TestClocks()
        try kind.withStore(clocks: clocks) { store in
            let brief = Retention(timeToLive: .seconds(60))
            _ = try store.append(commit(readings(from: 1, count: 2, metric: "level"), brief))
            _ = try store.append(commit(readings(from: 3, count: 1)))
            clocks.pass(.seconds(59))
            #expect(try store.tidy() == [])
            #expect(try stored(store) == [Run(start: 1, count: 3)])
            clocks.pass(.seconds(2))
            #expect(try stored(store) == [Run(start: 3, count: 1)], "not even before tidy")
            #expect(try store.tidy() == [Run(start: 1, count: 2)])
            #expect(try store.take(everything(.readings))?.dropped == [Run(start: 1, count: 2)])
            let loss = SensorLoss(
                sensor: SensorName(device: "thermostat-1", metric: "level"), reason: .expired, count: 2)
            #expect(try store.losses() == [loss])
            #expect(try store.status().account.expiredCount == 2)
        }
    }

    struct Jump: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let wall: WallInstant
        let quality: ClockQuality
    }

    static let jumps = [
        Jump(testDescription: "to 1970", wall: WallInstant(milliseconds: 0), quality: .unset),
        Jump(testDescription: "an hour ahead", wall: someTime + .seconds(3600), quality: .synchronised),
        Jump(testDescription: "an hour back", wall: someTime + .seconds(-3600), quality: .guessed),
        Jump(testDescription: "ten years ahead", wall: someTime + .seconds(315_360_000), quality: .guessed),
    ]

    @Test(arguments: StoreKind.allCases, jumps) func clockThatJumpsExpiresNothing(kind: StoreKind, jump: Jump) throws {
        let clocks = TestClocks()
        try kind.withStore(clocks: clocks) { store in
            _ = try store.append(commit(readings(from: 1, count: 1), Retention(timeToLive: .seconds(60))))
            clocks.change {
                $0.wall = jump.wall
                $0.quality = jump.quality
            }
            clocks.pass(.seconds(30))
            #expect(try store.tidy() == [])
            #expect(try stored(store) == [Run(start: 1, count: 1)])
            clocks.pass(.seconds(31))
            #expect(try store.tidy() == [Run(start: 1, count: 1)])
        }
    }

    // MARK: Replay

    @Test(arguments: StoreKind.allCases) func acknowledgedReadingsAreSentAgainWhenAskedFor(kind: StoreKind) throws {
        try kind.withStore { store in
            let records = readings(from: 1, count: 10)
            _ = try store.append(commit(records + [fault(11)]))
            for lane in [OutboxLane.readings, .faults] {
                try store.acknowledge([try #require(try store.take(everything(lane)))])
            }
            _ = try store.append(commit(readings(from: 12, count: 3)))
            #expect(try store.status().recordCount == 3)
            let outcome = try store.replay(Run(start: 3, count: 100))
            #expect(outcome.restored == [Run(start: 3, count: 9)])
            #expect(outcome.waiting == [Run(start: 12, count: 3)])
            #expect(outcome.gone == [], "what is not made yet is not gone")
            #expect(outcome.rest == nil)
            let batch = try #require(try store.take(everything(.replays)))
            #expect(batch.runs == [Run(start: 3, count: 9)], "nothing that was not asked for")
            #expect(batch.fragments == joined(records.dropFirst(2) + [fault(11)]))
            #expect(try stored(store) == [Run(start: 12, count: 3)], "live ones are not disturbed")
            try store.acknowledge([batch])
            #expect(try stored(store, .replays) == [])
            let again = try store.replay(Run(start: 3, count: 2))
            #expect(again.restored == [Run(start: 3, count: 2)], "as often as it is asked for")
            let twice = try store.replay(Run(start: 3, count: 4))
            #expect(twice.waiting == [Run(start: 3, count: 2)])
            #expect(twice.restored == [Run(start: 5, count: 2)])
        }
    }

    @Test(arguments: StoreKind.allCases) func whatIsGoneIsDeclaredWithTheNextBatch(kind: StoreKind) throws {
        try kind.withStore(limits: Self.plain) { store in
            _ = try store.append(commit(readings(from: 1, count: 10)))
            try store.acknowledge([try #require(try store.take(everything(.readings)))])
            _ = try store.append(commit(readings(from: 11, count: 3)))
            let outcome = try store.replay(Run(start: 4, count: 9))
            #expect(outcome.gone == [Run(start: 4, count: 7)] && outcome.waiting == [Run(start: 11, count: 2)])
            let batch = try #require(try store.take(everything(.readings)))
            #expect(batch.dropped == [Run(start: 4, count: 7)])
            #expect(try store.losses() == [], "nobody knows whose they were")
            try store.acknowledge([batch])
            #expect(try store.replay(Run(start: 13, count: 1)).gone == [Run(start: 13, count: 1)])
            _ = try store.append(commit(readings(from: 14, count: 1)))
            #expect(try store.take(everything(.readings))?.dropped == [Run(start: 13, count: 1)])
        }
    }

    /// Faults far apart are kept in one row; replayed, it must not reach over the readings between them.
    @Test(arguments: StoreKind.allCases) func replayOfRowsWithWideHolesFitsInBatches(kind: StoreKind) throws {
        try kind.withStore { store in
            var next: UInt64 = 1
            for _ in 0..<10 {
                _ = try store.append(commit([fault(next)] + readings(from: next + 1, count: 14, padding: 4000)))
                next += 15
            }
            for lane in [OutboxLane.readings, .faults] {
                var batches: [OutboxBatch] = []
                while let batch = try store.take(
                    TakeRequest(lane: lane, after: batches.last?.lastSequence ?? 0, bytesMax: 100_000))
                {
                    batches.append(batch)
                }
                try store.acknowledge(batches)
            }
            var rest: Run? = Run(start: 1, count: next - 1)
            while let asked = rest { rest = try store.replay(asked).rest }
            var (after, runs): (UInt64, [Run]) = (0, [])
            while let batch = try store.take(TakeRequest(lane: .replays, after: after, bytesMax: 100_000)) {
                #expect(batch.fragments.count <= 100_000 + OutboxLimits.rowBytesMax)
                after = batch.lastSequence
                runs += batch.runs
            }
            #expect(Run.joined(runs) == [Run(start: 1, count: next - 1)])
        }
    }

    @Test(arguments: StoreKind.allCases) func whatIsKeptForAReplayGoesFirst(kind: StoreKind) throws {
        var limits = OutboxLimits(quotaBytes: Self.quota)
        limits.replayBytes = Self.quota / 2
        try kind.withStore(limits: limits) { store in
            for first in UInt64(1)...200 {
                _ = try store.append(commit(readings(from: first, count: 1, padding: 4000)))
                try store.acknowledge([try #require(try store.take(everything(.readings)))])
            }
            let kept = try store.status().replayable
            #expect(kept.records > 5 && kept.bytes <= Self.quota / 2)
            #expect(try fill(store, from: 201, count: 35) == [], "nothing that waits is dropped for it")
            #expect(try store.replay(Run(start: 1, count: 1)).gone == [Run(start: 1, count: 1)])
        }
    }

    @Test(arguments: StoreKind.allCases) func whatWasKeptLongEnoughIsForgotten(kind: StoreKind) throws {
        let clocks = TestClocks()
        try kind.withStore(clocks: clocks) { store in
            _ = try store.append(commit(readings(from: 1, count: 5)))
            try store.acknowledge([try #require(try store.take(everything(.readings)))])
            clocks.pass(.seconds(3))
            _ = try store.tidy()
            #expect(try store.status().replayable.records == 5)
            clocks.pass(.seconds(86_500))
            _ = try store.tidy()
            #expect(try store.status().replayable.records == 0)
            #expect(try store.replay(Run(start: 1, count: 5)).gone == [Run(start: 1, count: 5)])
        }
    }
}
