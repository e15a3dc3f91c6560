import HubTLS
import NIOCore
import Primitives

/// The waiting room of one event loop: does what its queue decides. Never leaves the loop.
final class HandshakeLoop {
    /// For the TLS of every connection of the loop.
    let wire = TLSWire()
    private let eventLoop: any EventLoop
    private let ledger: HandshakeLedger
    /// Handshakes begun in one turn, each some tenths of a millisecond: the loop's other connections are heard in between.
    private static let turnMax = 8
    private var queue: HandshakeQueue
    private var doors: [HandshakeQueue.Ticket: HandshakeDoor] = [:]
    private var levels = HandshakeLevels()
    private var timer: Scheduled<Void>?
    private var timerAt: MonotonicInstant?
    private var isTurnScheduled = false

    init(limits: HandshakeLimits, eventLoop: any EventLoop, ledger: HandshakeLedger) {
        self.eventLoop = eventLoop
        self.ledger = ledger
        queue = HandshakeQueue(limits: limits)
    }

    private var now: MonotonicInstant {
        MonotonicInstant(nanoseconds: Int64(clamping: eventLoop.now.uptimeNanoseconds))
    }

    // MARK: - What the doors say

    func arrived(_ door: HandshakeDoor) -> HandshakeQueue.Ticket {
        let (ticket, closed) = queue.arrived(now: now)
        let crowdedOut = closed.flatMap { doors.removeValue(forKey: $0) }
        doors[ticket] = door
        changed { if crowdedOut != nil { $0.refused += 1 } }
        crowdedOut?.refuse(.crowdedOut)
        return ticket
    }

    func helloReceived(_ ticket: HandshakeQueue.Ticket) {
        queue.helloReceived(ticket, now: now)
        changed()
        scheduleTurn()
    }

    func ended(_ ticket: HandshakeQueue.Ticket, isDone: Bool) {
        guard doors.removeValue(forKey: ticket) != nil else { return }
        let wasWaiting = queue.ended(ticket)
        changed { counts in
            if isDone {
                counts.completed += 1
            } else if wasWaiting {
                counts.gone += 1
            } else {
                counts.failed += 1
            }
        }
        scheduleTurn()
    }

    func closeAll() {
        for door in Array(doors.values) { door.close() }
    }

    // MARK: - Turns

    /// At the end of the loop's turn, not within what a connection is doing: one that fails at once must not begin the
    /// next from its own depth.
    private func scheduleTurn() {
        guard !isTurnScheduled, queue.hasNext else { return }
        isTurnScheduled = true
        eventLoop.assumeIsolated().execute { self.turn() }
    }

    private func turn() {
        isTurnScheduled = false
        for _ in 0..<Self.turnMax {
            guard let ticket = queue.next(now: now) else { return }
            changed()
            doors[ticket]?.begin()
        }
        guard queue.hasNext else { return }
        isTurnScheduled = true
        // With the shortest delay there is, the sockets are looked at before.
        eventLoop.assumeIsolated().scheduleTask(in: .microseconds(100)) { self.turn() }
    }

    private func timerFired() {
        timer = nil
        timerAt = nil
        let expired = queue.timerFired(now: now)
        var closing: [(HandshakeDoor, HandshakeRefusal)] = []
        for one in expired {
            guard let door = doors.removeValue(forKey: one.ticket) else { continue }
            closing.append((door, one.why == .crowdedOut ? .crowdedOutSlow : .timedOut(one.why)))
        }
        let crowdedOut = expired.count { $0.why == .crowdedOut }
        changed { counts in
            counts.refused += UInt64(crowdedOut)
            counts.timedOut += UInt64(expired.count - crowdedOut)
        }
        for (door, why) in closing { door.refuse(why) }
        scheduleTurn()
    }

    private func changed(_ change: (inout HandshakeCounts) -> Void = { _ in }) {
        let before = levels
        levels = HandshakeLevels(
            inProgress: queue.inProgressCount, slow: queue.slowCount, waiting: queue.waitingCount)
        ledger.tell(from: before, to: levels, change)
        arm()
    }

    /// One that fires too early does nothing but set the next, so it is moved only forward.
    private func arm() {
        guard let deadline = queue.deadline else {
            timer?.cancel()
            timer = nil
            timerAt = nil
            return
        }
        if let timerAt, timerAt <= deadline { return }
        timer?.cancel()
        timerAt = deadline
        let at = NIODeadline.uptimeNanoseconds(UInt64(max(0, deadline.nanoseconds)))
        timer = eventLoop.assumeIsolated().scheduleTask(deadline: at) { self.timerFired() }
    }
}
