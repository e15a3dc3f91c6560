import ArgumentParser
import JSON

extension DeviceCommand {
    struct Gaps: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows which records of gateways are missing or lost, and what the gateways said of them.",
            discussion: """
                A record is missing when later ones came and the gateway did not declare that it dropped it. The hub asks \
                the gateway to send it again as soon as it is there. A record is lost when the gateway has declared that it \
                never comes: it was dropped at the outbox's quota, its time to live was over, or it was not kept any more \
                when it was asked for.
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
                rows, columns: ["gateway", "epoch", "missing", "sequences", "since", "asked", "answer", "lost"])
        }
    }
}
