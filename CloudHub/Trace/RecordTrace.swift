public import EventLog
public import Faults
public import Primitives
public import Telemetry

/// What became of one record, from the gateway's outbox to the CRM.
public struct RecordTrace: Sendable, Equatable {
    public let gateway: DeviceID
    public let epoch: Epoch
    public let sequence: UInt64
    public let standing: Standing
    /// The record itself, when the log still has it.
    public internal(set) var record: Record?
    /// The faults that it raised, is, or ended; usually none or one.
    public internal(set) var faults: [FaultTrace] = []

    public enum Standing: Sendable, Equatable {
        case inLog(Place)
        case quarantined(StoredQuarantine)
        /// The gateway declared that it never comes: dropped, expired, or not kept any more when it was asked for.
        case dropped
        /// Later ones came: the hub asks the gateway for it.
        case missing
        /// Beyond the highest that came so far.
        case notYet
        /// It came and is in the log no more: retention took it, or the quarantine forgot it. Also what the gateway
        /// declared as lost when no more losses of it were remembered.
        case gone
    }

    /// Where in the log.
    public struct Place: Sendable, Equatable {
        public let partition: Int
        public let offset: Int64
        public let enqueuedAt: WallInstant
    }
}

/// A fault on its way to the CRM.
public struct FaultTrace: Sendable, Equatable {
    public let fault: Fault
    /// What the CRM was not told yet, oldest first; empty when it knows all.
    public let waiting: [QueueRow]
    public let row: CRMRow

    /// The fault's row in the CRM.
    public enum CRMRow: Sendable, Equatable {
        case found(Alert)
        case absent
        /// Why it could not be looked up.
        case unknown(String)
    }

    /// The alert's row, and what was made of it.
    public struct Alert: Sendable, Equatable {
        /// Its id in the table of IoT alerts.
        public let id: UniqueID
        /// `active`, `inactive`, `in progress` or `closed`.
        public let state: String
        public let caseID: UniqueID?
        public let workOrderID: UniqueID?

        public init(id: UniqueID, state: String, caseID: UniqueID?, workOrderID: UniqueID?) {
            self.id = id
            self.state = state
            self.caseID = caseID
            self.workOrderID = workOrderID
        }
    }
}

/// Why a record cannot be followed.
public enum TraceError: Error, Equatable, CustomStringConvertible {
    case noOutbox(gateway: DeviceID, epoch: Epoch?)

    public var isRetryable: Bool { false }

    public var description: String {
        switch self {
        case .noOutbox(let gateway, nil):
            "no record of a gateway '\(gateway)' ever came; sequence numbers belong to gateways that send batches"
        case .noOutbox(let gateway, let epoch?):
            "gateway '\(gateway)' never sent a record of epoch \(epoch.text); its outbox says which epoch it has: "
                + "edge-agent status"
        }
    }
}
