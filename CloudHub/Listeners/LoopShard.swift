import EventLog
import MQTTSession
import NIOCore
public import Primitives
import Sessions
import Throttles

/// What the connections of one event loop share: the group that they fill together, and who waits for it.
///
/// A group is sealed at the end of the loop's turn when none is on its way; otherwise events go on collecting until the
/// one before is durable. So the slower the disk, the larger the groups. Never leaves its loop.
final class LoopShard {
    /// Groups on their way to the disk at a time. One makes the largest groups: fewer syncs, rows and answers a message.
    static let inFlightMax = 1

    private struct InFlight {
        let group: AppendGroup
        /// What the builder counted for it, quarantined bodies included: `group.byteCount` knows the chunks only.
        let bytes: Int
        let waiting: [Waiting]
    }

    private struct Waiting {
        let connection: MQTTConnection
        let ticket: PublishTicket?
        let receipts: [[UInt8]]
    }

    let eventLoop: any EventLoop
    private let log: any EventLog
    private let bytesMax: Int
    var builder: GroupBuilder
    /// Names the group that is being filled, so that a connection enters itself once a group.
    private(set) var groupNumber: UInt64 = 1
    private var collecting: [MQTTConnection] = []
    private var inFlight: [InFlight] = []
    private var inFlightBytes = 0
    private var isSealScheduled = false
    private var held: [MQTTConnection] = []
    private var connections: [ObjectIdentifier: MQTTConnection] = [:]
    private var drained: EventLoopPromise<Void>?
    private var isStalled = false
    private(set) var isStopping = false
    /// Counted without a lock, handed to `metrics` once a group.
    var counts = ListenerCounts()
    private let metrics: ListenerMetrics
    private var lastAcknowledgementBytes = 256
    private var allowance: TelemetryAllowance

    init(
        eventLoop: any EventLoop, log: any EventLog, bytesMax: Int, metrics: ListenerMetrics, throttles: Throttles?
    ) {
        self.eventLoop = eventLoop
        self.log = log
        self.bytesMax = bytesMax
        self.metrics = metrics
        allowance = TelemetryAllowance(throttles)
        builder = GroupBuilder(partitionCount: log.partitionCount)
    }

    // MARK: - Filling a group

    /// The connection has put something into the builder, or waits for what is in it.
    func enter(_ connection: MQTTConnection) {
        collecting.append(connection)
        scheduleSeal()
    }

    /// Something without an acknowledgement was put into the builder.
    func scheduleSeal() {
        guard !isSealScheduled, inFlight.count < Self.inFlightMax else { return }
        isSealScheduled = true
        eventLoop.assumeIsolated().execute { self.seal() }
    }

    private func seal() {
        isSealScheduled = false
        guard inFlight.count < Self.inFlightMax, !collecting.isEmpty || !builder.isEmpty else { return }
        let bytes = builder.byteCount
        let group = builder.seal()
        var waiting: [Waiting] = []
        waiting.reserveCapacity(collecting.count)
        for connection in collecting {
            let (ticket, receipts) = connection.takeCollected()
            waiting.append(Waiting(connection: connection, ticket: ticket, receipts: receipts))
        }
        collecting.removeAll(keepingCapacity: true)
        groupNumber += 1
        counts.groups += 1
        let isEarly = PlantedBug.hubAcknowledgesBeforeCommit.isPlanted
        if isEarly { acknowledge(waiting) }
        inFlight.append(InFlight(group: group, bytes: bytes, waiting: isEarly ? [] : waiting))
        inFlightBytes += bytes
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        let loop = eventLoop
        let log = log
        let append: @Sendable () -> Void = {
            log.append(group) { result in
                loop.execute { bound.value.completed(result) }
            }
        }
        if isEarly {
            loop.scheduleTask(in: .milliseconds(200), append)
        } else {
            append()
        }
    }

