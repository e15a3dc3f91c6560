import JSON
import Logging
import Primitives
import Synchronization

/// Takes command rows to devices, each at most once, and writes how they ended.
final class CommandDelivery: Sendable {
    static let rowsAtOnce = 500
    /// Answers that one look takes: the rows of queued commands stay in progress and must not hide newer ones.
    static let pagesMax = 8
    /// Commands on their way at once; more wait in the CRM.
    static let underWayMax = 256
    /// Commands in devices' queues that are remembered; when there are more, the queue is asked about each again.
    static let followedMax = 50_000
    /// How long it is remembered how a command ended.
    static let recordsKept = Duration.seconds(30 * 86_400)
    /// Records that nobody asked for any more, because their rows were deleted in the CRM, go after this.
    static let orphansKept = Duration.seconds(400 * 86_400)
    /// A row that the CRM refuses to change is not tried again before this.
    static let refusedWait = Duration.seconds(60)

    private struct UnderWay {
        var commands: Set<UniqueID> = []
        /// In a device's queue, as this run knows.
        var followed: Set<UniqueID> = []
        var refused: [UniqueID: MonotonicInstant] = [:]
    }

    private unowned let connector: Connector
    private let underWay = Mutex(UnderWay())

    init(connector: Connector) { self.connector = connector }

    /// Reads the rows in progress and takes those that nothing is being done about; `advance` must be called for each.
    func poll() async -> [CommandRow] {
        guard !connector.isPaused else { return [] }
        do throws(DataverseClientError) {
            let rows = try await connector.client.rows(
                CommandRow.set,
                DataverseClient.Query(
                    select: CommandRow.select, filter: CommandRow.filter, orderBy: "createdon asc",
                    pageRows: Self.rowsAtOnce, pagesMax: Self.pagesMax), doing: "look for commands")
            connector.succeeded()
            return rows.compactMap { CommandRow($0) }.filter { take($0.id) }
        } catch {
            if !Task.isCancelled { _ = connector.failed(error, attempts: 0) }
            return []
        }
    }

    /// Forgets how commands ended when that is long ago; once an hour, until cancelled.
    func forgetOldRecords() async {
        while !Task.isCancelled {
            let now = connector.clock.wall()
            do {
                try await connector.records.forget(
                    reportedBefore: now + (.zero - Self.recordsKept), anyBefore: now + (.zero - Self.orphansKept))
            } catch {
                connector.log.warning("old command records cannot be removed", metadata: ["error": "\(error)"])
            }
            try? await Task.sleep(for: .seconds(3600))
        }
    }

    // MARK: - One command

    /// Brings one row that `poll` took as far as it gets now; the next poll sees it again unless it has ended.
    func advance(_ row: CommandRow) async {
        defer { release(row.id) }
        do {
            try await act(on: row, try await connector.records.record(of: row.id))
        } catch {
            // Nothing was sent: without its durable record a command does not start. The next poll sees it again.
            connector.log.error(
                "a command waits because its record cannot be read or stored",
                metadata: ["command": "\(row.id)", "error": "\(error)"])
        }
    }

    private func act(on row: CommandRow, _ record: CommandRecord?) async throws {
        let action = CommandMachine.rowSeen(
            row, record: record, isUnderWay: isFollowed(row.id), limits: connector.configuration.commands,
            now: connector.clock.wall())
        switch action {
        case .wait: return
        case .report(let verdict): await report(verdict, row)
        case .decide(let verdict):
            try await save(.decided(verdict), row.id)
            await report(verdict, row)
        case .follow: try await follow(row)
        case .attempt(let command, let device, let within):
            guard connector.dispatcher.isOnline(device) else {
                return try await enqueue(command, device, within: within, row)
            }
            try await call(command, device, within: within, row)
        }
    }

    private func call(_ command: DeviceCommand, _ device: DeviceID, within: Duration, _ row: CommandRow) async throws {
        try await save(.attempting, row.id)
        let outcome = await connector.dispatcher.invoke(
            device, method: command.method, payload: command.payload,
            timeLimit: min(within, connector.configuration.methodTimeLimit))
        guard let verdict = CommandMachine.verdict(on: outcome, method: command.method) else {
            return try await enqueue(command, device, within: within, row)
        }
        // A call that the hub's own stop cut short is told at the next start.
        if outcome == .unanswered, Task.isCancelled { return }
        await saveDecided(verdict, row.id)
        await report(verdict, row)
    }

    // MARK: - In the device's queue

    private func enqueue(
        _ command: DeviceCommand, _ device: DeviceID, within: Duration, _ row: CommandRow
    ) async throws {
        try await save(.queued(command.method), row.id)
        // Before it is queued: its end may come before the answer.
        setFollowed(row.id, true)
        let message = QueuedCommand(id: row.id, command: command, expiresAt: connector.clock.wall() + within)
        switch await connector.dispatcher.enqueue(message, for: device) {
        case .queued: return
        case .refused(let reason):
            setFollowed(row.id, false)
            let verdict = CommandMachine.failed(reason, method: command.method)
            await saveDecided(verdict, row.id)
            await report(verdict, row)
        case .unsure(let reason):
            setFollowed(row.id, false)
            connector.log.warning(
                "a command waits because it cannot be queued yet",
                metadata: ["command": "\(row.id)", "error": .string(reason)])
        }
    }

