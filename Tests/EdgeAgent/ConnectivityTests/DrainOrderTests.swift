import Connectivity
import Primitives
import Telemetry
import Testing

@Suite struct DrainOrderTests {
    @Test func nothingTravelsWithoutALink() {
        let order = DrainOrder()
        #expect(order.nextRequest() == nil)
    }

    @Test func faultsGoFirstThenLiveThenBacklog() throws {
        var order = DrainOrder()
        order.linkCameUp(nextSequence: 101)
        let faults = try #require(order.nextRequest())
        #expect(faults == .init(lane: .faults, after: 0, before: nil))
        _ = order.sent(faults, runs: [], last: 40)
        let more = try #require(order.nextRequest())
        #expect(more == .init(lane: .faults, after: 40, before: nil))
        order.nothingFound(more)

        let live = try #require(order.nextRequest())
        #expect(live == .init(lane: .live, after: 100, before: nil))
        _ = order.sent(live, runs: [], last: 110)
        let more2 = try #require(order.nextRequest())
        #expect(more2 == .init(lane: .live, after: 110, before: nil))
        order.nothingFound(more2)
        let backlog = try #require(order.nextRequest())
        #expect(backlog == .init(lane: .backlog, after: 0, before: 101, bytesMax: BackfillPace.bytesMin))
        _ = order.sent(backlog, runs: [], last: 60)
        #expect(order.nextRequest()?.lane == .backlog)
        order.recordsStored()
        #expect(order.nextRequest()?.lane == .faults)
    }

