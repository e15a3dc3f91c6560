import ArgumentParser
import JSON

/// `cloud-hub module …`
struct ModuleCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "module", abstract: "The modules of a device: identities of their own inside it.",
        subcommands: [Create.self, List.self, Show.self, Delete.self])

    /// Which module.
    struct Name: ParsableArguments {
        @Argument(help: "The device's id.")
        var device: String
        @Argument(help: "The module's id, 1 to 128 characters.")
        var id: String

        var arguments: JSONObject { ["device": .string(device), "id": .string(id)] }
    }

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Registers a module and makes its keys.")
        @OptionGroup var common: CommonOptions
        @OptionGroup var name: Name
        @OptionGroup var proof: ProofOptions
        @Option(help: "How to print it.")
        var output = OutputFormat.table

        func run() async throws {
            let result = try await HubCall(directory: common.directory).result(
                "module.create", proof.added(to: name.arguments))
            Printer(format: output).one(result)
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lists the modules of a device.")
        @OptionGroup var common: CommonOptions
        @Argument(help: "The device's id.")
        var device: String
        @Option(help: "How to print it.")
        var output = OutputFormat.table

        func run() async throws {
            let rows = try await HubCall(directory: common.directory).result(
                "module.list", ["device": .string(device)])
            Printer(format: output).list(rows, columns: ["id", "authentication", "managedBy", "connected"])
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Shows a module.")
        @OptionGroup var common: CommonOptions
        @OptionGroup var name: Name
        @Option(help: "How to print it.")
        var output = OutputFormat.table

        func run() async throws {
            let module = try await HubCall(directory: common.directory).result("module.show", name.arguments)
            Printer(format: output).one(module)
        }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Takes a module away, with its twin, and cuts its connection.")
        @OptionGroup var common: CommonOptions
        @OptionGroup var name: Name

        func run() async throws {
            _ = try await HubCall(directory: common.directory).result("module.delete", name.arguments)
            StandardStream.output("deleted \(name.device)/\(name.id)")
        }
    }
}

/// How a new identity proves itself; keys when nothing is given.
struct ProofOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("SHA-1 or SHA-256 thumbprint of its own certificate, in place of keys.", valueName: "hex"))
    var thumbprint: String?
    @Option(
        help: ArgumentHelp(
            "A second thumbprint that is good as well, so that the certificate can be exchanged.", valueName: "hex"))
    var secondaryThumbprint: String?
    @Flag(
        help: ArgumentHelp(
            "Its certificate comes from an authority of the hub ('cloud-hub certificate'), in place of keys."))
    var byAuthority = false

    func validate() throws {
        if secondaryThumbprint != nil, thumbprint == nil {
            throw ValidationError("--secondary-thumbprint needs --thumbprint.")
        }
        if byAuthority, thumbprint != nil { throw ValidationError("Give --thumbprint or --by-authority, not both.") }
    }

    func added(to arguments: JSONObject) -> JSONObject {
        var arguments = arguments
        if let thumbprint { arguments["thumbprint"] = .string(thumbprint) }
        if let secondaryThumbprint { arguments["secondaryThumbprint"] = .string(secondaryThumbprint) }
        if byAuthority { arguments["byAuthority"] = true }
        return arguments
    }
}
