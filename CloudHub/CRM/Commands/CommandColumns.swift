import JSON
import Primitives

/// Command rows in the columns of `msdyn_iotdevicecommand`.
extension CommandRow {
    static let set = "msdyn_iotdevicecommands"
    static let select = [
        "msdyn_name", "msdyn_message", "msdyn_deviceid", "createdon", "_msdyn_parentalert_value",
        "msdyn_sendtoallconnecteddevices",
    ]
    /// In progress, and not switched off by a person.
    static let filter = "msdyn_commandstatus eq 192350000 and statecode eq 0"

    /// `nil` when the row has no id.
    init?(_ json: JSONValue) {
        guard let id = json["msdyn_iotdevicecommandid"]?.stringValue.flatMap({ UniqueID($0) }),
            let createdAt = json["createdon"]?.stringValue.flatMap({ WallInstant($0) })
        else { return nil }
        self.init(
            id: id, device: json["msdyn_deviceid"]?.stringValue.flatMap { DeviceID($0) },
            message: json["msdyn_message"]?.stringValue ?? "", createdAt: createdAt,
            parentAlert: json["_msdyn_parentalert_value"]?.stringValue.flatMap { UniqueID($0) })
        isForAllDevices = json["msdyn_sendtoallconnecteddevices"]?.boolValue == true
    }
}

extension CommandVerdict {
    var columns: JSONObject {
        [
            "msdyn_commandstatus": .number(JSONNumber(kind == .sent ? 192_350_001 : 192_350_002)),
            "msdyn_commandstatusreason": .string(reason),
        ]
    }

    /// In Progress - Command Sent, or In Progress - Command Failed.
    func alertColumns(command: UniqueID, at instant: WallInstant) -> JSONObject {
        [
            "statecode": 2, "statuscode": .number(JSONNumber(kind == .sent ? 5 : 7)),
            "msdyn_LastCommandSent@odata.bind": .string("/\(CommandRow.set)(\(command))"),
            "msdyn_lastcommandsenttime": .string(instant.description),
        ]
    }
}
