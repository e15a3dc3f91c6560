import ArgumentParser
import JSON

extension DeviceCommand {
    struct Gaps: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows which records of gateways are missing, and what the gateways said when asked for them.",
            discussion: """
                A record is missing when later ones came and the gateway did not declare that it dropped it. The hub asks \
                the gateway to send it again as soon as it is there.
                """)
        @OptionGroup var common: CommonOptions
        @Argument(help: "The gateway's id; without it everybody's.")
        var id: String?
        @Option(help: "How to print it.")
        var output = OutputFormat.table

        func run() async throws {
            let arguments: JSONObject = id.map { ["id": .string($0)] } ?? JSONObject()
            let rows = try await HubCall(directory: common.directory).result("device.gaps", arguments)
            Printer(format: output).list(
                rows, columns: ["gateway", "epoch", "missing", "sequences", "since", "asked", "answer"])
        }
    }
}
