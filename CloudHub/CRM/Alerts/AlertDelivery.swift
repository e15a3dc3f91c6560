import Faults
import JSON
import Logging
import Primitives
import Synchronization

/// Drains the fault queue into `msdyn_iotalerts`.
final class AlertDelivery: Sendable {
    static let rowsAtOnce = 64
    static let alertSet = "msdyn_iotalerts"

    let connector: Connector
    let devices: DeviceRows
    /// Whether the last row could not be settled: told once, and once when it is over.
    private let cannotSettle = Mutex(false)

    init(connector: Connector) {
        self.connector = connector
        devices = DeviceRows(connector: connector)
    }

    /// Works until nothing is due, the CRM must be left alone, or a row could not be settled: it is still due, and asking
    /// for it again at once would send it to the CRM without end. The next tick tries again.
    func drain() async {
        while !Task.isCancelled, !connector.isPaused {
            let due: [QueuedAlert]
            do {
                due = try await connector.faults.dueAlerts(
                    now: connector.clock.wall(), limit: min(Self.rowsAtOnce, connector.callsMax * 8))
            } catch {
                connector.log.error("the fault queue cannot be read", metadata: ["error": "\(error)"])
                return
            }
            if due.isEmpty { return }
            guard await deliver(due) else { return }
        }
    }

    /// A batch holds at most one row of each fault, so its rows need no order among themselves.
    ///
    /// - Returns: whether every row that was sent is settled; after one that is not no further one is sent.
    private func deliver(_ due: [QueuedAlert]) async -> Bool {
        var rest = due[...]
        return await withTaskGroup(of: Bool.self) { group in
            var areSettled = true
            for row in rest.prefix(connector.callsMax) { group.addTask { await self.deliver(row) } }
            rest = rest.dropFirst(connector.callsMax)
            while let isSettled = await group.next() {
                areSettled = areSettled && isSettled
                guard areSettled, !Task.isCancelled, !connector.isPaused, let row = rest.popFirst() else { continue }
                group.addTask { await self.deliver(row) }
            }
            return areSettled
        }
    }

    private func deliver(_ row: QueuedAlert) async -> Bool {
        let settlement: QueueSettlement
        do throws(DataverseClientError) {
            try await send(row)
            connector.succeeded()
            settlement = .delivered
        } catch {
            if Task.isCancelled { return true }
            settlement = self.settlement(of: row, error)
        }
        do {
            try await connector.faults.settle(row.sequence, as: settlement)
        } catch {
            // The row stays due and is sent again: every write to the CRM may be repeated.
            tell(unsettled: error)
            return false
        }
        tell(unsettled: nil)
        return true
    }

    private func tell(unsettled error: (any Error)?) {
        let was = cannotSettle.withLock { cannotSettle in
            defer { cannotSettle = error != nil }
            return cannotSettle
        }
        switch (was, error) {
        case (false, let error?):
            connector.log.error(
                "what became of an alert cannot be stored; alerts wait until it can", metadata: ["error": "\(error)"])
        case (true, nil): connector.log.info("what becomes of alerts is stored again")
        case (true, _), (false, nil): return
        }
    }

    /// A fault that ended meanwhile gets an alert that is closed: when its first row was retried as a dead letter, the row
    /// that closes it has found no alert and is gone.
    private func send(_ row: QueuedAlert) async throws(DataverseClientError) {
        let fault = row.fault
        let id = CRMIdentity.alert(hub: connector.configuration.hubID, fault: fault.id)
        switch row.kind {
        case .opened:
            try await open(row, id)
            guard !fault.isOpen else { return }
            try await connector.client.update(
                Self.alertSet, id, AlertColumns.cleared(fault), doing: "close an alert")
        case .updated:
            try await connector.client.update(
                Self.alertSet, id, AlertColumns.updated(fault), doing: "bring an alert up to date")
        case .cleared:
            try await connector.client.update(
                Self.alertSet, id, AlertColumns.cleared(fault), doing: "close an alert")
        }
    }

    /// Twice at most: a device row that went away since it was resolved is resolved anew.
    private func open(_ row: QueuedAlert, _ id: UniqueID) async throws(DataverseClientError) {
        let url = connector.configuration.pagesURL.map { "\($0)/alerts/\(id)" }
        let device = try await devices.row(of: row.fault.device)
        do {
            let columns = AlertColumns.opened(row.fault, queuedAt: row.queuedAt, device: device, url: url)
            _ = try await connector.client.createOnce(Self.alertSet, id, columns, doing: "create an alert")
        } catch {
            guard case .notFound = error.problem, device != nil else { throw error }
            devices.forget(row.fault.device)
            let renewed = try await devices.row(of: row.fault.device)
            let columns = AlertColumns.opened(row.fault, queuedAt: row.queuedAt, device: renewed, url: url)
            _ = try await connector.client.createOnce(Self.alertSet, id, columns, doing: "create an alert")
        }
    }

    private func settlement(of row: QueuedAlert, _ error: DataverseClientError) -> QueueSettlement {
        switch connector.failed(error, attempts: row.attempts) {
        case .again(let wait): return .again(at: connector.clock.wall() + wait, error: error.description)
        case .gone where row.kind != .opened: return .delivered
        case .gone, .deadLetter:
            connector.log.error(
                "the CRM refused an alert; it is kept as a dead letter",
                metadata: ["fault": "\(row.fault.id)", "error": .string(error.description)])
            return .deadLetter(error: error.description)
        }
    }
}
