import Primitives
import Testing

@testable import Listeners

/// The queue by reference, so that a call of it can stand in an expectation.
private final class QueueUnderTest {
    private var queue: HandshakeQueue

    init(_ limits: HandshakeLimits) { queue = HandshakeQueue(limits: limits) }

    var inProgressCount: Int { queue.inProgressCount }
    var slowCount: Int { queue.slowCount }
    var waitingCount: Int { queue.waitingCount }
    var hasNext: Bool { queue.hasNext }
    var deadline: MonotonicInstant? { queue.deadline }

    func arrived(now: MonotonicInstant) -> (ticket: Int, closes: Int?) { queue.arrived(now: now) }
    func next(now: MonotonicInstant) -> Int? { queue.next(now: now) }
    func timerFired(now: MonotonicInstant) -> [HandshakeQueue.Expired] { queue.timerFired(now: now) }
    @discardableResult func ended(_ ticket: Int) -> Bool { queue.ended(ticket) }

    func helloReceived(_ ticket: Int, now: MonotonicInstant) { queue.helloReceived(ticket, now: now) }

    /// Those that begin now, in their order.
    @discardableResult func begin(now: MonotonicInstant) -> [Int] {
        var begun: [Int] = []
        while let ticket = queue.next(now: now) { begun.append(ticket) }
        return begun
    }
}

@Suite struct HandshakeQueueTests {
    private static let start = MonotonicInstant(nanoseconds: 0)

    private static func limits(inProgress: Int = 2, waiting: Int = 4, slow: Int = 2) -> HandshakeLimits {
        var limits = HandshakeLimits()
        limits.inProgressMax = inProgress
        limits.waitingMax = waiting
        limits.slowMax = slow
        limits.patience = .seconds(1)
        limits.timeout = .seconds(10)
        limits.waitMax = .seconds(60)
        return limits
    }

    private static func at(_ seconds: Double) -> MonotonicInstant { start + .seconds(seconds) }

    @Test func theNewestBeginsFirst() {
        let queue = QueueUnderTest(Self.limits(inProgress: 1))
        let tickets = (0..<4).map { _ in queue.arrived(now: Self.start).ticket }
        for ticket in tickets { queue.helloReceived(ticket, now: Self.start) }
        for ticket in tickets.reversed() {
            #expect(queue.begin(now: Self.start) == [ticket])
            queue.ended(ticket)
        }
        #expect(queue.begin(now: Self.start) == [])
    }

    @Test func noMoreThanTheLimitAreInProgress() {
        let queue = QueueUnderTest(Self.limits(inProgress: 2, waiting: 100))
        for _ in 0..<50 {
            let ticket = queue.arrived(now: Self.start).ticket
            queue.helloReceived(ticket, now: Self.start)
            queue.begin(now: Self.start)
        }
        #expect(queue.inProgressCount == 2 && queue.waitingCount == 48)
        #expect(queue.next(now: Self.start) == nil && !queue.hasNext)
    }

    @Test func whoeverHasGoneIsNeverBegun() {
        let queue = QueueUnderTest(Self.limits(inProgress: 1))
        let tickets = (0..<4).map { _ in queue.arrived(now: Self.start).ticket }
        queue.helloReceived(tickets[0], now: Self.start)
        #expect(queue.begin(now: Self.start) == [tickets[0]])
        for ticket in tickets.dropFirst() { queue.helloReceived(ticket, now: Self.start) }
        #expect(queue.ended(tickets[3]), "the newest leaves while it waits")
        #expect(queue.ended(tickets[1]), "one in the middle leaves")
        #expect(!queue.ended(tickets[0]), "the handshake is done")
        #expect(queue.next(now: Self.start) == tickets[2])
        queue.ended(tickets[2])
        #expect(queue.next(now: Self.start) == nil)
        #expect(queue.waitingCount == 0 && queue.inProgressCount == 0 && queue.deadline == nil)
    }

    @Test func beyondTheLimitTheOldestThatWaitsIsClosed() {
        let queue = QueueUnderTest(Self.limits(inProgress: 1, waiting: 3))
        let begun = queue.arrived(now: Self.start).ticket
        queue.helloReceived(begun, now: Self.start)
        #expect(queue.begin(now: Self.start) == [begun])
        let said = queue.arrived(now: Self.at(1)).ticket
        let silent = queue.arrived(now: Self.at(2)).ticket
        let third = queue.arrived(now: Self.at(3))
        #expect(third.closes == nil)
        queue.helloReceived(said, now: Self.at(4))
        let fourth = queue.arrived(now: Self.at(5))
        #expect(fourth.closes == silent, "it has been in its place longest")
        #expect(queue.arrived(now: Self.at(6)).closes == third.ticket)
        #expect(queue.arrived(now: Self.at(7)).closes == said)
        #expect(queue.waitingCount == 3 && queue.inProgressCount == 1)
    }

