import Foundation

/// A real mosquitto without TLS on a free loopback port: the plant's local broker.
public final class LocalBroker {
    public let port: UInt16
    private let folder: TemporaryFolder
    private var process: ChildProcess?

    /// - Parameters:
    ///   - isStarted: false to have only the port, for a broker that comes later.
    ///   - settings: more lines of mosquitto.conf.
    public init(isStarted: Bool = true, settings: [String] = ["allow_anonymous true"]) throws {
        port = try FreePort.next()
        folder = try TemporaryFolder("broker")
        var lines = ["listener \(port) 127.0.0.1", "persistence true", "persistence_location \(folder.path)/"]
        lines += ["max_queued_messages 0"]
        if geteuid() == 0 { lines.append("user root") }
        try (lines + settings).joined(separator: "\n").appending("\n")
            .write(toFile: folder.file("mosquitto.conf"), atomically: true, encoding: .utf8)
        if isStarted { try start() }
    }

    deinit { stop() }

    /// Returns when it takes connections.
    public func start() throws {
        process = try ChildProcess(try Self.program("mosquitto"), ["-c", folder.file("mosquitto.conf")])
        let port = port
        try waitUntil("the broker takes connections") { FreePort.isListening(port) }
    }

    /// SIGTERM: it writes its sessions and ends.
    public func stop() {
        process?.end()
        process = nil
    }

    /// Publishes by `mosquitto_pub`, QoS 1, and returns when the broker has confirmed it.
    public func publish(_ topic: String, _ payload: String, options: [String] = []) throws {
        try run("mosquitto_pub", ["-q", "1", "-t", topic, "-m", payload] + options)
    }

    /// Publishes one message a line, QoS 1, over one connection.
    public func publish(_ topic: String, lines: [String]) throws {
        let file = folder.file("lines-\(UUID().uuidString)")
        try lines.joined(separator: "\n").appending("\n").write(toFile: file, atomically: true, encoding: .utf8)
        let options = ["-h", "127.0.0.1", "-p", "\(port)", "-q", "1", "-t", topic, "-l"]
        let process = try ChildProcess(try Self.program("mosquitto_pub"), options, input: file)
        guard process.wait() == 0 else { throw FieldKitError("mosquitto_pub failed") }
    }

    /// Makes a session that collects what is published on a filter from now on.
    public func collect(_ filter: String, as session: String) throws {
        try run("mosquitto_sub", ["-c", "-i", session, "-q", "1", "-t", filter, "-E"])
    }

    /// What a session has collected, waiting up to ten seconds for `count` messages: "topic payload" a line.
    public func collected(_ filter: String, as session: String, count: Int) throws -> [String] {
        let options = ["-c", "-i", session, "-q", "1", "-t", filter, "-C", "\(count)", "-W", "10", "-F", "%t %p"]
        return try run("mosquitto_sub", options).split(separator: "\n").map(String.init)
    }

    @discardableResult
    private func run(_ name: String, _ arguments: [String]) throws -> String {
        let output = folder.file("output-\(UUID().uuidString)")
        let options = ["-h", "127.0.0.1", "-p", "\(port)"] + arguments
        try ChildProcess(try Self.program(name), options, output: output).wait()
        return try String(contentsOfFile: output, encoding: .utf8)
    }

    /// `make tools` unpacks the broker below .build; a machine may also have it installed.
    private static func program(_ name: String) throws -> String {
        let root = FileManager.default.currentDirectoryPath
        let folders = ["\(root)/.build/tools/mosquitto/usr/sbin", "/usr/sbin", "/usr/bin", "/usr/local/bin"]
        for folder in folders where FileManager.default.isExecutableFile(atPath: "\(folder)/\(name)") {
            return "\(folder)/\(name)"
        }
        throw FieldKitError("\(name) is not there: run Tests/Support/setup build and Tests/Support/tools")
    }
}
