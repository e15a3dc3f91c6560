import ArgumentParser
import JSON
import Primitives

/// `cloud-hub device …`
struct DeviceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "device", abstract: "The devices of the hub.",
        subcommands: [
            Create.self, List.self, Show.self, Delete.self, Send.self, Queue.self, Feedback.self,
            Files.self, FileLink.self, DeleteFile.self,
            Events.self, Gaps.self,
        ])

    private static let columns = ["id", "status", "authentication", "gateway", "parent", "connected"]

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Registers a device and makes its keys.")
        @OptionGroup var common: CommonOptions
        @Argument(help: "The device's id, 1 to 128 characters.")
        var id: String
        @Flag(help: "The device is a gateway and speaks for its children.")
        var gateway = false
        @Option(help: ArgumentHelp("The gateway that speaks for this device.", valueName: "id"))
        var parent: String?
        @OptionGroup var proof: ProofOptions
        @Option(help: "How to print it.")
        var output = OutputFormat.table

        func validate() throws {
            if gateway, parent != nil { throw ValidationError("A gateway has no parent: give --gateway or --parent.") }
        }

        func run() async throws {
            var arguments: JSONObject = ["id": .string(id), "gateway": .bool(gateway)]
            if let parent { arguments["parent"] = .string(parent) }
            Printer(format: output).one(
                try await HubCall(directory: common.directory).result("device.create", proof.added(to: arguments)))
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lists the devices.")
        @OptionGroup var common: CommonOptions
        @Option(help: "How to print it.")
        var output = OutputFormat.table

        func run() async throws {
            let rows = try await HubCall(directory: common.directory).result("device.list")
            Printer(format: output).list(rows, columns: DeviceCommand.columns)
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows a device; with a running hub also its newest values.")
        @OptionGroup var common: CommonOptions
        @Argument(help: "The device's id.")
        var id: String
        @Option(help: "How to print it.")
        var output = OutputFormat.table

        func run() async throws {
            let device = try await HubCall(directory: common.directory).result("device.show", ["id": .string(id)])
            Printer(format: output).one(device)
        }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Takes a device away, with its twin and waiting messages, and cuts its connection.")
        @OptionGroup var common: CommonOptions
        @Argument(help: "The device's id.")
        var id: String

        func run() async throws {
            _ = try await HubCall(directory: common.directory).result("device.delete", ["id": .string(id)])
            StandardStream.output("deleted \(id)")
        }
    }
}
