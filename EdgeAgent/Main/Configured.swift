import AgentConfig
import ConfigText
import Connectivity
import Glibc
import HubContract
import HubTransport
import LocalMQTT
import Pipeline
import Primitives
import RuleSets
import Uplink

/// The configuration with the files it names read: everything that can be known to be wrong before anything starts.
struct Configured {
    var config: AgentConfig
    let uplink: UplinkSettings
    /// Files with secrets that every user of this machine can read, by the key that names them.
    let openFiles: [(key: String, path: String)]

    /// Reads and checks everything; on problems it prints them all.
    static func load(_ path: String) throws(ExitStatus) -> Configured {
        let text: String
        do throws(FileProblem) {
            text = try TextFile.read(path)
        } catch {
            Terminal.error("edge-agent: the configuration cannot be read: \(error)")
            throw .failed
        }
        let config: AgentConfig
        do throws(ConfigError) {
            config = try AgentConfig(toml: text)
        } catch {
            for problem in error.problems { Terminal.error("\(path): \(problem)") }
            throw .failed
        }
        var problems: [String] = []
        let loaded = Configured(config, &problems)
        guard let loaded, problems.isEmpty else {
            for problem in problems { Terminal.error("\(path): \(problem)") }
            throw .failed
        }
        return loaded
    }

    private init?(_ config: AgentConfig, _ problems: inout [String]) {
        self.config = config
        for index in config.brokers.indices {
            guard let file = config.brokers[index].passwordFile else { continue }
            do throws(FileProblem) {
                self.config.brokers[index].mqtt.password = Secret(Array(try TextFile.firstLine(file).utf8))
            } catch {
                problems.append("mqtt[\(index + 1)].password_file: \(error)")
            }
        }
        problems += SystemZones.problems(config.rules.map(\.rule))
        openFiles = Self.secretFiles(config).filter { TextFile.isOpenToOthers($0.path) }
        guard var settings = Self.uplink(config.hub, &problems) else { return nil }
        settings.shares = DrainOrder.Shares(
            livePercent: config.outbox.liveShare, backfillPercent: config.outbox.backfillShare)
        uplink = settings
    }

    private static func secretFiles(_ config: AgentConfig) -> [(key: String, path: String)] {
        var found: [(key: String, path: String)] = []
        switch config.hub.credentials {
        case .certificate(_, _, .file(let keyFile)): found.append(("hub.key_file", keyFile))
        case .certificate(_, _, .inTPM): break
        case .connectionStringFile(let file): found.append(("hub.connection_string_file", file))
        }
        if let file = config.hub.proxy?.passwordFile { found.append(("hub.proxy_password_file", file)) }
        for (index, broker) in config.brokers.enumerated() {
            if let file = broker.passwordFile { found.append(("mqtt[\(index + 1)].password_file", file)) }
        }
        return found
    }

    private static func uplink(_ hub: HubConnection, _ problems: inout [String]) -> UplinkSettings? {
        if let caFile = hub.caFile { checkReadable(caFile, "hub.ca_file", &problems) }
        guard let account = account(hub, &problems) else { return nil }
        var settings = UplinkSettings(
            hubHost: account.door, port: hub.port, gateway: account.gateway, credentials: account.credentials,
            caFile: hub.caFile)
        settings.accountHost = account.host
        if hub.transport == .webSocket { settings.inner = .webSocket(path: HubEndpoint.webSocketPath) }
        settings.httpsPort = hub.httpsPort
        settings.compresses = hub.compresses
        settings.bytesPerDay = hub.bytesPerDay.map { UInt64($0.bytes) }
        settings.atEndOfBudget = hub.sendsFaultsBeyondBudget ? .faultsOnly : .nothing
        settings.proxy = hub.proxy.map { proxy($0, &problems) }
        settings.keepAlive = hub.keepAlive
        settings.tokenLifetime = hub.tokenLifetime
        settings.inflightCountMax = hub.inflightBatches
        settings.link.backoff = Backoff(first: hub.reconnectFirst, most: hub.reconnectMost)
        return settings
    }

    private static func proxy(_ proxy: HubConnection.Proxy, _ problems: inout [String]) -> HubEndpoint.Proxy {
        var endpoint = HubEndpoint.Proxy(host: proxy.host, port: proxy.port)
        guard let user = proxy.user, let file = proxy.passwordFile else { return endpoint }
        do throws(FileProblem) {
            endpoint.login = Secret("\(user):\(try TextFile.firstLine(file))".utf8)
        } catch {
            problems.append("hub.proxy_password_file: \(error)")
        }
        return endpoint
    }

