import ArgumentParser
import Glibc
import JSON
import Primitives

/// `cloud-hub connection-string`
struct ConnectionStringCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "connection-string",
        abstract: "Prints one connection string: of a policy for services, or of a device.",
        discussion: "The string holds a key. A warning, if there is one, goes to standard error.")
    @OptionGroup var common: CommonOptions
    @Option(help: ArgumentHelp("The shared access policy (default: iothubowner).", valueName: "name"))
    var policy: String?
    @Option(help: ArgumentHelp("The device.", valueName: "id"))
    var device: String?
    @Option(help: ArgumentHelp("A module of the device.", valueName: "id"))
    var module: String?

    func validate() throws {
        if policy != nil, device != nil { throw ValidationError("Give --policy or --device, not both.") }
        if module != nil, device == nil { throw ValidationError("--module needs --device.") }
    }

    func run() async throws {
        var arguments = JSONObject()
        if let policy { arguments["policy"] = .string(policy) }
        if let device { arguments["device"] = .string(device) }
        if let module { arguments["module"] = .string(module) }
        let answer = try await HubCall(directory: common.directory).result("connection-string", arguments)
        if let warning = answer["warning"]?.stringValue { StandardStream.error("cloud-hub: warning: \(warning)") }
        StandardStream.output(answer["text"]?.stringValue ?? "")
    }
}

/// `cloud-hub monitor`
struct MonitorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "monitor", abstract: "Prints events as the hub stores them: one JSON object a line.")
    @OptionGroup var common: CommonOptions
    @Argument(help: "Only this device's events.")
    var id: String?
    @Flag(help: "Begin with the oldest event that is kept, not with the next one.")
    var fromStart = false
    @Flag(help: "End when there is nothing more to read.")
    var noFollow = false

    func run() async throws {
        var arguments: JSONObject = ["fromStart": .bool(fromStart), "noFollow": .bool(noFollow)]
        if let id { arguments["id"] = .string(id) }
        try await HubCall(directory: common.directory).stream("monitor", arguments) { event in
            StandardStream.output(event.text)
            return true
        }
    }
}

/// `cloud-hub sign-in`
struct SignInCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sign-in", abstract: "Prints a link that opens the pages once, within fifteen minutes.")
    @OptionGroup var common: CommonOptions
    @Option(
        help: ArgumentHelp("The name that stands in the audit for what is done after signing in.", valueName: "name"))
    var user = "operator"

    func validate() throws {
        guard (1...100).contains(user.count) else {
            throw ValidationError("--user has \(user.count) characters; it must have 1 to 100.")
        }
    }

    func run() async throws {
        let link = try await HubCall(directory: common.directory).result("sign-in", ["user": .string(user)])
        StandardStream.output(link.stringValue ?? "")
    }
}

/// `cloud-hub fault`
struct FaultCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fault", abstract: "What rules found.", subcommands: [List.self, DeadLetters.self, Retry.self])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lists the open faults, newest first.")
        @OptionGroup var common: CommonOptions
        @Option(help: "How to print it.")
        var output = OutputFormat.table

        func run() async throws {
            let rows = try await HubCall(directory: common.directory).result("fault.list")
            Printer(format: output).list(
                rows, columns: ["id", "device", "rule", "severity", "state", "opened", "message"])
        }
    }
}

extension FaultCommand {
    struct DeadLetters: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lists the alerts that the service desk refused, with its words.")
        @OptionGroup var common: CommonOptions
        @Option(help: "How to print it.")
        var output = OutputFormat.table

        func run() async throws {
            let rows = try await HubCall(directory: common.directory).result("fault.dead-letters")
            Printer(format: output).list(rows, columns: ["number", "fault", "what", "error"])
        }
    }

    struct Retry: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Offers refused alerts to the service desk again, after their cause was mended.")
        @OptionGroup var common: CommonOptions
        @Argument(help: "The number of one; without it all are tried again.")
        var number: Int?

        func run() async throws {
            let arguments: JSONObject = number.map { ["number": .string(String($0))] } ?? JSONObject()
            let said = try await HubCall(directory: common.directory).result("fault.retry", arguments)
            StandardStream.output(said.stringValue ?? "")
        }
    }
}

/// `cloud-hub rule`
struct RuleCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rule", abstract: "The rules that run on the hub.", subcommands: [List.self])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lists the rules of the running hub.")
        @OptionGroup var common: CommonOptions
        @Option(help: "How to print it.")
        var output = OutputFormat.table

        func run() async throws {
            let rows = try await HubCall(directory: common.directory).result("rule.list")
            Printer(format: output).list(rows, columns: ["name", "device", "metric", "when", "for", "severity"])
        }
    }
}
