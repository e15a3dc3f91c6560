import ArgumentParser
import JSON
import Primitives

/// `cloud-hub ruleset …`
struct RuleSetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ruleset", abstract: "Sets of rules for gateways.",
        discussion: """
            A set is a file with nothing but [[rule]], as in a gateway's own configuration, with the cases beside the rules. \
            It is checked whole and its cases are run before it is published; the gateway checks it again, runs it beside \
            its own rules from the next reading on, and keeps what ran before when it refuses it.
            """,
        subcommands: [Publish.self, List.self, Show.self, Assign.self, Withdraw.self])

    /// The gateways of a call.
    struct Gateways: ParsableArguments {
        @Option(help: ArgumentHelp("A gateway; may be given several times.", valueName: "id"))
        var gateway: [String] = []

        var argument: JSONValue { .array(gateway.map { .string($0) }) }
    }

    struct Publish: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Checks a set, publishes it, and has gateways run it.",
            discussion: "A version never changes; the same file may be published again under it, another may not.")
        @OptionGroup var common: CommonOptions
        @Argument(help: "The rules (TOML).")
        var file: String
        @Option(help: "Its name: 1 to 100 letters, digits, - _ or .")
        var version: String
        @OptionGroup var gateways: Gateways
        @Option(help: "How to print it.")
        var output = OutputFormat.table

        func run() async throws {
            let bytes = try GivenBytes.read(file)
            do {
                Printer(format: output).one(
                    try await HubCall(directory: common.directory).result(
                        "ruleset.publish",
                        [
                            "version": .string(version), "file": .string(Base64.encode(bytes)),
                            "gateways": gateways.argument,
                        ]))
            } catch let failure as CommandFailure {
                // A line for each problem, each with the file.
                let lines = failure.message.split(separator: "\n").map { "\(file): \($0)" }
                guard lines.count > 1 || failure.message.hasPrefix("line ") else { throw failure }
                throw CommandFailure(message: "not published\n" + lines.joined(separator: "\n"), status: failure.status)
            }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lists the sets, and which gateway runs which or why it refused it.")
        @OptionGroup var common: CommonOptions
        @Option(help: "How to print it.")
        var output = OutputFormat.table

        func run() async throws {
            let rows = try await HubCall(directory: common.directory).result("ruleset.list")
            Printer(format: output).list(
                rows, columns: ["version", "rules", "published", "gateway", "state", "since", "reason"])
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Prints the text of a set; with --output json everything that is known of it.")
        @OptionGroup var common: CommonOptions
        @Argument(help: "The version.")
        var version: String
        @Option(help: "How to print it.")
        var output = OutputFormat.table

        func run() async throws {
            let set = try await HubCall(directory: common.directory).result(
                "ruleset.show", ["version": .string(version)])
            guard output == .table else { return Printer(format: output).one(set) }
            StandardStream.output(set["text"]?.stringValue ?? "")
        }
    }

    struct Assign: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Has gateways run a set that is published.")
        @OptionGroup var common: CommonOptions
        @Argument(help: "The version.")
        var version: String
        @OptionGroup var gateways: Gateways

        func run() async throws {
            _ = try await HubCall(directory: common.directory).result(
                "ruleset.assign", ["version": .string(version), "gateways": gateways.argument])
            StandardStream.output("assigned \(version)")
        }
    }

    struct Withdraw: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Takes a set from gateways, which then run their own rules alone.",
            discussion: "Without --gateway it is taken from all, and deleted.")
        @OptionGroup var common: CommonOptions
        @Argument(help: "The version.")
        var version: String
        @OptionGroup var gateways: Gateways

        func run() async throws {
            _ = try await HubCall(directory: common.directory).result(
                "ruleset.withdraw", ["version": .string(version), "gateways": gateways.argument])
            StandardStream.output("withdrawn \(version)")
        }
    }
}
