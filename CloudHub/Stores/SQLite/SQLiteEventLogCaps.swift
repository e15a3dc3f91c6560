import EventLog
import Primitives

/// Keeps what the log holds beside events within its limits: of each gateway the newest quarantined records and the
/// outboxes that it used last.
final class LogCaps {
    /// Quarantined records kept of one gateway; none is kept for longer than events are.
    static let quarantinedMax = 1000
    /// Outboxes (epochs) of one gateway of which repeats are recognised.
    static let epochsMax = 64
    /// Rows deleted in one transaction.
    static let rowsMax = 1024

    private let connection: LogConnection
    /// Gateways that may have passed a limit since the last look; `nil` before the first, which looks at all.
    private var touched: Set<DeviceID>?
    private var deleteAged: LogStatement?
    private var deleteQuarantined: LogStatement?
    private var deleteEpochs: LogStatement?

    init(connection: LogConnection) { self.connection = connection }

    /// A record of the gateway was quarantined, or a batch of it settled.
    func touch(_ gateway: DeviceID) { touched?.insert(gateway) }

    /// Deletes what is past a limit. What fails is tried again at the next call.
    func trim(olderThan cutoff: Int64) throws(EventLogError) {
        let aged = try connection.prepare(
            """
            DELETE FROM quarantine WHERE id IN
            (SELECT id FROM (SELECT id, at FROM quarantine ORDER BY id LIMIT \(Self.rowsMax)) WHERE at < ?1)
            """, keptIn: &deleteAged)
        aged.bind(cutoff, 1)
        try repeatedly(aged, doing: "delete old quarantined records")
        let gateways = if let touched { touched } else { try allGateways() }
        for gateway in gateways { try trim(gateway) }
        touched = []
    }

    private func trim(_ gateway: DeviceID) throws(EventLogError) {
        let quarantined = try connection.prepare(
            """
            DELETE FROM quarantine WHERE id IN
            (SELECT id FROM quarantine WHERE gateway = ?1 ORDER BY id DESC
             LIMIT \(Self.rowsMax) OFFSET \(Self.quarantinedMax))
            """, keptIn: &deleteQuarantined)
        quarantined.bind(gateway.text, 1)
        try repeatedly(quarantined, doing: "delete old quarantined records")
        let epochs = try connection.prepare(
            """
            DELETE FROM sequence WHERE gateway = ?1 AND epoch IN
            (SELECT epoch FROM sequence WHERE gateway = ?1 ORDER BY changed DESC, epoch
             LIMIT \(Self.rowsMax) OFFSET \(Self.epochsMax))
            """, keptIn: &deleteEpochs)
        epochs.bind(gateway.text, 1)
        try repeatedly(epochs, doing: "delete the outboxes that a gateway used long ago")
    }

    /// Runs the statement until it deletes less than it may in one transaction.
    private func repeatedly(_ statement: LogStatement, doing: String) throws(EventLogError) {
        repeat { try connection.run(statement, doing: doing) } while connection.changeCount >= Self.rowsMax
    }

    private func allGateways() throws(EventLogError) -> Set<DeviceID> {
        let statement = try connection.prepare(
            "SELECT DISTINCT gateway FROM quarantine UNION SELECT DISTINCT gateway FROM sequence")
        var result: Set<DeviceID> = []
        while try connection.step(statement, doing: "find the gateways of the event log") {
            if let gateway = DeviceID(statement.text(0)) { result.insert(gateway) }
        }
        return result
    }
}