    private struct Account {
        let gateway: DeviceID
        let credentials: UplinkSettings.Credentials
        /// The hub's name.
        let host: String
        /// Where to connect, and the name that the certificate must have.
        let door: String
    }

    private static func account(_ hub: HubConnection, _ problems: inout [String]) -> Account? {
        switch hub.credentials {
        case .certificate(let device, let certificateFile, let key):
            checkReadable(certificateFile, "hub.certificate_file", &problems)
            let certificate = ClientCertificate(file: certificateFile, key: located(key, &problems))
            return Account(gateway: device, credentials: .certificate(certificate), host: hub.host, door: hub.host)
        case .connectionStringFile(let file):
            let key = "hub.connection_string_file"
            do throws(FileProblem) {
                let text = try TextFile.firstLine(file)
                do throws(ConnectionStringError) {
                    let string = try ConnectionString(parsing: text)
                    guard let device = string.deviceID, let secret = string.sharedAccessKey else {
                        problems.append("\(key): \(file) needs DeviceId and SharedAccessKey: take a device's string")
                        return nil
                    }
                    guard let door = door(of: string, in: hub) else {
                        problems.append(
                            "\(key): \(file) has a GatewayHostName, and hub.host is neither that nor HostName; make "
                                + "hub.host one of both, or take GatewayHostName out")
                        return nil
                    }
                    return Account(
                        gateway: device, credentials: .sharedAccessKey(secret),
                        host: HostName.withoutPort(string.hostName), door: door)
                } catch {
                    problems.append("\(key): \(file): \(error)")
                }
            } catch {
                problems.append("\(key): \(error)")
            }
            return nil
        }
    }

    /// GatewayHostName, as device SDKs have it; else what the configuration says. `nil` when those two disagree.
    private static func door(of string: ConnectionString, in hub: HubConnection) -> String? {
        guard let gateway = string.gatewayHostName else { return hub.host }
        guard HostName.same(hub.host, string.hostName) || HostName.same(hub.host, gateway) else { return nil }
        return HostName.withoutPort(gateway)
    }

    private static func located(_ key: HubConnection.Key, _ problems: inout [String]) -> ClientCertificate.Key {
        switch key {
        case .file(let file):
            checkReadable(file, "hub.key_file", &problems)
            return .file(file)
        case .inTPM(let name):
            if !name.hasPrefix("handle:") { checkReadable(name, "hub.key_file", &problems) }
            // The TPM's libraries write to standard error; what they mean is in our own log, once. No thread runs yet.
            setenv("TSS2_LOG", "all+none", 0)
            return .inProvider(name, provider: .tpm2)
        }
    }

    private static func checkReadable(_ path: String, _ key: String, _ problems: inout [String]) {
        guard access(path, R_OK) != 0 else { return }
        problems.append("\(key): \(FileProblem(path: path, reason: String(cString: strerror(errno))))")
    }
}

/// Why a file cannot be used.
struct FileProblem: Error, CustomStringConvertible {
    let path: String
    let reason: String
    var description: String { "\(path) cannot be read: \(reason)" }
}

enum TextFile {
    /// 1 MiB: nothing that the agent reads whole is larger.
    static let bytesMax = 1_048_576

    static func read(_ path: String, bytesMax: Int = bytesMax) throws(FileProblem) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw FileProblem(path: path, reason: String(cString: strerror(errno))) }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16_384)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            guard count >= 0 else { throw FileProblem(path: path, reason: String(cString: strerror(errno))) }
            if count == 0 { break }
            bytes += chunk[..<count]
            guard bytes.count <= bytesMax else {
                throw FileProblem(path: path, reason: "it is larger than \(bytesMax >> 20) MiB")
            }
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw FileProblem(path: path, reason: "it is not UTF-8 text")
        }
        return text
    }

    static func isOpenToOthers(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & 0o007 != 0
    }

    /// A secret or a connection string: the first line, which must not be empty.
    static func firstLine(_ path: String) throws(FileProblem) -> String {
        let line = try read(path).split(whereSeparator: \.isNewline).first.map(String.init) ?? ""
        guard !line.isEmpty else { throw FileProblem(path: path, reason: "it is empty") }
        return line
    }
}
