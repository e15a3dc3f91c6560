import ArgumentParser
import JSON

/// `cloud-hub trace`
struct TraceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trace",
        abstract: "Follows one record by its sequence number from a gateway's outbox to the row in the CRM.",
        discussion: """
            A record is named by its gateway, the epoch of the gateway's outbox and its sequence number. Every event of \
            a gateway shows both: cloud-hub monitor GATEWAY.
            """)
    @OptionGroup var common: CommonOptions
    @Argument(help: "The gateway's id.")
    var gateway: String
    @Argument(help: "The sequence number, from 1 on.")
    var sequence: String
    @Option(help: "The epoch, 16 hexadecimal digits; left out, that of the outbox which sent last.")
    var epoch: String?
    @Option(help: "How to print it.")
    var output = OutputFormat.table

    func run() async throws {
        var arguments: JSONObject = ["gateway": .string(gateway), "sequence": .string(sequence)]
        if let epoch { arguments["epoch"] = .string(epoch) }
        let trace = try await HubCall(directory: common.directory).result("trace", arguments)
        switch output {
        case .json: StandardStream.output(trace.text)
        case .table: for line in TraceLines(trace).lines { StandardStream.output(line) }
        }
    }
}

/// A trace for people: one line a station, in the order of the way.
struct TraceLines {
    private(set) var lines: [String] = []

    init(_ trace: JSONValue) {
        add("gateway", "\(text(trace, "gateway")), epoch \(text(trace, "epoch")), sequence \(text(trace, "sequence"))")
        if let record = trace["record"] { add("record", Self.record(record)) }
        switch text(trace, "state") {
        case "stored":
            add(
                "hub",
                "stored \(text(trace, "enqueued")), partition \(trace["partition"]?.text ?? ""), "
                    + "offset \(text(trace, "offset"))")
        case let state: add("hub", "\(state): \(text(trace, "reason"))")
        }
        let faults = trace["faults"]?.arrayValue ?? []
        if faults.isEmpty, trace["record"] != nil { add("fault", "none began with it") }
        for fault in faults { add(fault: fault) }
    }

    private mutating func add(fault: JSONValue) {
        add(
            "fault",
            "\(text(fault, "id")) \(text(fault, "state")): \(text(fault, "rule")) on \(text(fault, "device")), "
                + text(fault, "message"))
        for row in fault["waiting"]?.arrayValue ?? [] {
            let error = text(row, "error").isEmpty ? "" : ": \(text(row, "error"))"
            let when =
                row["refused"]?.boolValue == true
                ? "refused by the CRM; retry with: cloud-hub fault retry" : "due \(text(row, "due"))"
            add("queue", "\(text(row, "what")) waits, \(when), attempts \(row["attempts"]?.text ?? "0")\(error)")
        }
        guard let alert = fault["alert"] else { return }
        switch text(alert, "state") {
        case "absent", "unknown": add("CRM", text(alert, "reason"))
        case let state:
            add("CRM", "\(text(alert, "row")) \(state)")
            if let row = alert["case"]?.stringValue { add("CRM", row) }
            if let row = alert["workOrder"]?.stringValue { add("CRM", row) }
        }
    }

    private static func record(_ record: JSONValue) -> String {
        let text = { (name: String) in record[name]?.stringValue ?? "" }
        guard record["fault"] == nil else {
            return "fault \(text("fault")) \(text("state")): \(text("rule")) on \(text("device")) at \(text("time"))"
        }
        let unit = text("unit").isEmpty ? "" : " \(text("unit"))"
        return "\(text("device")) \(text("metric")) = \(text("value"))\(unit) at \(text("time"))"
            + " (quality \(text("quality")), clock \(text("clock")))"
    }

    private func text(_ value: JSONValue, _ name: String) -> String { value[name]?.stringValue ?? "" }

    private mutating func add(_ station: String, _ text: String) {
        let padded = station + String(repeating: " ", count: max(0, 9 - station.count))
        lines.append(padded + String(text.map { $0.isNewline ? " " : $0 }))
    }
}
