public import Faults
public import JSON
public import Primitives
import Telemetry

/// A fault in the columns of `msdyn_iotalert`. Pure; what is too long for a column is cut here, on purpose.
///
/// Source: the table reference of `msdyn_iotalert`; the stock pipeline's alert message for the names in
/// `msdyn_alertdata`.
public enum AlertColumns {
    /// A fault that became known later than this after it began is marked as late.
    static let lateAfter = Duration.seconds(300)

    /// The columns of a new alert.
    ///
    /// - Parameters:
    ///   - device: the row to bind, when there is one.
    ///   - url: the alert's page on this hub, when there is one.
    public static func opened(
        _ fault: Fault, queuedAt: WallInstant, device: UniqueID?, url: String?
    ) -> JSONObject {
        let isLate = fault.openedAt.map { queuedAt - $0 > lateAfter } ?? false
        var columns = updated(fault)
        columns["msdyn_description"] = .string(((isLate ? "late: " : "") + title(fault)).cut(toUTF16: 100))
        columns["msdyn_alerttime"] = .string((fault.openedAt ?? queuedAt).description)
        columns["msdyn_alerttoken"] = .string(fault.id.description)
        columns["msdyn_alerttype"] = .number(JSONNumber(fault.severity == .info ? 192_350_001 : 192_350_000))
        columns["msdyn_deviceid"] = .string(fault.device.text.cut(toUTF16: 100))
        if let device { columns["msdyn_Device@odata.bind"] = .string("/msdyn_iotdevices(\(device))") }
        // A cut address leads nowhere: one that does not fit is left out.
        if let url, url.utf16.count <= 500 { columns["msdyn_alerturl"] = .string(url) }
        return columns
    }

    /// The columns that change while a fault is open.
    public static func updated(_ fault: Fault) -> JSONObject {
        [
            "msdyn_alertdata": .string(alertText(fault)),
            "msdyn_alertpriorityscore": .number(JSONNumber(score(fault.severity))),
            "msdyn_suggestedpriority": .number(JSONNumber(priority(fault.severity))),
        ]
    }

    /// The columns of an alert whose fault is over.
    public static func cleared(_ fault: Fault) -> JSONObject {
        ["statecode": 3, "statuscode": 6, "msdyn_alertdata": .string(alertText(fault))]
    }

    private static func title(_ fault: Fault) -> String {
        fault.message.isEmpty ? "\(fault.rule) on \(fault.device.text)" : fault.message
    }

    /// The stock pipeline's lower-case members first, then ours. At most 8192 UTF-16 code units: long texts go.
    private static func alertText(_ fault: Fault) -> String {
        var members: JSONObject = [
            "deviceid": .string(fault.device.text), "readingtype": .string(fault.metric ?? ""),
            "reading": value(fault.value), "eventtoken": .string(fault.id.description),
            "threshold": .string(fault.limit ?? ""), "ruleoutput": .string(fault.rule),
            "time": .string((fault.openedAt ?? fault.clearedAt ?? WallInstant(milliseconds: 0)).description),
            "severity": .string(fault.severity.rawValue), "origin": .string(fault.origin.rawValue),
            "repeats": .number(JSONNumber(Int64(fault.repeats))), "clock": .string(fault.clock.rawValue),
        ]
        if let clearedAt = fault.clearedAt { members["clearedtime"] = .string(clearedAt.description) }
        members["message"] = .string(fault.message)
        for optional in ["message", "reading", "ruleoutput"] {
            let text = JSONValue.object(members).text
            if text.utf16.count <= 8192 { return text }
            members[optional] = .null
        }
        return String(JSONValue.object(["eventtoken": .string(fault.id.description)]).text)
    }

    private static func value(_ value: ReadingValue?) -> JSONValue {
        switch value {
        case .number(let number): JSONNumber(text: number.text).map(JSONValue.number) ?? .string(number.text)
        case .text(let text): .string(text)
        case .boolean(let flag): .bool(flag)
        case nil: .null
        }
    }

    private static func score(_ severity: Severity) -> Int64 {
        switch severity {
        case .info: 20
        case .warning: 60
        case .critical: 90
        }
    }

    /// `msdyn_suggestedpriority`: High, No Suggestions, Low.
    private static func priority(_ severity: Severity) -> Int64 {
        switch severity {
        case .info: 192_350_002
        case .warning: 192_350_003
        case .critical: 192_350_001
        }
    }
}
