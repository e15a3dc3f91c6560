import JSON
import Logging
import Primitives
import Synchronization

/// Takes command rows to devices, each at most once, and writes how they ended.
final class CommandDelivery: Sendable {
    static let rowsAtOnce = 500
    /// Commands on their way at once; more wait in the CRM.
    static let underWayMax = 256
    /// How long it is remembered how a command ended.
    static let recordsKept = Duration.seconds(30 * 86_400)
    /// A row that the CRM refuses to change is not tried again before this.
    static let refusedWait = Duration.seconds(60)

    private struct UnderWay {
        var commands: Set<UniqueID> = []
        var refused: [UniqueID: MonotonicInstant] = [:]
    }

    private unowned let connector: Connector
    private let underWay = Mutex(UnderWay())

    init(connector: Connector) { self.connector = connector }

    /// Reads the rows in progress and takes those that nothing is being done about; `end` must be called for each.
    func poll() async -> [CommandRow] {
        guard !connector.isPaused else { return [] }
        do throws(DataverseClientError) {
            let rows = try await connector.client.rows(
                CommandRow.set, select: CommandRow.select, filter: CommandRow.filter, orderBy: "createdon asc",
                rowsMax: Self.rowsAtOnce, doing: "look for commands")
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
            let before = WallInstant(
                milliseconds: connector.clock.wall().milliseconds - Self.recordsKept.millisecondsClamped)
            do {
                try await connector.records.forget(before: before)
            } catch {
                connector.log.warning("old command records cannot be removed", metadata: ["error": "\(error)"])
            }
            try? await Task.sleep(for: .seconds(3600))
        }
    }

    // MARK: - One command

    /// Brings one row that `poll` took to its end, or leaves it for the next poll.
    func end(_ row: CommandRow) async {
        defer { release(row.id) }
        do {
            let record = try await connector.records.record(of: row.id)
            let now = connector.clock.wall()
            switch CommandMachine.rowSeen(
                row, record: record, isUnderWay: false, limits: connector.configuration.commands, now: now)
            {
            case .wait: return
            case .report(let verdict): await report(verdict, row)
            case .decide(let verdict):
                try await save(.decided(verdict), row)
                await report(verdict, row)
            case .attempt(let command, let device, let within):
                try await save(.attempting, row)
                guard let verdict = await attempt(command, device, within: within) else { return }
                await saveDecided(verdict, row)
                await report(verdict, row)
            }
        } catch {
            // Nothing was sent: without its durable record a command does not start. The next poll sees it again.
            connector.log.error(
                "a command waits because its record cannot be stored",
                metadata: ["command": "\(row.id)", "error": "\(error)"])
        }
    }

    /// - Returns: `nil` when the connector was stopped meanwhile and nobody knows how it ended.
    private func attempt(_ command: DeviceCommand, _ device: DeviceID, within: Duration) async -> CommandVerdict? {
        let outcome: DispatchOutcome
        if connector.dispatcher.isOnline(device) {
            outcome = await connector.dispatcher.invoke(
                device, method: command.method, payload: command.payload,
                timeLimit: min(within, connector.configuration.methodTimeLimit))
        } else {
            outcome = await connector.dispatcher.queue(
                device, name: command.method, payload: command.payload, expiresAt: connector.clock.wall() + within)
        }
        switch outcome {
        case .failed, .expired: if Task.isCancelled { return nil }
        case .answered, .delivered: break
        }
        return CommandMachine.verdict(on: outcome, command: command)
    }

    private func save(_ state: CommandRecord.State, _ row: CommandRow) async throws {
        try await connector.records.save(
            CommandRecord(command: row.id, state: state, changedAt: connector.clock.wall()))
    }

    /// The command may have been executed, so its end must not be lost to a full disk: tried until it is stored.
    private func saveDecided(_ verdict: CommandVerdict, _ row: CommandRow) async {
        var backoff = Backoff(first: .milliseconds(200), most: .seconds(10))
        var random = SystemRandomNumberGenerator()
        while true {
            do {
                return try await save(.decided(verdict), row)
            } catch {
                connector.log.error(
                    "how a command ended cannot be stored yet", metadata: ["command": "\(row.id)", "error": "\(error)"])
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
            try await save(.reported(verdict), row)
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
            guard underWay.commands.count < Self.underWayMax else { return false }
            if let until = underWay.refused[command] {
                guard now >= until else { return false }
                underWay.refused[command] = nil
            }
            return underWay.commands.insert(command).inserted
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
