import ArgumentParser
import Glibc
import JSON
import Primitives

/// `cloud-hub certificate …`
struct CertificateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "certificate", abstract: "The certificate authorities whose devices the hub lets in.",
        discussion: """
            An authority counts once its possession is proven: add it, ask for a code, sign a certificate whose common name is \
            the code with the authority's key, and verify that one. Then every device that was made with --by-authority and \
            has a certificate from it with its id as common name gets in (a module: device/module).
            """,
        subcommands: [
            Add.self, Code.self, Verify.self, List.self, Delete.self, RevokeList.self,
        ])

    /// An authority and a file.
    struct NameAndFile: ParsableArguments {
        @Argument(help: "The authority's name in this hub: 1 to 64 letters, digits and - . _")
        var name: String
        @Argument(help: "The file, in PEM or DER.")
        var file: String

        func arguments() throws -> JSONObject {
            ["name": .string(name), "file": .string(Base64.encode(try GivenBytes.read(file)))]
        }
    }

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Registers an authority by its certificate.")
        @OptionGroup var common: CommonOptions
        @OptionGroup var given: NameAndFile
        @Option(help: "How to print it.")
        var output = OutputFormat.table

        func run() async throws {
            Printer(format: output).one(
                try await HubCall(directory: common.directory).result("certificate.add", given.arguments()))
        }
    }

    struct Code: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Prints a new code for the proof of possession; the one before is no longer good.")
        @OptionGroup var common: CommonOptions
        @Argument(help: "The authority's name in this hub.")
        var name: String

        func run() async throws {
            let code = try await HubCall(directory: common.directory).result(
                "certificate.code", ["name": .string(name)])
            StandardStream.output(code.stringValue ?? "")
        }
    }

    struct Verify: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract:
                "Proves possession: takes a certificate signed by the authority, with the code as its common name.")
        @OptionGroup var common: CommonOptions
        @OptionGroup var given: NameAndFile
        @Option(help: "How to print it.")
        var output = OutputFormat.table

        func run() async throws {
            Printer(format: output).one(
                try await HubCall(directory: common.directory).result("certificate.verify", given.arguments()))
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lists the authorities.")
        @OptionGroup var common: CommonOptions
        @Option(help: "How to print it.")
        var output = OutputFormat.table

        func run() async throws {
            let rows = try await HubCall(directory: common.directory).result("certificate.list")
            Printer(format: output).list(
                rows, columns: ["name", "proven", "ends", "revoked", "listEnds", "thumbprint", "subject"])
        }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Takes an authority away and cuts the connections of its devices.")
        @OptionGroup var common: CommonOptions
        @Argument(help: "The authority's name in this hub.")
        var name: String

        func run() async throws {
            _ = try await HubCall(directory: common.directory).result("certificate.delete", ["name": .string(name)])
            StandardStream.output("deleted \(name)")
        }
    }

    struct RevokeList: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Gives the hub the authority's revocation list and cuts the connections of whoever is in it.")
        @OptionGroup var common: CommonOptions
        @OptionGroup var given: NameAndFile
        @Option(help: "How to print it.")
        var output = OutputFormat.table

        func run() async throws {
            let row = try await HubCall(directory: common.directory).result(
                "certificate.revoke-list", given.arguments())
            if let warning = row["warning"]?.stringValue { StandardStream.error("cloud-hub: warning: \(warning)") }
            Printer(format: output).one(row)
        }
    }
}

/// A file that the caller names.
enum GivenBytes {
    /// As the hub takes them.
    static let bytesMax = 5 << 20

    static func read(_ path: String) throws(CommandFailure) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure(path) }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw failure(path) }
            guard count > 0 else { return bytes }
            bytes += chunk.prefix(count)
            guard bytes.count <= bytesMax else {
                throw .wrongCall(
                    "the file \(path) is larger than \(bytesMax >> 20) MiB; it cannot be what is wanted here")
            }
        }
    }

    private static func failure(_ path: String) -> CommandFailure {
        .wrongCall("the file \(path) cannot be read: \(String(cString: strerror(errno)))")
    }
}