    /// The record says that an earlier run wanted to queue it.
    private func follow(_ row: CommandRow) async throws {
        guard let device = row.device else { return try await act(on: row, nil) }
        setFollowed(row.id, true)
        switch try await connector.dispatcher.fate(of: row.id, on: device) {
        case .waits: return
        case .ended: await takeQueueEnds()
        case .neverQueued:
            setFollowed(row.id, false)
            // Its end may have been taken since the record was read: only one that is still `queued` starts anew.
            let record = try await connector.records.record(of: row.id)
            if case .queued? = record?.state { try await act(on: row, nil) }
        }
    }

    /// Writes down how queued commands ended. Their rows follow with the next poll.
    func takeQueueEnds() async {
        do {
            let ends = try await connector.dispatcher.queueEnds()
            for end in ends {
                if case .queued(let method)? = try await connector.records.record(of: end.command)?.state {
                    try await save(.decided(CommandMachine.verdict(on: end, method: method)), end.command)
                }
                setFollowed(end.command, false)
                try await connector.dispatcher.taken(end)
            }
            if !ends.isEmpty { connector.commandsCreated() }
        } catch {
            connector.log.warning(
                "how queued commands ended cannot be written down yet", metadata: ["error": "\(error)"])
        }
    }

    // MARK: - How it ended

    private func save(_ state: CommandRecord.State, _ command: UniqueID) async throws {
        try await connector.records.save(
            CommandRecord(command: command, state: state, changedAt: connector.clock.wall()))
    }

    /// The command may have been executed, so its end must not be lost to a full disk: tried until it is stored.
    private func saveDecided(_ verdict: CommandVerdict, _ command: UniqueID) async {
        var backoff = Backoff(first: .milliseconds(200), most: .seconds(10))
        var random = SystemRandomNumberGenerator()
        while true {
            do {
                return try await save(.decided(verdict), command)
            } catch {
                connector.log.error(
                    "how a command ended cannot be stored yet",
                    metadata: ["command": "\(command)", "error": "\(error)"])
                guard !Task.isCancelled else { return }
                try? await Task.sleep(for: backoff.next(using: &random))
            }
        }
    }

    /// First the alert, then the command's row: a stop in between repeats both, and both may be repeated.
    private func report(_ verdict: CommandVerdict, _ row: CommandRow) async {
        do throws(DataverseClientError) {
            if let alert = row.parentAlert { try await mark(alert, verdict, row) }
            try await connector.client.update(
                CommandRow.set, row.id, verdict.columns, doing: "write how a command ended")
            connector.succeeded()
        } catch {
            if case .notFound = error.problem { return await reported(verdict, row) }
            guard !Task.isCancelled else { return }
            if connector.failed(error, attempts: 0) == .deadLetter { refuse(row, error) }
            return
        }
        await reported(verdict, row)
    }

    private func reported(_ verdict: CommandVerdict, _ row: CommandRow) async {
        do {
            try await save(.reported(verdict), row.id)
        } catch {
            connector.log.warning(
                "a command's end will be written once more", metadata: ["command": "\(row.id)", "error": "\(error)"])
        }
    }

    /// Sets the alert's status unless it is closed; never opens it again.
    private func mark(
        _ alert: UniqueID, _ verdict: CommandVerdict, _ row: CommandRow
    ) async throws(DataverseClientError) {
        let doing = "mark an alert with its command"
        for _ in 0..<3 {
            let seen = try await connector.client.row(
                AlertDelivery.alertSet, alert, select: ["statecode"], doing: doing)
            guard let seen, let state = seen["statecode"]?.int64Value, state == 0 || state == 2,
                let tag = seen["@odata.etag"]?.stringValue
            else { return }
            let columns = verdict.alertColumns(command: row.id, at: connector.clock.wall())
            do {
                return try await connector.client.update(
                    AlertDelivery.alertSet, alert, columns, ifTag: tag, doing: doing)
            } catch {
                switch error.problem {
                case .preconditionFailed: continue
                case .notFound: return
                case .refused:
                    connector.log.error(
                        "the CRM refused an alert's status", metadata: ["error": .string(error.description)])
                    return
                default: throw error
                }
            }
        }
    }

    // MARK: - Under way

    private func take(_ command: UniqueID) -> Bool {
        let now = connector.clock.monotonic()
        return underWay.withLock { underWay in
            guard underWay.commands.count < Self.underWayMax, !underWay.followed.contains(command) else { return false }
            if let until = underWay.refused[command] {
                guard now >= until else { return false }
                underWay.refused[command] = nil
            }
            return underWay.commands.insert(command).inserted
        }
    }

    private func isFollowed(_ command: UniqueID) -> Bool { underWay.withLock { $0.followed.contains(command) } }

    private func setFollowed(_ command: UniqueID, _ isFollowed: Bool) {
        underWay.withLock { underWay in
            guard isFollowed else {
                underWay.followed.remove(command)
                return
            }
            if underWay.followed.count >= Self.followedMax { underWay.followed = [] }
            underWay.followed.insert(command)
        }
    }

    private func release(_ command: UniqueID) {
        underWay.withLock { _ = $0.commands.remove(command) }
    }

    private func refuse(_ row: CommandRow, _ error: DataverseClientError) {
        let until = connector.clock.monotonic() + Self.refusedWait
        underWay.withLock { underWay in
            if underWay.refused.count >= Self.rowsAtOnce { underWay.refused = [:] }
            underWay.refused[row.id] = until
        }
        connector.log.error(
            "the CRM refused how a command ended",
            metadata: ["command": "\(row.id)", "error": .string(error.description)])
    }
}
