import Connectivity
import Primitives
import Telemetry
import Testing

@Suite struct DrainOrderTests {
    @Test func nothingTravelsWithoutALink() {
        let order = DrainOrder()
        #expect(order.nextRequest() == nil)
    }

    @Test func faultsGoFirstThenLiveAndBacklogTakeTurns() throws {
        var order = DrainOrder()
        order.linkCameUp(nextSequence: 101)
        let faults = try #require(order.nextRequest())
        #expect(faults == .init(lane: .faults, after: 0, before: nil))
        _ = order.batchSent(faults, runStarts: [], lastSequence: 40)
        let more = try #require(order.nextRequest())
        #expect(more == .init(lane: .faults, after: 40, before: nil))
        order.nothingFound(more)

        let live = try #require(order.nextRequest())
        #expect(live == .init(lane: .live, after: 100, before: nil))
        _ = order.batchSent(live, runStarts: [], lastSequence: 110)
        let backlog = try #require(order.nextRequest())
        #expect(backlog == .init(lane: .backlog, after: 0, before: 101))
        _ = order.batchSent(backlog, runStarts: [], lastSequence: 60)
        #expect(order.nextRequest()?.lane == .live)
    }

    @Test func windowIsNeverPassedAndBacklogLeavesOneSlot() throws {
        var order = DrainOrder(inflightCountMax: 4)
        order.linkCameUp(nextSequence: 1001)
        try exhaust(&order, .faults)
        try exhaust(&order, .live)
        var sent: UInt64 = 0
        while let request = order.nextRequest() {
            sent += 100
            _ = order.batchSent(request, runStarts: [], lastSequence: sent)
            #expect(order.inflightCount <= 3)
        }
        #expect(order.inflightCount == 3)
        order.recordsStored()
        try exhaust(&order, .faults)
        let live = try #require(order.nextRequest())
        #expect(live.lane == .live)
        _ = order.batchSent(live, runStarts: [], lastSequence: 1010)
        #expect(order.nextRequest() == nil)
        #expect(order.inflightCount == 4)
    }

    @Test func acknowledgementOpensTheWindowAndAnOldOneDoesNot() throws {
        var order = DrainOrder(inflightCountMax: 2)
        order.linkCameUp(nextSequence: 1)
        let first = order.batchSent(try #require(order.nextRequest()), runStarts: [], lastSequence: 5)
        let second = order.batchSent(try #require(order.nextRequest()), runStarts: [], lastSequence: 9)
        #expect(order.nextRequest() == nil)
        let isKnown = order.batchAcknowledged(first)
        let isKnownTwice = order.batchAcknowledged(first)
        #expect(isKnown && !isKnownTwice)
        #expect(order.nextRequest() != nil)
        order.linkLost()
        let isKnownLater = order.batchAcknowledged(second)
        #expect(!isKnownLater)
    }

    @Test func linkLossSendsEverythingUnacknowledgedAgain() throws {
        var order = DrainOrder()
        order.linkCameUp(nextSequence: 51)
        try exhaust(&order, .faults)
        try exhaust(&order, .live)
        _ = order.batchSent(try #require(order.nextRequest()), runStarts: [], lastSequence: 50)
        order.linkLost()
        #expect(order.nextRequest() == nil)
        order.linkCameUp(nextSequence: 61)
        try exhaust(&order, .faults)
        try exhaust(&order, .live)
        #expect(order.nextRequest() == .init(lane: .backlog, after: 0, before: 61))
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
                travelling.append((order.batchSent(request, runStarts: found, lastSequence: last), found))
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
                    let isOnItsWay = order.batchAcknowledged(batch.ticket)
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
        _ = order.batchSent(faults, runStarts: [10, 20], lastSequence: 20)
        let backlog = try #require(order.nextRequest())
        try #require(backlog == .init(lane: .backlog, after: 0, before: 21), "no reading behind the next fault yet")
        let ticket = order.batchSent(backlog, runStarts: [1, 11], lastSequence: 15)
        let isAcknowledged = order.batchAcknowledged(ticket)
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
