internal import Connectivity
internal import DriverRuntime
internal import HubTransport
internal import JSON
internal import Logging
internal import Outbox
internal import Primitives
internal import Telemetry
internal import Timekeeping

/// The bytes of a day, as the loop counts them.
struct DayBytes {
    /// Where the outbox keeps them.
    static let key = "uplink/bytes"
    /// Between two looks.
    static let pause = Duration.seconds(1)
    /// Time to tell the hub before the link is taken down.
    static let farewell = Duration.seconds(10)

    var budget: ByteBudget
    /// Of the present connection, already counted.
    private var counted: UInt64 = 0
    var nextLook = MonotonicInstant(nanoseconds: 0)
    /// The link is taken down then; `nil` while it need not be.
    var closesAt: MonotonicInstant?

    init(_ budget: ByteBudget) { self.budget = budget }

    /// Of batches that TCP has not counted yet: they are spent when they are published, or a backlog would be on its way
    /// before the first look.
    private var prepaid: UInt64 = 0

    mutating func prepay(_ count: UInt64) {
        budget.used(count)
        prepaid += count
    }

    /// TCP's count for the present connection.
    mutating func count(_ total: UInt64) {
        guard total > counted else { return }
        let paid = min(prepaid, total - counted)
        budget.used(total - counted - paid)
        prepaid -= paid
        counted = total
    }

    mutating func connectionEnded() {
        counted = 0
        prepaid = 0
    }
}

extension UplinkLoop {
    /// Counts what has crossed the network; once a second, and when a connection ends.
    func countBytes(isEnd: Bool = false) {
        let now = world.now
        guard isEnd || now >= bytes.nextLook else { return }
        bytes.nextLook = now + DayBytes.pause
        if let total = transport?.wireBytes?.total { bytes.count(total) }
        if isEnd {
            bytes.connectionEnded()
            if let cost = transport?.wireBytes {
                logger.debug(
                    "what the connection has cost",
                    metadata: ["ipSent": "\(cost.sent)", "ipReceived": "\(cost.received)"])
            }
        }
        guard bytes.budget.perDay != nil else { return }
        let before = bytes.closesAt
        let reading = clock.now()
        let isNewDay = bytes.budget.timePassed(wall: reading.quality == .synchronised ? reading.time : nil, now: now)
        noteAllowance(now: now)
        if isNewDay, before != nil { link.retryAtOnce(now: now) }
        if bytes.budget.isToBeKept { keepBytes() }
    }

    private func noteAllowance(now: MonotonicInstant) {
        let allowance = bytes.budget.allowance
        if allowance != .nothing { bytes.closesAt = nil }
        guard allowance != allowanceTold else { return }
        allowanceTold = allowance
        twin.changed(now: now)
        let metadata: Logger.Metadata = [
            "bytesPerDay": "\(bytes.budget.perDay ?? 0)", "bytes": "\(bytes.budget.spent)",
        ]
        switch allowance {
        case .everything: logger.info("a new day: everything travels again", metadata: metadata)
        case .faults:
            logger.warning(
                "the byte budget of the day is spent; only faults travel until midnight UTC", metadata: metadata)
        case .nothing:
            logger.warning(
                "the byte budget of the day is spent; nothing travels until midnight UTC", metadata: metadata)
            bytes.closesAt = now + DayBytes.farewell
        }
    }

    /// Whether the link has to be down for the rest of the day; takes it down when that is so.
    func isClosedForToday(now: MonotonicInstant) -> Bool {
        guard let closesAt = bytes.closesAt, now >= closesAt || transport == nil else { return false }
        if let transport {
            transport.disconnect(now: now)
            endLink()
        }
        link.pause()
        mailbox.set(.waiting(.lost(detail: "the byte budget of the day is spent; it goes on at midnight UTC")))
        return true
    }

    /// What a restart must not forget.
    func keepBytes() {
        let reading = clock.now()
        let state = KeptState(key: DayBytes.key, bytes: bytes.budget.state)
        do throws(OutboxError) {
            _ = try store.append(
                OutboxCommit(records: [], kept: [state], wallTime: reading.time, clock: reading.quality))
            bytes.budget.stateKept()
        } catch {
            logger.error("the bytes of the day could not be kept", metadata: ["reason": "\(error)"])
        }
    }

    /// The gateway's report, with the budget when there is one.
    func fullReport() -> [UInt8] {
        let bytesOfReport = report(desiredVersion)
        guard let perDay = bytes.budget.perDay, case .object(var members)? = try? JSONValue(parsing: bytesOfReport)
        else {
            return bytesOfReport
        }
        let travels =
            switch bytes.budget.allowance {
            case .everything: "everything"
            case .faults: "faults"
            case .nothing: "nothing"
            }
        members["budget"] = ["bytesPerDay": .string(String(perDay)), "travels": .string(travels)]
        return JSONValue.object(members).serialized()
    }
}