    private func completed(_ result: Result<AppendOutcome, EventLogError>) {
        let done = inFlight.removeFirst()
        inFlightBytes -= done.bytes
        if case .success(let outcome) = result {
            acknowledge(outcome.receipts.isEmpty ? done.waiting : Self.adding(outcome.receipts, to: done.waiting))
        }
        builder.recycle(done.group)
        metrics.add(&counts)
        if !collecting.isEmpty || !builder.isEmpty { seal() }
        releaseHeld()
        finishDraining(isLate: false)
    }

    /// What the log could not accept is told on the connection that brought it.
    private static func adding(_ receipts: [AppendOutcome.GatewayReceipt], to waiting: [Waiting]) -> [Waiting] {
        waiting.map { one in
            let own = receipts.filter { one.connection.isGateway($0.gateway) }.map(\.bytes)
            return Waiting(connection: one.connection, ticket: one.ticket, receipts: one.receipts + own)
        }
    }

    /// Writes the acknowledgements of all connections into one buffer, then lets each send its slice of it.
    private func acknowledge(_ waiting: [Waiting]) {
        var bytes = ByteBufferAllocator().buffer(capacity: lastAcknowledgementBytes)
        var ends: [Int] = []
        ends.reserveCapacity(waiting.count)
        for one in waiting {
            one.connection.committed(through: one.ticket, into: &bytes)
            ends.append(bytes.writerIndex)
        }
        lastAcknowledgementBytes = max(256, bytes.writerIndex)
        counts.acknowledgementsSent += UInt64(bytes.writerIndex / 4)
        for (one, end) in zip(waiting, ends) {
            let length = end - bytes.readerIndex
            one.connection.send(bytes.readSlice(length: length) ?? ByteBuffer(), receipts: one.receipts)
        }
    }

    // MARK: - Back pressure

    /// Whether connections of this loop should stop reading.
    var isFull: Bool { isStalled || isStopping || builder.byteCount + inFlightBytes > bytesMax }

    /// Counts a message against the hub's limit.
    /// - Returns: until when the connections of this loop must not read on; not after `now` when they may.
    func countMessage(now: MonotonicInstant) -> MonotonicInstant { allowance.spend(now: now) }

    /// The connection has stopped reading and wants to be told when it may go on.
    func hold(_ connection: MQTTConnection) { held.append(connection) }

    /// The log cannot store, or can again.
    func stallChanged(_ isStalled: Bool) {
        self.isStalled = isStalled
        releaseHeld()
    }

    private func releaseHeld() {
        guard !held.isEmpty, !isFull else { return }
        let released = held
        held = []
        for connection in released { connection.resumeReading() }
    }

    // MARK: - Who is here

    func opened(_ connection: MQTTConnection) { connections[ObjectIdentifier(connection)] = connection }
    func closed(_ connection: MQTTConnection) { connections[ObjectIdentifier(connection)] = nil }

    /// Stops reading, waits for what is on its way to the disk but no longer than `limit`, and closes every connection.
    func drain(limit: TimeAmount) -> EventLoopFuture<Void> {
        isStopping = true
        let promise = eventLoop.makePromise(of: Void.self)
        drained = promise
        eventLoop.assumeIsolated().scheduleTask(in: limit) { self.finishDraining(isLate: true) }
        finishDraining(isLate: false)
        return promise.futureResult
    }

    private func finishDraining(isLate: Bool) {
        let isIdle = inFlight.isEmpty && collecting.isEmpty && builder.isEmpty
        guard let promise = drained, isIdle || isStalled || isLate else { return }
        drained = nil
        for connection in Array(connections.values) { connection.close(.hubStopping) }
        metrics.add(&counts)
        promise.succeed()
    }
}

extension PlantedBug {
    /// The hub acknowledges when it has received, not when it has stored.
    public static var hubAcknowledgesBeforeCommit: PlantedBug { PlantedBug("hubAcknowledgesBeforeCommit") }
}
