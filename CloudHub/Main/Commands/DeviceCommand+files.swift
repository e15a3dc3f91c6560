import ArgumentParser
import JSON

extension DeviceCommand {
    struct Files: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lists the files that devices uploaded, newest first.",
            discussion:
                "They are kept as long as files.retention_age says, in the data directory or in a bucket. Files in an Azure "
                + "account are not listed.")
        @OptionGroup var common: CommonOptions
        @Argument(help: "Only this device's.")
        var id: String?
        @Option(help: "How to print it.")
        var output = OutputFormat.table

        func run() async throws {
            var arguments = JSONObject()
            if let id { arguments["id"] = .string(id) }
            let rows = try await HubCall(directory: common.directory).result("device.files", arguments)
            Printer(format: output).list(rows, columns: ["time", "device", "bytes", "name"])
        }
    }

    struct FileLink: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Prints an address to fetch a file from, good for an hour.",
            discussion:
                "Whoever has the address can read the file: curl --cacert ca.pem -o FILE "
                + "\"$(cloud-hub device file-link ID NAME)\""
        )
        @OptionGroup var common: CommonOptions
        @Argument(help: "The device's id.")
        var id: String
        @Argument(help: "The file's name.")
        var name: String

        func run() async throws {
            let link = try await HubCall(directory: common.directory).result(
                "device.file-link", ["id": .string(id), "name": .string(name)])
            StandardStream.output(link.stringValue ?? "")
        }
    }

    struct DeleteFile: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Removes a file that a device uploaded.")
        @OptionGroup var common: CommonOptions
        @Argument(help: "The device's id.")
        var id: String
        @Argument(help: "The file's name.")
        var name: String

        func run() async throws {
            _ = try await HubCall(directory: common.directory).result(
                "device.delete-file", ["id": .string(id), "name": .string(name)])
            StandardStream.output("deleted \(name)")
        }
    }
}
