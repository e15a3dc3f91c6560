import Foundation

/// A real mosquitto on a free loopback port, with TLS; stopped with the value.
public final class TestBroker {
    public let port: Int
    public let folder: String
    /// `nil` without TLS.
    public let certificates: TestCertificates?
    public var caFile: String { certificates?.caFile ?? "" }
    private let configuration: String
    private var process: ChildProcess?

    /// - Parameters:
    ///   - certificate: which server certificate it shows.
    ///   - extra: more lines of configuration.
    public convenience init(
        certificate: String = TestCertificates.right, extra: String = "allow_anonymous true"
    ) throws {
        let certificates = try TestCertificates.shared.get()
        try self.init(
            certificates: certificates,
            lines: """
                cafile \(certificates.caFile)
                certfile \(certificates.certificate(certificate))
                keyfile \(certificates.key(certificate))
                \(extra)
                """)
    }

    /// A plant's local broker: no TLS, everybody may come.
    ///
    /// - Parameters:
    ///   - extra: more lines of configuration.
    ///   - isStarted: false to have only the port, for a broker that comes later.
    public static func plain(extra: String = "allow_anonymous true", isStarted: Bool = true) throws -> TestBroker {
        try TestBroker(certificates: nil, lines: extra, isStarted: isStarted)
    }

    private init(certificates: TestCertificates?, lines: String, isStarted: Bool = true) throws {
        self.certificates = certificates
        folder = try makeTemporaryFolder("broker")
        port = try freePort()
        configuration = """
            listener \(port) 127.0.0.1
            user root
            persistence true
            persistence_location \(folder)/
            max_queued_messages 0
            \(lines)

            """
        try configuration.write(toFile: folder + "/mosquitto.conf", atomically: true, encoding: .utf8)
        if isStarted { try start() }
    }

    deinit {
        kill()
        try? FileManager.default.removeItem(atPath: folder)
    }

    /// Starts it and waits until it accepts connections.
    public func start() throws {
        process = try ChildProcess(try program("mosquitto"), ["-c", folder + "/mosquitto.conf"])
        let port = port
        try waitUntil("mosquitto accepts connections") { canConnect(port: port) }
    }

    /// SIGTERM: it saves its sessions and ends.
    public func stop() { end(SIGTERM) }

    /// SIGKILL.
    public func kill() { end(SIGKILL) }

    private func end(_ signal: Int32) {
        process?.signal(signal)
        process?.waitUntilExit()
        process = nil
    }

    /// Runs one of mosquitto's own clients against this broker and returns what it printed.
    ///
    /// - Throws: when `mosquitto_pub` could not publish; `mosquitto_sub` may end because its time is up.
    @discardableResult
    public func client(_ name: String, _ arguments: [String], input: String = "/dev/null") throws -> String {
        let security = certificates.map { ["--cafile", $0.caFile] } ?? []
        let client = try ChildProcess(
            try program(name), ["-h", "localhost", "-p", "\(port)"] + security + arguments, input: input,
            keepsOutput: true)
        let text = client.outputText()
        let status = client.exitStatus()
        guard status == 0 || name != "mosquitto_pub" else {
            throw BrokerKitError("\(name) \(arguments.joined(separator: " ")) ended with status \(status)")
        }
        return text
    }

    /// Makes a session that collects what is published on a filter, also while nobody is connected.
    public func collect(_ filter: String, as session: String) throws {
        try client("mosquitto_sub", ["-c", "-i", session, "-q", "1", "-t", filter, "-E"])
    }

    /// The messages that a session has collected since the last time, waiting up to `seconds` for `count` of them.
    public func collected(as session: String, filter: String, count: Int, seconds: Int = 10) throws -> [String] {
        try client(
            "mosquitto_sub",
            [
                "-c", "-i", session, "-q", "1", "-t", filter, "-C", "\(count)", "-W", "\(seconds)", "-F", "%t %p",
            ]
        ).split(separator: "\n").map(String.init)
    }
}

private func program(_ name: String) throws -> String {
    let unpacked = FileManager.default.currentDirectoryPath + "/.build/tools/mosquitto/usr/sbin"
    for folder in [unpacked, "/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"] {
        let path = folder + "/" + name
        if FileManager.default.isExecutableFile(atPath: path) { return path }
    }
    throw BrokerKitError("\(name) is not there; run: make tools")
}

/// Polls for something that another process or thread does; a test that waits in vain says for what.
public func waitUntil(_ what: String, seconds: Double = 20, _ condition: () throws -> Bool) throws {
    let deadline = Date().addingTimeInterval(seconds)
    while try !condition() {
        guard Date() < deadline else { throw BrokerKitError("waited \(seconds) s in vain until \(what)") }
        usleep(5000)
    }
}

/// A loopback port that nothing listens on at the moment; not one of those that the system gives to outgoing connections,
/// which could have it before it is used.
public func freePort() throws -> Int {
    for _ in 0..<1000 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        let port = Int.random(in: 16_384..<32_768)
        var address = loopback(port: port)
        let status = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        if status == 0 { return port }
    }
    throw BrokerKitError("no free port")
}

private func canConnect(port: Int) -> Bool {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = loopback(port: port)
    return withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
        }
    }
}

private func loopback(port: Int) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(port).bigEndian
    address.sin_addr = in_addr(s_addr: UInt32(0x7F00_0001).bigEndian)
    return address
}
