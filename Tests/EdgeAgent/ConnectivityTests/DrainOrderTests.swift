import Connectivity
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
        _ = order.batchSent(faults, lastSequence: 40)
        let more = try #require(order.nextRequest())
        #expect(more == .init(lane: .faults, after: 40, before: nil))
        order.nothingFound(more)

        let live = try #require(order.nextRequest())
        #expect(live == .init(lane: .live, after: 100, before: nil))
        _ = order.batchSent(live, lastSequence: 110)
        let backlog = try #require(order.nextRequest())
        #expect(backlog == .init(lane: .backlog, after: 0, before: 101))
        _ = order.batchSent(backlog, lastSequence: 60)
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
            _ = order.batchSent(request, lastSequence: sent)
            #expect(order.inflightCount <= 3)
        }
        #expect(order.inflightCount == 3)
        order.recordsStored()
        try exhaust(&order, .faults)
        let live = try #require(order.nextRequest())
        #expect(live.lane == .live)
        _ = order.batchSent(live, lastSequence: 1010)
        #expect(order.nextRequest() == nil)
        #expect(order.inflightCount == 4)
    }

    @Test func acknowledgementOpensTheWindowAndAnOldOneDoesNot() throws {
        var order = DrainOrder(inflightCountMax: 2)
        order.linkCameUp(nextSequence: 1)
        let first = order.batchSent(try #require(order.nextRequest()), lastSequence: 5)
        let second = order.batchSent(try #require(order.nextRequest()), lastSequence: 9)
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
        _ = order.batchSent(try #require(order.nextRequest()), lastSequence: 50)
        order.linkLost()
        #expect(order.nextRequest() == nil)
        order.linkCameUp(nextSequence: 61)
        try exhaust(&order, .faults)
        try exhaust(&order, .live)
        #expect(order.nextRequest() == .init(lane: .backlog, after: 0, before: 61))
    }

    private func exhaust(_ order: inout DrainOrder, _ lane: DrainOrder.Lane) throws {
        let request = try #require(order.nextRequest())
        #expect(request.lane == lane)
        order.nothingFound(request)
    }
}
