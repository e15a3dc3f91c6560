import ArgumentParser
import JSON

extension DeviceCommand {
    struct Events: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows why a device was refused, disconnected, throttled or quarantined, oldest first.",
            discussion:
                "Ids that are not registered are shown as well. Where it says so, anybody may have used the name."
                + " The hub keeps the newest in memory; its log has all.")
        @OptionGroup var common: CommonOptions
        @Argument(help: "The device's id; without it everybody's.")
        var id: String?
        @Flag(help: "Go on with what happens from now on.")
        var follow = false
        @Flag(help: "Print one JSON object a line.")
        var json = false

        func run() async throws {
            var arguments: JSONObject = ["follow": .bool(follow)]
            if let id { arguments["id"] = .string(id) }
            try await HubCall(directory: common.directory).stream("device.events", arguments) { event in
                StandardStream.output(json ? event.text : Self.line(event))
                return true
            }
        }

        private static func line(_ event: JSONValue) -> String {
            let text = { (name: String) in event[name]?.stringValue ?? "" }
            let times = event["times"]?.int64Value ?? 1
            var address = text("address").isEmpty ? "" : " from \(text("address"))"
            if event["proven"]?.boolValue == false { address += ", who did not prove who it is" }
            let repeats = times > 1 ? " (\(times) times)" : ""
            let line = "\(text("time"))  \(text("device"))  \(text("kind"))\(address)\(repeats): \(text("reason"))"
            return String(line.map { $0.isNewline ? " " : $0 })
        }
    }
}