    struct Load: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let lanes: Set<DrainOrder.Lane>
        /// Percent of the bytes, at least.
        let atLeast: [DrainOrder.Lane: Int]
    }

    static let loads: [Load] = [
        Load(testDescription: "backlog alone", lanes: [.backlog], atLeast: [.backlog: 100]),
        Load(testDescription: "live and backlog", lanes: [.live, .backlog], atLeast: [.live: 70, .backlog: 19]),
        Load(testDescription: "faults and backlog", lanes: [.faults, .backlog], atLeast: [.faults: 70, .backlog: 19]),
        Load(testDescription: "live and replays", lanes: [.live, .replays], atLeast: [.live: 70, .replays: 19]),
        Load(testDescription: "faults and live", lanes: [.faults, .live], atLeast: [.faults: 60, .live: 29]),
        Load(
            testDescription: "everything", lanes: [.faults, .live, .backlog],
            atLeast: [.faults: 45, .live: 29, .backlog: 19]),
    ]

    /// More than the link takes in every lane named: each gets its share of the bytes, and none waits for ever.
    @Test(arguments: loads) func everyLaneGetsItsShareWhenThereIsTooMuch(load: Load) throws {
        var order = DrainOrder(inflightCountMax: 2, islandsMax: 1_000_000)
        order.linkCameUp(nextSequence: 10_000_000)
        var bytes: [DrainOrder.Lane: Int] = [:]
        var positions: [DrainOrder.Lane: UInt64] = [.faults: 5_000_000, .live: 10_000_000, .backlog: 1, .replays: 1]
        for _ in 0..<2_000 {
            let request = try #require(order.nextRequest())
            guard load.lanes.contains(request.lane) else {
                order.nothingFound(request)
                continue
            }
            let size = min(100_000, request.bytesMax)
            let last = (positions[request.lane] ?? 0) + 10
            positions[request.lane] = last
            bytes[request.lane, default: 0] += size
            let ticket = order.sent(request, runs: [last], last: last, bytes: size)
            let isOnItsWay = order.batchAcknowledged(ticket, now: later)
            #expect(isOnItsWay)
        }
        let all = bytes.values.reduce(0, +)
        for (lane, percent) in load.atLeast {
            #expect(bytes[lane, default: 0] * 100 >= percent * all, "\(lane): \(bytes)")
        }
    }

    @Test func replaysGoAfterTheBacklogAndOnlyWhenAskedFor() throws {
        var order = DrainOrder()
        order.linkCameUp(nextSequence: 51)
        for lane in [DrainOrder.Lane.faults, .live, .backlog, .replays] { try exhaust(&order, lane) }
        #expect(order.nextRequest() == nil)
        order.recordsRestored()
        #expect(order.nextRequest() == .init(lane: .replays, after: 0, before: nil, bytesMax: BackfillPace.bytesMin))
    }

    /// A link of 64 KB/s: what is on its way of the backlog never keeps a live reading waiting for long.
    @Test func backlogOnASlowLinkLeavesLiveReadingsYoung() throws {
        var order = DrainOrder()
        order.linkCameUp(nextSequence: 1_000_000)
        var link = SlowLink(bytesPerSecond: 64_000)
        var (backlog, live): (UInt64, UInt64) = (0, 999_999)
        var oldest = Duration.zero
        var drained = 0
        // Two minutes, with a live reading every 100 ms.
        for tick in 0..<1200 {
            let now = MonotonicInstant(nanoseconds: Int64(tick) * 100_000_000)
            for done in link.arrived(by: now) {
                let isOnItsWay = order.batchAcknowledged(done.ticket, now: done.at)
                #expect(isOnItsWay)
                if done.lane == .backlog { drained += done.bytes } else if tick > 600 { oldest = max(oldest, done.age) }
            }
            order.recordsStored()
            var isLiveSent = false
            while let request = order.nextRequest() {
                switch request.lane {
                case .live where !isLiveSent:
                    isLiveSent = true
                    live += 1
                    link.send(order.at(now, request, last: live, bytes: 150), .live, 150, now)
                case .backlog:
                    backlog += 100
                    // A row is not cut.
                    let bytes = max(16_000, request.bytesMax)
                    link.send(order.at(now, request, last: backlog, bytes: bytes), .backlog, bytes, now)
                case .faults, .live, .replays: order.nothingFound(request)
                }
            }
        }
        #expect(oldest < .seconds(1), "live readings waited \(oldest)")
        #expect(drained > 120 * 64_000 * 8 / 10, "the link is used for the backlog: \(drained) bytes")
    }

    /// A batch that takes longer than the hub waits for a sign of life would end every link.
    @Test func afterALinkThatTookNothingBatchesAreSmallerAndGrowAgain() throws {
        var order = DrainOrder()
        let whole = DrainOrder.batchBytesMaxDefault
        func request(_ order: inout DrainOrder) throws -> DrainOrder.Request {
            order.linkCameUp(nextSequence: 1001)
            return try #require(order.nextRequest())
        }
        for bytes in [whole, whole / 4, DrainOrder.batchBytesMin, DrainOrder.batchBytesMin] {
            let faults = try request(&order)
            #expect(faults.bytesMax == bytes)
            _ = order.at(.init(nanoseconds: 0), faults, last: 1, bytes: bytes)
            order.linkLost()
        }
        // A link that ends with nothing on its way says nothing about its speed.
        _ = try request(&order)
        order.linkLost()
        var faults = try request(&order)
        for (seconds, bytes) in [(6, 1), (4, 2), (4, 4), (4, 8), (4, 8)] as [(Int64, Int)] {
            let ticket = order.at(.init(nanoseconds: 0), faults, last: faults.after + 1, bytes: 100)
            let isOnItsWay = order.batchAcknowledged(ticket, now: .init(nanoseconds: seconds * 1_000_000_000))
            #expect(isOnItsWay)
            faults = try #require(order.nextRequest())
            #expect(faults.bytesMax == DrainOrder.batchBytesMin * bytes)
        }
        // What took something before it ended goes on as it was.
        _ = order.at(.init(nanoseconds: 0), faults, last: 100, bytes: whole)
        order.linkLost()
        #expect(try request(&order).bytesMax == whole)
    }

    @Test func windowIsNeverPassedAndBacklogLeavesOneSlot() throws {
        var order = DrainOrder(inflightCountMax: 4)
        order.linkCameUp(nextSequence: 1001)
        try exhaust(&order, .faults)
        try exhaust(&order, .live)
        var sent: UInt64 = 0
        while let request = order.nextRequest() {
            sent += 100
            _ = order.sent(request, runs: [], last: sent)
            #expect(order.inflightCount <= 3)
        }
        #expect(order.inflightCount == 3)
        order.recordsStored()
        try exhaust(&order, .faults)
        let live = try #require(order.nextRequest())
        #expect(live.lane == .live)
        _ = order.sent(live, runs: [], last: 1010)
        #expect(order.nextRequest() == nil)
        #expect(order.inflightCount == 4)
    }

    @Test func acknowledgementOpensTheWindowAndAnOldOneDoesNot() throws {
        var order = DrainOrder(inflightCountMax: 2)
        order.linkCameUp(nextSequence: 1)
        let first = order.sent(try #require(order.nextRequest()), runs: [], last: 5)
        let second = order.sent(try #require(order.nextRequest()), runs: [], last: 9)
        #expect(order.nextRequest() == nil)
        let isKnown = order.batchAcknowledged(first, now: later)
        let isKnownTwice = order.batchAcknowledged(first, now: later)
        #expect(isKnown && !isKnownTwice)
        #expect(order.nextRequest() != nil)
        order.linkLost()
        let isKnownLater = order.batchAcknowledged(second, now: later)
        #expect(!isKnownLater)
    }

    @Test func linkLossSendsEverythingUnacknowledgedAgain() throws {
        var order = DrainOrder()
        order.linkCameUp(nextSequence: 51)
        try exhaust(&order, .faults)
        try exhaust(&order, .live)
        _ = order.sent(try #require(order.nextRequest()), runs: [], last: 50)
        order.linkLost()
        #expect(order.nextRequest() == nil)
        order.linkCameUp(nextSequence: 61)
        try exhaust(&order, .faults)
        try exhaust(&order, .live)
        #expect(order.nextRequest() == .init(lane: .backlog, after: 0, before: 61, bytesMax: BackfillPace.bytesMin))
    }

    /// An outage in which a fault stands between any two readings. The hub's own set of sequences takes every batch,
    /// also when the link breaks again and again with batches on their way.
    @Test(arguments: [0, 3, 40]) func hubNeverSeesMoreIslandsThanItKeeps(linkLosses: Int) throws {
        let count: UInt64 = 60_000
        var random = SeededRandom(seed: UInt64(linkLosses))
        var store = AlternatingStore(count: count)
        var known = IntervalSet()
        var order = DrainOrder()
        var travelling: [(ticket: DrainOrder.Ticket, sequences: [UInt64])] = []
        order.linkCameUp(nextSequence: count + 1)
        var lossesLeft = linkLosses
        var rounds = 0
        var mostIslands = 0
        while !store.isEmpty {
            rounds += 1
            try #require(rounds < 10_000, "the order does not come to an end")
            while let request = order.nextRequest() {
                let found = store.take(request)
                guard let last = found.last else {
                    order.nothingFound(request)
                    continue
                }
                travelling.append((order.sent(request, runs: found, last: last), found))
            }
            try #require(!travelling.isEmpty, "records wait and nothing travels")
            // The hub takes some of what travels, in its order, and perhaps the link breaks before it says so.
            let taken = Int.random(in: 1...travelling.count, using: &random)
            for batch in travelling.prefix(taken) {
                for sequence in batch.sequences {
                    try #require(known.insert(Run(start: sequence, count: 1)) == .inserted)
                }
            }
            mostIslands = max(mostIslands, known.intervalCount)
            if lossesLeft > 0, rounds % 5 == 0 {
                lossesLeft -= 1
                order.linkLost()
                order.linkCameUp(nextSequence: count + 1)
                travelling = []
            } else {
                for batch in travelling.prefix(taken) {
                    let isOnItsWay = order.batchAcknowledged(batch.ticket, now: later)
                    #expect(isOnItsWay)
                    store.forget(batch.sequences)
                }
                travelling.removeFirst(taken)
            }
        }
        #expect(known.runs == [Run(start: 1, count: count)])
        #expect(mostIslands > 1_000, "faults went ahead as far as they may")
    }

    @Test func faultsPastTheBoundWaitForTheReadingsBeforeThem() throws {
        var order = DrainOrder(islandsMax: 2)
        order.linkCameUp(nextSequence: 101)
        let faults = try #require(order.nextRequest())
        _ = order.sent(faults, runs: [10, 20], last: 20)
        let backlog = try #require(order.nextRequest())
        try #require(
            backlog == .init(lane: .backlog, after: 0, before: 21, bytesMax: BackfillPace.bytesMin),
            "no reading behind the next fault yet")
        let ticket = order.sent(backlog, runs: [1, 11], last: 15)
        let isAcknowledged = order.batchAcknowledged(ticket, now: later)
        #expect(isAcknowledged)
        #expect(order.nextRequest() == .init(lane: .faults, after: 20, before: nil))
    }

    private func exhaust(_ order: inout DrainOrder, _ lane: DrainOrder.Lane) throws {
        let request = try #require(order.nextRequest())
        #expect(request.lane == lane)
        order.nothingFound(request)
    }
}

/// Readings with odd sequences, faults with even ones, as rows of one record.
private struct AlternatingStore {
    private static let rowsInABatch = 400
    private var isStored: [Bool]
    private var waiting: Int

    init(count: UInt64) {
        isStored = Array(repeating: true, count: Int(count) + 1)
        isStored[0] = false
        waiting = Int(count)
    }

    var isEmpty: Bool { waiting == 0 }

    func take(_ request: DrainOrder.Request) -> [UInt64] {
        var found: [UInt64] = []
        let parity: UInt64 = request.lane == .faults ? 0 : 1
        var sequence = request.after + 1
        while found.count < Self.rowsInABatch, sequence < min(request.before ?? .max, UInt64(isStored.count)) {
            if sequence % 2 == parity, isStored[Int(sequence)] { found.append(sequence) }
            sequence += 1
        }
        return found
    }

    mutating func forget(_ sequences: [UInt64]) {
        for sequence in sequences where isStored[Int(sequence)] {
            isStored[Int(sequence)] = false
            waiting -= 1
        }
    }
}

let later = MonotonicInstant(nanoseconds: 1_000_000)

extension DrainOrder {
    /// A batch on its way at the beginning of time.
    mutating func sent(_ request: Request, runs: [UInt64], last: UInt64, bytes: Int = 1000) -> Ticket {
        let sent = Sent(runStarts: runs, lastSequence: last, bytes: bytes)
        return batchSent(request, sent, now: MonotonicInstant(nanoseconds: 0))
    }
}

extension DrainOrder {
    mutating func at(_ now: MonotonicInstant, _ request: Request, last: UInt64, bytes: Int) -> Ticket {
        batchSent(request, Sent(runStarts: [last], lastSequence: last, bytes: bytes), now: now)
    }
}

/// Takes one batch after the other, at its pace, and needs 50 ms for the way there and back.
private struct SlowLink {
    struct Done {
        let ticket: DrainOrder.Ticket
        let lane: DrainOrder.Lane
        let bytes: Int
        let at: MonotonicInstant
        let age: Duration
    }

    let bytesPerSecond: Int
    private var free = MonotonicInstant(nanoseconds: 0)
    private var travelling: [Done] = []

    init(bytesPerSecond: Int) { self.bytesPerSecond = bytesPerSecond }

    mutating func send(_ ticket: DrainOrder.Ticket, _ lane: DrainOrder.Lane, _ bytes: Int, _ now: MonotonicInstant) {
        free = max(free, now) + .nanoseconds(bytes * 1_000_000_000 / bytesPerSecond)
        let at = free + .milliseconds(50)
        travelling.append(Done(ticket: ticket, lane: lane, bytes: bytes, at: at, age: at - now))
    }

    mutating func arrived(by now: MonotonicInstant) -> [Done] {
        defer { travelling.removeAll { $0.at <= now } }
        return travelling.filter { $0.at <= now }
    }
}