    @Test func aSilentPeerLosesItsPlaceAndKeepsItsHandshake() {
        let queue = QueueUnderTest(Self.limits(inProgress: 1))
        let slow = queue.arrived(now: Self.start).ticket
        let other = queue.arrived(now: Self.start).ticket
        queue.helloReceived(slow, now: Self.start)
        #expect(queue.begin(now: Self.start) == [slow])
        queue.helloReceived(other, now: Self.start)
        #expect(queue.deadline == Self.at(1))
        #expect(queue.timerFired(now: Self.at(0.9)) == [])
        #expect(queue.next(now: Self.at(0.9)) == nil)
        #expect(queue.timerFired(now: Self.at(1)) == [])
        #expect(queue.next(now: Self.at(1)) == other)
        #expect(queue.inProgressCount == 1 && queue.slowCount == 1)
        #expect(!queue.ended(slow), "it ends as a handshake, not as one that waits")
    }

    @Test(arguments: [
        (HandshakeQueue.Expiry.silent, 10.0), (.waited, 60), (.unfinished, 10),
    ])
    func eachKindOfWaitingHasItsEnd(why: HandshakeQueue.Expiry, seconds: Double) {
        let queue = QueueUnderTest(Self.limits(inProgress: 1))
        let ticket: Int
        switch why {
        case .silent: ticket = queue.arrived(now: Self.start).ticket
        case .unfinished, .crowdedOut:
            ticket = queue.arrived(now: Self.start).ticket
            queue.helloReceived(ticket, now: Self.start)
            queue.begin(now: Self.start)
        case .waited:
            ticket = queue.arrived(now: Self.start).ticket
            queue.helloReceived(ticket, now: Self.start)
            queue.begin(now: Self.start)
            let newer = queue.arrived(now: Self.start).ticket
            queue.helloReceived(newer, now: Self.start)
            #expect(queue.timerFired(now: Self.at(seconds - 0.1)).map(\.ticket) == [ticket], "the first is unfinished")
            #expect(queue.timerFired(now: Self.at(seconds)) == [.init(ticket: newer, why: .waited)])
            return
        }
        _ = queue.timerFired(now: Self.at(1))
        #expect(queue.timerFired(now: Self.at(seconds - 0.1)) == [])
        #expect(queue.timerFired(now: Self.at(seconds)) == [.init(ticket: ticket, why: why)])
        #expect(queue.deadline == nil)
    }

    @Test func tooManySlowHandshakesCrowdOutTheSlowest() {
        let queue = QueueUnderTest(Self.limits(inProgress: 3, slow: 2))
        let tickets = (0..<3).map { _ in queue.arrived(now: Self.start).ticket }
        for ticket in tickets {
            queue.helloReceived(ticket, now: Self.start)
            queue.begin(now: Self.start)
        }
        #expect(queue.timerFired(now: Self.at(1)) == [.init(ticket: tickets[0], why: .crowdedOut)])
        #expect(queue.slowCount == 2 && queue.inProgressCount == 0)
    }

    @Test func atLengthNothingIsLeftBehind() {
        let queue = QueueUnderTest(Self.limits(inProgress: 3, waiting: 20, slow: 3))
        var random = SeededRandom(seed: 11)
        var open: Set<Int> = []
        var silent: Set<Int> = []
        for step in 0..<20_000 {
            let now = Self.at(Double(step) / 50)
            switch Int.random(in: 0..<8, using: &random) {
            case 0...3:
                let (ticket, closed) = queue.arrived(now: now)
                if let closed {
                    open.remove(closed)
                    silent.remove(closed)
                }
                #expect(open.insert(ticket).inserted, "a ticket is given to one connection at a time")
                silent.insert(ticket)
            case 4, 5:
                guard let ticket = silent.sorted().randomElement(using: &random) else { continue }
                silent.remove(ticket)
                queue.helloReceived(ticket, now: now)
            case 6:
                guard let ticket = open.sorted().randomElement(using: &random) else { continue }
                open.remove(ticket)
                silent.remove(ticket)
                queue.ended(ticket)
            default:
                for one in queue.timerFired(now: now) {
                    open.remove(one.ticket)
                    silent.remove(one.ticket)
                }
                queue.begin(now: now)
            }
            #expect(queue.inProgressCount <= 3 && queue.waitingCount <= 20 && queue.slowCount <= 3)
            #expect(queue.inProgressCount + queue.waitingCount + queue.slowCount == open.count)
        }
        for ticket in open { queue.ended(ticket) }
        #expect(queue.deadline == nil && queue.waitingCount + queue.inProgressCount + queue.slowCount == 0)
    }
}
