import JSON
import Primitives
import Synchronization

/// Knows which `msdyn_iotdevice` row belongs to a device, and creates the missing ones.
final class DeviceRows: Sendable {
    /// Devices remembered; all are forgotten when another one comes, and found again.
    static let devicesMax = 50_000
    private static let set = "msdyn_iotdevices"

    private unowned let connector: Connector
    private let known = Mutex<[DeviceID: UniqueID]>([:])

    init(connector: Connector) { self.connector = connector }

    /// - Returns: `nil` when there is no row and none is to be created.
    func row(of device: DeviceID) async throws(DataverseClientError) -> UniqueID? {
        if let id = known.withLock({ $0[device] }) { return id }
        guard let id = try await resolve(device) else { return nil }
        known.withLock { known in
            if known.count >= Self.devicesMax { known = [:] }
            known[device] = id
        }
        return id
    }

    func forget(_ device: DeviceID) { known.withLock { $0[device] = nil } }

    private func resolve(_ device: DeviceID) async throws(DataverseClientError) -> UniqueID? {
        let text = device.text.cut(toUTF16: 100)
        let found = try await connector.client.rows(
            Self.set,
            DataverseClient.Query(
                select: ["msdyn_iotdeviceid"],
                filter: "msdyn_deviceid eq \(DataverseClient.quoted(text)) and statecode eq 0",
                orderBy: "createdon asc",
                pageRows: 1), doing: "find a device")
        if let id = found.first?["msdyn_iotdeviceid"]?.stringValue.flatMap({ UniqueID($0) }) { return id }
        guard connector.configuration.createsDevices else { return nil }
        let id = CRMIdentity.device(hub: connector.configuration.hubID, device: device)
        let columns: JSONObject = [
            "msdyn_name": .string(text), "msdyn_deviceid": .string(text), "msdyn_registrationstatus": 192_350_003,
        ]
        _ = try await connector.client.createOnce(Self.set, id, columns, doing: "create a device")
        return id
    }
}
