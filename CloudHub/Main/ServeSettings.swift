import CRM
import Certificates
import ConfigText
import Devices
import HubClock
import HubConfig
import JSON
import Logging
import Primitives
import Rules
import SQLiteHubStore
import ServiceDesk
import Telemetry
import TimeZones

/// What `serve` was asked to do: the configuration file, with the command line's words over it.
struct ServeSettings: Sendable {
    static let defaultHTTPPort = 8088

    let directory: DataDirectory
    let hostname: String
    let config: HubConfig
    let mqtt: HostPort
    let https: HostPort
    let http: HostPort
    let withoutConnector: Bool

    static func read(_ command: ServeCommand) throws -> ServeSettings {
        let config = try configuration(command.config)
        let usesDefaultData = command.common.data == DataDirectory.defaultPath
        let directory = DataDirectory(path: usesDefaultData ? config.dataDirectory : command.common.data)
        let known = HubAddress.load(from: directory.address)?.hostname
        let http = try address(
            "--http", command.http, else: config.listeners.http ?? HostPort(host: "127.0.0.1", port: 0))
        guard http.isLoopback else {
            throw CommandFailure.wrongCall(
                "--http \(http): plain HTTP is served on a loopback address only, such as 127.0.0.1:8088; use --https for others"
            )
        }
        return ServeSettings(
            directory: directory, hostname: command.hostname ?? config.hostname ?? known ?? "localhost", config: config,
            mqtt: try address("--mqtt", command.mqtt, else: config.listeners.mqtt),
            https: try address("--https", command.https, else: config.listeners.https), http: http,
            withoutConnector: command.withoutConnector)
    }

    private static func configuration(_ path: String?) throws(CommandFailure) -> HubConfig {
        guard let path else { return HubConfig() }
        guard let bytes = PrivateFile.read(path) else {
            throw .wrongCall("the configuration file \(path) cannot be read; check its path and permissions")
        }
        let config: HubConfig
        do {
            config = try HubConfig(toml: String(decoding: bytes, as: UTF8.self))
        } catch {
            let count = error.problems.count
            throw .wrongCall("\(path) has \(count) problem\(count == 1 ? "" : "s"):\n\(error)")
        }
        for rule in config.rules {
            guard case .named(let zone)? = rule.schedule?.zone, let problem = SystemZones.files.problem(with: zone)
            else {
                continue
            }
            throw .wrongCall("\(path): rule \(rule.name): time_zone: \(problem)")
        }
        return config
    }

    private static func address(
        _ option: String, _ text: String?, else configured: HostPort
    ) throws(CommandFailure) -> HostPort {
        guard let text else { return configured }
        guard let address = HostPort(text) else {
            throw .wrongCall("\(option) \(text): expected HOST:PORT, such as 127.0.0.1:8883 or [::1]:443")
        }
        return address
    }

    var logLevel: Logger.Level { Logger.Level(rawValue: config.logLevel.rawValue) ?? .info }

    var logOptions: SQLiteEventLog.Options {
        var options = SQLiteEventLog.Options()
        options.partitionCount = config.eventLog.partitionCount
        options.ageMax = config.eventLog.retentionAge
        options.bytesMax = Int64(config.eventLog.retentionBytes.bytes)
        return options
    }

    var cloudToDevice: CloudToDeviceOptions {
        var options = CloudToDeviceOptions()
        options.timeToLive = config.cloudToDevice.timeToLive
        options.deliveriesMax = config.cloudToDevice.deliveriesMax
        options.lockTime = config.cloudToDevice.lockTime
        options.feedbackTime = config.cloudToDevice.feedbackTime
        return options
    }

    /// The stock command names and the configured ones.
    var commandLimits: CommandLimits {
        var names = CommandNames.stock
        for command in config.commands { names.methods[command.name.lowercased()] = command.method }
        return CommandLimits(timeLimit: config.commandTimeLimit, names: names)
    }

    /// The connector's way to the CRM: the configured one, or the embedded desk on the plain HTTP listener.
    func crm(embedded desk: DeskCredentials, httpPort: Int) throws(CommandFailure) -> DataverseConfiguration {
        guard let crm = config.crm else {
            let origin = "http://127.0.0.1:\(httpPort)"
            return DataverseConfiguration(
                baseURL: origin, tokenURL: "\(origin)/\(desk.tenant)/oauth2/v2.0/token", clientID: desk.clientID,
                clientSecret: desk.clientSecret)
        }
        return DataverseConfiguration(
            baseURL: crm.url, tokenURL: crm.tokenURL, clientID: crm.clientID,
            clientSecret: try secret(in: crm.clientSecretFile, key: "crm.client_secret_file"), scope: crm.scope)
    }

    /// The first line of a file that holds a secret.
    func secret(in path: String, key: String) throws(CommandFailure) -> Secret {
        try secretLines(in: path, key: key).first ?? Secret([])
    }

    /// The lines of a file that holds secrets, whichever way they end.
    func secretLines(in path: String, key: String) throws(CommandFailure) -> [Secret] {
        guard let bytes = PrivateFile.read(path) else {
            throw .failed("the secret's file \(path) (\(key)) cannot be read; check its path and permissions")
        }
        if FolderSafety.isOpenToOthers(path) {
            Logger(label: "hub").warning(
                "a secret can be read by every user of this machine; run chmod 600 on its file",
                metadata: ["key": "\(key)", "file": "\(path)"])
        }
        return bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).map { line in
            Secret(line.last == UInt8(ascii: "\r") ? line.dropLast() : line)
        }
    }

    /// The hub's rules as the command line shows them.
    var ruleTable: JSONValue {
        .array(
            config.rules.map { rule in
                let device: String
                switch rule.device {
                case .any: device = "*"
                case .one(let id): device = id.text
                }
                return [
                    "name": .string(rule.name), "device": .string(device), "metric": .string(rule.metric ?? "*"),
                    "when": .string(rule.condition.text), "for": .string(DurationText.format(rule.holdTime)),
                    "severity": .string(rule.severity.rawValue),
                ]
            })
    }
}
