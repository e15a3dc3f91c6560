import ArgumentParser
import Devices
import JSON
import Primitives

/// A time to live as people write it: `90s`, `1h30m`, `2d`.
struct TimeToLive: ExpressibleByArgument {
    let duration: Duration

    init?(argument: String) {
        guard let duration = DurationText.parse(argument) else { return nil }
        self.duration = duration
    }
}

/// `C2DAck` as an option; the type itself belongs to a room that knows no command line.
enum AckOption: String, ExpressibleByArgument, CaseIterable { case none, positive, negative, full }

extension DeviceCommand {
    struct Send: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Queues a cloud-to-device message; it waits for the device until it expires.",
            discussion: "System properties have names that begin with $. as in --property '$.ct=application/json'.")
        @OptionGroup var common: CommonOptions
        @Argument(help: "The device's id.")
        var id: String
        @Argument(help: "The message's text.")
        var text: String?
        @Option(help: ArgumentHelp("A file with the message's bytes, in place of a text.", valueName: "path"))
        var file: String?
        @Option(help: ArgumentHelp("A property; may be given often.", valueName: "name=value"))
        var property: [String] = []
        @Option(help: ArgumentHelp("The message id; made when left out.", valueName: "id"))
        var messageID: String?
        @Option(help: ArgumentHelp("The id of what this answers.", valueName: "id"))
        var correlationID: String?
        @Option(
            help: ArgumentHelp(
                "When it expires from now, 1s to 2d, such as 90s or 1h30m (default: the hub's own time to live).",
                valueName: "duration"))
        var expires: TimeToLive?
        @Option(help: "Which ends are kept for 'cloud-hub device feedback' and services.")
        var ack = AckOption.none

        func validate() throws {
            if text == nil, file == nil { throw ValidationError("Give the message's text, or --file.") }
            if text != nil, file != nil { throw ValidationError("Give the message's text or --file, not both.") }
            if let expires, !(.seconds(1)...DeviceHub.timeToLiveMax).contains(expires.duration) {
                throw ValidationError("--expires is \(DurationText.format(expires.duration)); it must be 1s to 2d.")
            }
        }

        func run() async throws {
            var arguments: JSONObject = [
                "id": .string(id), "body": .string(Base64.encode(try bytes())), "ack": .string(ack.rawValue),
                "properties": .array(property.map(JSONValue.string)),
            ]
            if let messageID { arguments["messageID"] = .string(messageID) }
            if let correlationID { arguments["correlationID"] = .string(correlationID) }
            if let expires { arguments["seconds"] = .number(JSONNumber(expires.duration.components.seconds)) }
            Printer(format: .table).one(
                try await HubCall(directory: common.directory).result("device.send", arguments))
        }

        private func bytes() throws -> [UInt8] {
            guard let file else { return Array((text ?? "").utf8) }
            guard let bytes = PrivateFile.read(file), bytes.count <= DeviceHub.cloudToDeviceBytesMax else {
                throw CommandFailure.wrongCall(
                    "the file \(file) cannot be read or has more than \(DeviceHub.cloudToDeviceBytesMax) bytes")
            }
            return bytes
        }
    }

    struct Queue: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows the messages that wait for a device, oldest first.",
            discussion: "'invisible' is what the device has in hand and has not acknowledged.")
        @OptionGroup var common: CommonOptions
        @Argument(help: "The device's id.")
        var id: String
        @Option(help: "How to print it.")
        var output = OutputFormat.table

        func run() async throws {
            let rows = try await HubCall(directory: common.directory).result("device.queue", ["id": .string(id)])
            Printer(format: output).list(
                rows, columns: ["message", "sequence", "state", "deliveries", "expires", "bytes"])
        }
    }

    struct Feedback: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows how messages ended that were sent with --ack, newest first.",
            discussion: "Records stay for services until they read them, at most two days and 10,000 in all.")
        @OptionGroup var common: CommonOptions
        @Argument(help: "Only this device's.")
        var id: String?
        @Option(help: "How to print it.")
        var output = OutputFormat.table

        func run() async throws {
            var arguments = JSONObject()
            if let id { arguments["id"] = .string(id) }
            let rows = try await HubCall(directory: common.directory).result("device.feedback", arguments)
            Printer(format: output).list(rows, columns: ["time", "device", "message", "status"])
        }
    }
}
