/// The tables that this desk serves.
enum Tables {
    static let all: [Table] = [alert, device, command]

    static func table(entitySet: some StringProtocol) -> Table? { all.first { $0.entitySet == entitySet } }

    static func table(logicalName: String) -> Table? { all.first { $0.logicalName == logicalName } }

    static let alert = Table(
        "msdyn_iotalert", entitySet: "msdyn_iotalerts", primaryName: "msdyn_description",
        columns: [
            Column("msdyn_description", .text(lengthMax: 100), level: .applicationRequired),
            Column("msdyn_alertdata", .text(lengthMax: 8192)),
            Column("msdyn_alerttime", .instant),
            Column("msdyn_alerttoken", .text(lengthMax: 100)),
            Column(
                "msdyn_alerttype",
                .choice([
                    Choice(192_350_000, "Anomaly"), Choice(192_350_001, "Info"),
                    Choice(192_350_002, "Preventive Maintenance"), Choice(192_350_003, "Test"),
                ]), initial: .whole(192_350_000)),
            Column("msdyn_alerturl", .text(lengthMax: 500)),
            Column("msdyn_alertpriorityscore", .whole(0...100)),
            Column(
                "msdyn_suggestedpriority",
                .choice([
                    Choice(192_350_000, "Calculating"), Choice(192_350_001, "High"), Choice(192_350_002, "Low"),
                    Choice(192_350_003, "No Suggestions"),
                ])),
            Column("msdyn_deviceid", .text(lengthMax: 100)),
            Column("msdyn_device", .lookup(table: "msdyn_iotdevice", navigation: "msdyn_Device")),
            Column(
                "msdyn_customerasset", .lookup(table: "msdyn_customerasset", navigation: "msdyn_CustomerAsset")),
            Column("msdyn_case", .lookup(table: "incident", navigation: "msdyn_Case")),
            Column("msdyn_parentalert", .lookup(table: "msdyn_iotalert", navigation: "msdyn_ParentAlert")),
            Column("msdyn_parentalerttoken", .text(lengthMax: 100)),
            Column(
                "msdyn_lastcommandsent",
                .lookup(table: "msdyn_iotdevicecommand", navigation: "msdyn_LastCommandSent")),
            Column("msdyn_lastcommandsenttime", .instant),
            Column("msdyn_workorder", .lookup(table: "msdyn_workorder", navigation: "msdyn_Workorder")),
            Column(
                "msdyn_suggestedincidenttype",
                .lookup(table: "msdyn_incidenttype", navigation: "msdyn_suggestedincidenttype")),
        ],
        // The reference names 4 as the default of Closed, which belongs to In Progress; 6 is the one that pairs.
        states: [
            State(value: 0, label: "Active", defaultStatus: 1), State(value: 1, label: "Inactive", defaultStatus: 2),
            State(value: 2, label: "In Progress", defaultStatus: 3), State(value: 3, label: "Closed", defaultStatus: 6),
        ],
        statuses: [
            Status(value: 1, label: "Active", state: 0), Status(value: 2, label: "Inactive", state: 1),
            Status(value: 3, label: "In Progress - Case Created", state: 2),
            Status(value: 4, label: "In Progress - Work Order Created", state: 2),
            Status(value: 5, label: "In Progress - Command Sent", state: 2),
            Status(value: 6, label: "Closed", state: 3),
            Status(value: 7, label: "In Progress - Command Failed", state: 2),
        ])

    static let device = Table(
        "msdyn_iotdevice", entitySet: "msdyn_iotdevices", primaryName: "msdyn_name",
        columns: [
            Column("msdyn_name", .text(lengthMax: 100), level: .applicationRequired),
            Column("msdyn_deviceid", .text(lengthMax: 100)),
            Column("msdyn_account", .lookup(table: "account", navigation: "msdyn_Account")),
            Column("msdyn_category", .lookup(table: "msdyn_iotdevicecategory", navigation: "msdyn_Category")),
            Column(
                "msdyn_iotproviderinstance",
                .lookup(table: "msdyn_iotproviderinstance", navigation: "msdyn_IoTProviderInstance")),
            Column("msdyn_connectionstate", .flag, initial: .flag(false)),
            Column("msdyn_lastactivitytime", .instant),
            Column(
                "msdyn_registrationstatus",
                .choice([
                    Choice(192_350_000, "Unknown"), Choice(192_350_001, "Unregistered"),
                    Choice(192_350_002, "In Progress"), Choice(192_350_003, "Registered"),
                    Choice(192_350_004, "Error"),
                ])),
            Column("msdyn_registrationmessage", .text(lengthMax: 2000)),
            Column("msdyn_devicereportedproperties", .text(lengthMax: 8000)),
            Column("msdyn_devicesettings", .text(lengthMax: 8000)),
            Column("msdyn_tags", .text(lengthMax: 8000)),
            Column("msdyn_issimulated", .choice([Choice(192_350_000, "Yes"), Choice(192_350_001, "No")])),
            Column("msdyn_timezone", .whole(-1500...1500)),
            Column(
                "msdyn_lastcommandsent",
                .lookup(table: "msdyn_iotdevicecommand", navigation: "msdyn_LastCommandSent")),
            Column("msdyn_lastcommandsenttime", .instant),
        ],
        states: plainStates, statuses: plainStatuses)

    static let command = Table(
        "msdyn_iotdevicecommand", entitySet: "msdyn_iotdevicecommands", primaryName: "msdyn_name",
        columns: [
            Column("msdyn_name", .text(lengthMax: 100), level: .applicationRequired),
            Column("msdyn_message", .text(lengthMax: 8192)),
            Column("msdyn_deviceid", .text(lengthMax: 100)),
            Column("msdyn_device", .lookup(table: "msdyn_iotdevice", navigation: "msdyn_Device")),
            Column(
                "msdyn_customerasset", .lookup(table: "msdyn_customerasset", navigation: "msdyn_CustomerAsset")),
            Column(
                "msdyn_command", .lookup(table: "msdyn_iotdevicecommanddefinition", navigation: "msdyn_Command")),
            Column("msdyn_parentalert", .lookup(table: "msdyn_iotalert", navigation: "msdyn_ParentAlert")),
            Column(
                "msdyn_commandstatus",
                .choice([
                    Choice(192_350_000, "In Progress"), Choice(192_350_001, "Sent"), Choice(192_350_002, "Error"),
                ]), initial: .whole(192_350_000)),
            Column("msdyn_commandstatusreason", .text(lengthMax: 2000)),
            Column("msdyn_sendtoallconnecteddevices", .flag, initial: .flag(false)),
        ],
        states: plainStates, statuses: plainStatuses)

    private static let plainStates = [
        State(value: 0, label: "Active", defaultStatus: 1), State(value: 1, label: "Inactive", defaultStatus: 2),
    ]
    private static let plainStatuses = [
        Status(value: 1, label: "Active", state: 0), Status(value: 2, label: "Inactive", state: 1),
    ]
}
