import AgentConfig
import ArgumentParser
import ConfigText
import Connectivity
import Glibc
import HubContract
import LocalMQTT
import Primitives
import Uplink

/// The configuration with the files it names read: everything that can be known to be wrong before anything starts.
struct Configured {
    var config: AgentConfig
    let uplink: UplinkSettings

    /// Reads and checks everything; on problems it prints them all and ends with status 1.
    static func load(_ path: String) throws -> Configured {
        let text: String
        do throws(FileProblem) {
            text = try TextFile.read(path)
        } catch {
            Terminal.error("edge-agent: the configuration cannot be read: \(error)")
            throw ExitCode(1)
        }
        do throws(ConfigError) {
            let config = try AgentConfig(toml: text)
            var problems: [String] = []
            let loaded = Configured(config, &problems)
            guard let loaded, problems.isEmpty else {
                for problem in problems { Terminal.error("\(path): \(problem)") }
                throw ExitCode(1)
            }
            return loaded
        } catch let error as ConfigError {
            Terminal.error("\(path): \(error)")
            throw ExitCode(1)
        }
    }

    private init?(_ config: AgentConfig, _ problems: inout [String]) {
        self.config = config
        for index in config.brokers.indices {
            guard let file = config.brokers[index].passwordFile else { continue }
            do throws(FileProblem) {
                self.config.brokers[index].mqtt.password = Secret(Array(try TextFile.firstLine(file).utf8))
            } catch {
                problems.append("mqtt[\(index)].password_file: \(error)")
            }
        }
        guard let settings = Self.uplink(config.hub, &problems) else { return nil }
        uplink = settings
    }

    private static func uplink(_ hub: HubConnection, _ problems: inout [String]) -> UplinkSettings? {
        guard let (gateway, credentials) = credentials(hub, &problems) else { return nil }
        if let caFile = hub.caFile { checkReadable(caFile, "hub.ca_file", &problems) }
        var settings = UplinkSettings(
            hubHost: hub.host, port: hub.port, gateway: gateway, credentials: credentials, caFile: hub.caFile)
        settings.keepAlive = hub.keepAlive
        settings.tokenLifetime = hub.tokenLifetime
        settings.inflightCountMax = hub.inflightBatches
        settings.link.backoff = Backoff(first: hub.reconnectFirst, most: hub.reconnectMost)
        return settings
    }

    private static func credentials(
        _ hub: HubConnection, _ problems: inout [String]
    ) -> (DeviceID, UplinkSettings.Credentials)? {
        switch hub.credentials {
        case .certificate(let device, let certificateFile, let keyFile):
            checkReadable(certificateFile, "hub.certificate_file", &problems)
            checkReadable(keyFile, "hub.key_file", &problems)
            return (device, .certificate(certificateFile: certificateFile, keyFile: keyFile))
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
                    guard HostName.same(string.hostName, hub.host) else {
                        problems.append(
                            "\(key): \(file) is for the hub \(string.hostName), but hub.host is \(hub.host); they must"
                                + " be the same")
                        return nil
                    }
                    return (device, .sharedAccessKey(secret))
                } catch {
                    problems.append("\(key): \(file): \(error)")
                }
            } catch {
                problems.append("\(key): \(error)")
            }
            return nil
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

    static func read(_ path: String) throws(FileProblem) -> String {
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
            guard bytes.count <= bytesMax else { throw FileProblem(path: path, reason: "it is larger than 1 MiB") }
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw FileProblem(path: path, reason: "it is not UTF-8 text")
        }
        return text
    }

    /// A secret or a connection string: the first line, which must not be empty.
    static func firstLine(_ path: String) throws(FileProblem) -> String {
        let line = try read(path).split(whereSeparator: \.isNewline).first.map(String.init) ?? ""
        guard !line.isEmpty else { throw FileProblem(path: path, reason: "it is empty") }
        return line
    }
}
