public import ConfigText
import Primitives
import Rules
import Throttles

extension HubConfig {
    private static let day = Duration.seconds(86_400)

    /// Reads a configuration file's text. Looks at no file and no network.
    ///
    /// - Throws: every problem at once, unknown keys among them.
    public init(toml text: String) throws(ConfigError) {
        self.init()
        let root = try ConfigSection(toml: text)
        dataDirectory = root.parsed("data", default: dataDirectory, expected: "an absolute path") {
            $0.hasPrefix("/") ? $0 : nil
        }
        hostname = root.optional("hostname", expected: "a host name or IP address without port") {
            Self.isHostname($0) ? $0 : nil
        }
        logLevel = root.parsed(
            "log_level", default: logLevel,
            expected: "one of " + LogLevel.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
        ) { LogLevel(rawValue: $0) }
        listeners = Self.listeners(root.section("listeners"))
        limits = Self.limits(root.section("limits"))
        eventLog = Self.eventLog(root.section("event_log"))
        cloudToDevice = Self.cloudToDevice(root.section("cloud_to_device"))
        files = Self.files(root.section("files"))
        throttles = Self.throttles(root.section("throttles"))
        let connector = root.section("connector")
        commandPollInterval = connector.duration(
            "poll_interval", default: commandPollInterval, in: .milliseconds(200) ... .seconds(60))
        commandTimeLimit = connector.duration(
            "command_time_limit", default: commandTimeLimit, in: .seconds(10) ... .seconds(2 * 86_400))
        crm = Self.crm(root.section("crm"))
        rules = Self.rules(root)
        commands = Self.commands(root)
        try root.finish()
    }

    private static func listeners(_ section: ConfigSection) -> Listeners {
        let expected = "an address and a port, such as \"127.0.0.1:8883\" or \"[::1]:443\""
        var value = Listeners()
        value.mqtt = section.parsed("mqtt", default: value.mqtt, expected: expected) { HostPort($0) }
        value.https = section.parsed("https", default: value.https, expected: expected) { HostPort($0) }
        value.http = section.parsed(
            "http", default: value.http,
            expected:
                "a loopback address and a port, such as \"127.0.0.1:8088\", or \"off\": without TLS the pages are "
                + "for this machine only"
        ) { text -> HostPort?? in
            if text == "off" { return .some(nil) }
            return HostPort(text).flatMap { $0.isLoopback ? .some($0) : nil }
        }
        return value
    }

    private static func limits(_ section: ConfigSection) -> Limits {
        var value = Limits()
        value.connectionsMax = section.integer("connections_max", default: value.connectionsMax, in: 1...1_000_000)
        value.handshakesMax = section.integer("handshakes_max", default: value.handshakesMax, in: 1...10_000)
        // No longer than the shortest handshake_timeout.
        value.handshakePatience = section.duration(
            "handshake_patience", default: value.handshakePatience, in: .milliseconds(10) ... .seconds(1))
        value.handshakesSlowMax = section.integer(
            "handshakes_slow_max", default: value.handshakesSlowMax, in: 1...100_000)
        value.handshakesWaitingMax = section.integer(
            "handshakes_waiting_max", default: value.handshakesWaitingMax, in: 1...1_000_000)
        value.handshakeWait = section.duration(
            "handshake_wait", default: value.handshakeWait, in: .seconds(1) ... .seconds(600))
        value.handshakeTimeout = section.duration(
            "handshake_timeout", default: value.handshakeTimeout, in: .seconds(1) ... .seconds(60))
        value.connectTimeout = section.duration(
            "connect_timeout", default: value.connectTimeout, in: .seconds(1) ... .seconds(60))
        value.waitingBytesMax = section.bytes(
            "waiting_bytes_max", default: value.waitingBytesMax, in: .mebibytes(1) ... .gibibytes(1))
        return value
    }

    private static func eventLog(_ section: ConfigSection) -> EventLog {
        var value = EventLog()
        value.partitionCount = section.integer("partitions", default: value.partitionCount, in: 1...32)
        value.retentionAge = section.duration(
            "retention_age", default: value.retentionAge, in: .seconds(3600)...day * 3650)
        value.retentionBytes = section.bytes(
            "retention_bytes", default: value.retentionBytes, in: .mebibytes(16) ... .gibibytes(16 << 10))
        value.gapWait = section.duration("gap_wait", default: value.gapWait, in: .seconds(1) ... .seconds(3600))
        return value
    }

