public import Faults
import JSON
public import Primitives

/// The row of a fault's alert in the CRM, and what was made of it.
public struct AlertStanding: Sendable, Equatable {
    /// The same whether the row is there or not.
    public let id: UniqueID
    /// `active`, `inactive`, `in progress` or `closed`.
    public let state: String
    public let caseID: UniqueID?
    public let workOrderID: UniqueID?
}

extension Connector {
    /// Asks the CRM for the alert of a fault.
    ///
    /// - Returns: `nil` when the CRM has no such row: it was not delivered yet, or somebody deleted it.
    public func alert(of fault: Fault) async throws(DataverseClientError) -> AlertStanding? {
        let id = CRMIdentity.alert(hub: configuration.hubID, fault: fault.id)
        let row = try await client.row(
            "msdyn_iotalerts", id, select: ["statecode", "_msdyn_case_value", "_msdyn_workorder_value"],
            doing: "look up an alert")
        guard let row else { return nil }
        return AlertStanding(
            id: id, state: Self.state(row["statecode"]?.int64Value),
            caseID: row["_msdyn_case_value"]?.stringValue.flatMap { UniqueID($0) },
            workOrderID: row["_msdyn_workorder_value"]?.stringValue.flatMap { UniqueID($0) })
    }

    /// Source: the table reference of `msdyn_iotalert`, column `statecode`.
    private static func state(_ code: Int64?) -> String {
        switch code {
        case 0: "active"
        case 1: "inactive"
        case 2: "in progress"
        case 3: "closed"
        default: "unknown"
        }
    }
}
