import ArgumentParser
import Glibc
import JSON
import Primitives

/// `cloud-hub backup`
struct BackupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup", abstract: "Copies everything the hub has into a new directory, while it runs.",
        discussion:
            "The copy holds keys: keep it as safe as the data directory itself. Files that devices uploaded are second "
            + "names of the hub's own files when the copy is on the same disk. Files in an S3 bucket or an Azure account "
            + "stay there and are not copied.")
    @OptionGroup var common: CommonOptions
    @Option(help: ArgumentHelp("The directory to make; it must not exist.", valueName: "dir"))
    var to: String
    @Flag(
        help: "Leave out the files that devices uploaded; a hub that starts from such a copy takes them off its list.")
    var withoutFiles = false

    func run() async throws {
        let target = AbsolutePath.of(to)
        let result = try await HubCall(directory: common.directory).result(
            "backup", ["to": .string(target), "files": .string(withoutFiles ? "no" : "yes")])
        StandardStream.output("backed up to \(target)")
        guard let elsewhere = result["elsewhere"]?.stringValue, !elsewhere.isEmpty else { return }
        StandardStream.output("uploaded files are in \(elsewhere); they are not copied")
    }
}

/// `cloud-hub restore`
struct RestoreCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore", abstract: "Puts a backup into a data directory that does not exist or is empty.")
    @OptionGroup var common: CommonOptions
    @Option(help: ArgumentHelp("The directory that backup made.", valueName: "dir"))
    var from: String

    func run() throws {
        try BackupFiles.restore(from: DataDirectory(path: AbsolutePath.of(from)), to: common.directory)
        StandardStream.output("restored \(common.directory.path); start it with: cloud-hub serve --data \(common.data)")
    }
}

enum AbsolutePath {
    /// The path below the current directory when it is relative: the hub's own current directory is another.
    static func of(_ path: String) -> String {
        guard !path.hasPrefix("/"), let current = getcwd(nil, 0) else { return path }
        defer { free(current) }
        return String(cString: current) + "/" + path
    }
}
