public import EventLog
import JSON
public import Logging
public import Primitives
import Synchronization
public import Telemetry

/// The way to a gateway's methods.
public protocol ReplayCaller: Sendable {
    /// Whether the gateway takes methods now.
    func isOnline(_ gateway: DeviceID) -> Bool
    /// Calls `ReplayRange.methodName`; ends in how it went and never throws.
    func replay(_ request: ReplayRange, of gateway: DeviceID) async -> GapMachine.Outcome
}

/// Finds what is missing of gateways' records and asks for it, until its task is cancelled.
public final class GapKeeper: Sendable {
    /// Requests under way at once.
    private static let requestsMax = 8
    /// Books read in one look; the rest follows with the next.
    private static let booksMax = 20_000

    private let log: any EventLog
    private let caller: any ReplayCaller
    private let clock: Clock
    private let logger: Logger
    private let machine: Mutex<GapMachine>
    private let losses = Mutex<[GapMachine.Outbox: UInt64]>([:])
    private let ripeAfter: Duration

    /// The hub's clocks.
    public struct Clock: Sendable {
        let wall: @Sendable () -> WallInstant
        let monotonic: @Sendable () -> MonotonicInstant

        public init(
            wall: @escaping @Sendable () -> WallInstant, monotonic: @escaping @Sendable () -> MonotonicInstant
        ) {
            self.wall = wall
            self.monotonic = monotonic
        }
    }

    public init(
        log: any EventLog, caller: any ReplayCaller, pace: GapMachine.Pace = .init(), clock: Clock, logger: Logger
    ) {
        self.log = log
        self.caller = caller
        self.clock = clock
        self.logger = logger
        machine = Mutex(GapMachine(pace))
        ripeAfter = pace.ripeAfter
    }

    /// Outboxes with holes, as of the last look.
    public var gaps: [GapMachine.Outbox: GapMachine.Gap] { machine.withLock { $0.gaps } }

    /// Records that gateways declared as never to come, by outbox, as of the last look; of `lostOutboxesMax` at most.
    public var lost: [GapMachine.Outbox: UInt64] { losses.withLock { $0 } }

    private static let lostOutboxesMax = 20_000

    /// - Parameter interval: between two looks; `nil` for one that suits the pace.
    public func run(every interval: Duration? = nil) async {
        let interval = interval ?? min(.seconds(10), ripeAfter / 4)
        var readTo = WallInstant(milliseconds: 0)
        while !Task.isCancelled {
            do {
                readTo = try look(from: readTo)
            } catch {
                logger.warning(
                    "the books of sequence numbers cannot be read; gaps are looked for again later",
                    metadata: ["error": "\(error)"])
            }
            await askForWhatIsDue()
            try? await Task.sleep(for: interval)
        }
    }

    /// Reads the books that changed. Those that changed in the last look's millisecond are read twice.
    func look(from time: WallInstant) throws(EventLogError) -> WallInstant {
        let books = try log.sequences(changedFrom: time, countMax: Self.booksMax)
        let (now, wall) = (clock.monotonic(), clock.wall())
        machine.withLock { machine in
            for book in books {
                let outbox = GapMachine.Outbox(gateway: book.gateway, epoch: book.epoch)
                machine.looked(at: outbox, holes: book.gaps, now: now, wall: wall)
            }
        }
        losses.withLock { losses in
            for book in books where !book.dropped.isEmpty {
                let outbox = GapMachine.Outbox(gateway: book.gateway, epoch: book.epoch)
                guard losses[outbox] != nil || losses.count < Self.lostOutboxesMax else { continue }
                losses[outbox] = book.lostCount
            }
        }
        return books.last?.changedAt ?? time
    }

    func askForWhatIsDue() async {
        let now = clock.monotonic()
        let requests = machine.withLock { $0.due(now: now, isOnline: caller.isOnline) }
        await withDiscardingTaskGroup { group in
            let (stream, continuation) = AsyncStream<Void>.makeStream()
            for _ in 0..<Self.requestsMax { continuation.yield() }
            var places = stream.makeAsyncIterator()
            for (outbox, request) in requests {
                _ = await places.next()
                group.addTask {
                    await self.ask(outbox, request)
                    continuation.yield()
                }
            }
        }
    }

    private func ask(_ outbox: GapMachine.Outbox, _ request: ReplayRange) async {
        let outcome = await caller.replay(request, of: outbox.gateway)
        machine.withLock { $0.answered(outbox, outcome, now: clock.monotonic()) }
        let count = request.runs.reduce(0) { $0 &+ $1.count }
        var metadata: Logger.Metadata = [
            "gateway": "\(outbox.gateway)", "epoch": "\(outbox.epoch.text)", "missing": "\(count)",
        ]
        switch outcome {
        case .replayed(let replayed, let gone, let rest):
            metadata["replayed"] = "\(replayed)"
            metadata["gone"] = "\(gone)"
            if !rest.isEmpty { metadata["askedAgain"] = "\(rest.reduce(0) { $0 &+ $1.count })" }
            logger.notice(
                "a gateway was asked for records that are missing and sends what it still has", metadata: metadata)
            if gone > 0 {
                logger.error(
                    "records of a gateway are lost: it keeps them no more and will say so; they count as dropped",
                    metadata: ["gateway": "\(outbox.gateway)", "epoch": "\(outbox.epoch.text)", "lost": "\(gone)"])
            }
        case .lost:
            logger.error(
                "records of a gateway are lost: it has another outbox now than the one they were in", metadata: metadata
            )
        case .failed(let reason):
            metadata["reason"] = "\(reason)"
            logger.warning(
                "a gateway could not be asked for records that are missing; it is asked again later", metadata: metadata
            )
        }
    }
}