    private static func cloudToDevice(_ section: ConfigSection) -> CloudToDevice {
        var value = CloudToDevice()
        value.timeToLive = section.duration(
            "time_to_live", default: value.timeToLive, in: .seconds(60) ... .seconds(2 * 86_400))
        value.deliveriesMax = section.integer("delivery_count_max", default: value.deliveriesMax, in: 1...100)
        value.lockTime = section.duration("lock_time", default: value.lockTime, in: .seconds(1) ... .seconds(300))
        value.feedbackTime = section.duration(
            "feedback_time", default: value.feedbackTime, in: .seconds(60) ... .seconds(2 * 86_400))
        return value
    }

    private static func throttles(_ section: ConfigSection) -> ThrottleLimits {
        var value = throttlesDefault
        for kind in ThrottledKind.allCases where kind != .registry {
            value.device[kind] = rate("device_\(kind.key)", in: section, default: value.device[kind])
            value.hub[kind] = rate("hub_\(kind.key)", in: section, default: value.hub[kind])
        }
        value.hub[.registry] = rate("hub_registry", in: section, default: value.hub[.registry])
        return value
    }

    private static func rate(_ key: String, in section: ConfigSection, default rate: Rate?) -> Rate? {
        let expected = "a count a second, minute or hour, such as \"100/s\", \"600/min\" or \"10/h\", or \"off\""
        return section.parsed(key, default: rate, expected: expected) { text -> Rate?? in
            if text == "off" { return .some(nil) }
            return Rate(text).map { .some($0) }
        }
    }

    private static func crm(_ section: ConfigSection) -> CRM? {
        guard section.isPresent else { return nil }
        let web = { (text: String, hasPath: Bool) in isWebAddress(text, hasPath: hasPath) ? text : nil }
        let url = section.required(
            "url",
            expected: "the environment's address without path, such as \"https://contoso.crm4.dynamics.com\" "
                + "(http:// only on this machine)"
        ) { web($0.hasSuffix("/") ? String($0.dropLast()) : $0, false) }
        let tokenURL = section.required(
            "token_url",
            expected: "the token endpoint, such as \"https://login.microsoftonline.com/<tenant>/oauth2/v2.0/token\" "
                + "(http:// only on this machine)"
        ) { web($0, true) }
        let clientID = section.requiredText("client_id", expected: "the application's id")
        let secretFile = section.required("client_secret_file", expected: "the absolute path of a file with the secret")
        {
            $0.hasPrefix("/") ? $0 : nil
        }
        let scope = section.optionalText("scope")
        guard let url, let tokenURL, let clientID, let secretFile else { return nil }
        return CRM(
            url: url, tokenURL: tokenURL, clientID: clientID, clientSecretFile: secretFile,
            scope: scope ?? url + "/.default")
    }

    private static func rules(_ root: ConfigSection) -> [Rule] {
        var rules: [Rule] = []
        var names: Set<String> = []
        for section in root.sections("rule", countMax: 1000) {
            guard let rule = Rule.read(section, runs: .hub) else { continue }
            if names.insert(rule.name).inserted {
                rules.append(rule)
            } else {
                section.problem("name", expected: "is the name of an earlier rule; every rule needs its own")
            }
        }
        return rules
    }

    private static func commands(_ root: ConfigSection) -> [Command] {
        var commands: [Command] = []
        var names: Set<String> = []
        for section in root.sections("command", countMax: 200) {
            let name = section.requiredText("name", expected: "the command's name on the service desk")
            let method = section.required(
                "method", expected: "a direct method's name: 1 to 64 characters without '/', '+' and '#'"
            ) { text in
                (1...64).contains(text.utf8.count) && !text.utf8.contains { "/+#".utf8.contains($0) || $0 < 0x20 }
                    ? text : nil
            }
            guard let name, let method else { continue }
            if names.insert(name.lowercased()).inserted {
                commands.append(Command(name: name, method: method))
            } else {
                section.problem("name", expected: "is the name of an earlier command; case does not count")
            }
        }
        return commands
    }

    private static func isHostname(_ text: String) -> Bool {
        (1...253).contains(text.utf8.count)
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."):
                    true
                default: false
                }
            }
    }

    /// `https://…`, or `http://` on a loopback host.
    static func isWebAddress(_ text: String, hasPath: Bool) -> Bool {
        let isPlain = text.hasPrefix("http://")
        guard isPlain || text.hasPrefix("https://") else { return false }
        let rest = text.dropFirst(isPlain ? 7 : 8)
        let authority = rest.prefix { $0 != "/" }
        guard !authority.isEmpty, hasPath || authority == rest, !rest.contains(where: \.isWhitespace) else {
            return false
        }
        guard isPlain else { return true }
        let host = HostPort(String(authority))?.host ?? authority.filter { $0 != "[" && $0 != "]" }
        return HostPort(host: host, port: 0).isLoopback
    }
}
