import ConfigText
import Primitives

enum HubSection {
    static func read(_ section: ConfigSection) -> HubConnection {
        if !section.isPresent { section.problem("is missing; the gateway needs a hub: [hub]") }
        let host = section.isPresent ? section.requiredText("host", expected: "the hub's name") : nil
        var hub = HubConnection(host: host ?? "hub.invalid", credentials: credentials(section))
        hub.transport = section.choice("transport", default: .mqtt, ["mqtt": .mqtt, "websocket": .webSocket])
        hub.port = section.integer("port", default: hub.transport == .mqtt ? 8883 : 443, in: 1...65_535)
        hub.httpsPort = section.integer(
            "https_port", default: hub.transport == .mqtt ? 443 : hub.port, in: 1...65_535)
        hub.compresses = section.choice("compression", default: true, ["auto": true, "off": false])
        hub.bytesPerDay = section.optional("bytes_per_day", expected: #"an amount such as "5MB", from 10KB to 1TB"#) {
            (text: String) in
            ByteCount(text).flatMap { (10_000...1_000_000_000_000).contains($0.bytes) ? $0 : nil }
        }
        hub.sendsFaultsBeyondBudget = section.choice(
            "at_end_of_budget", default: true, ["faults": true, "nothing": false])
        hub.proxy = proxy(section)
        hub.caFile = section.optionalText("ca_file", expected: "the path of a PEM file")
        hub.keepAlive = section.duration("keep_alive", default: hub.keepAlive, in: .seconds(5) ... .seconds(1177))
        hub.tokenLifetime = section.duration(
            "token_lifetime", default: hub.tokenLifetime, in: .seconds(60) ... .seconds(86_400))
        hub.inflightBatches = section.integer("inflight_batches", default: hub.inflightBatches, in: 2...64)
        hub.reconnectMost = section.duration(
            "reconnect_most", default: hub.reconnectMost, in: .milliseconds(50) ... .seconds(3600))
        hub.reconnectFirst = section.duration(
            "reconnect_first", default: min(hub.reconnectFirst, hub.reconnectMost),
            in: .milliseconds(50)...hub.reconnectMost)
        return hub
    }

    private static func proxy(_ section: ConfigSection) -> HubConnection.Proxy? {
        let proxy = section.optional("proxy", expected: #"a proxy such as "http://proxy.example:3128""#) { address($0) }
        let user = section.optional("proxy_user", expected: "a name without a colon") { (text: String) in
            text.contains(":") ? nil : text
        }
        let passwordFile = section.optionalText("proxy_password_file", expected: "the path of a file")
        if (user == nil) != (passwordFile == nil) || proxy == nil && user != nil {
            section.problem("proxy_user and proxy_password_file go together, and with proxy")
        }
        return proxy.map { .init(host: $0.host, port: $0.port, user: user, passwordFile: passwordFile) }
    }

    /// `http://HOST:PORT`, with brackets around an IPv6 address; nothing may follow, and no user may stand in it.
    private static func address(_ text: String) -> (host: String, port: Int)? {
        let scheme = "http://"
        guard text.hasPrefix(scheme), let colon = text.lastIndex(of: ":") else { return nil }
        let rest = text[text.index(text.startIndex, offsetBy: scheme.count)...]
        let end = text.last == "/" ? text.index(before: text.endIndex) : text.endIndex
        guard colon >= rest.startIndex, colon < end, let port = Int(text[text.index(after: colon)..<end]),
            (1...65_535).contains(port)
        else { return nil }
        var host = rest[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            return nil
        }
        guard !host.isEmpty, !host.contains(where: { $0 == "/" || $0 == "@" || $0.isWhitespace }) else { return nil }
        return (String(host), port)
    }

    private static func credentials(_ section: ConfigSection) -> HubConnection.Credentials {
        let string = section.optionalText("connection_string_file", expected: "the path of a file")
        let device = section.optional("device_id", expected: "a device id") { DeviceID($0) }
        let certificate = section.optionalText("certificate_file", expected: "the path of a PEM file")
        let key = key(section)
        if let string {
            if device != nil || certificate != nil || key != nil {
                section.problem(
                    "connection_string_file does not go together with device_id, certificate_file and key_file: "
                        + "the gateway signs in with a key or with a certificate")
            }
            return .connectionStringFile(string)
        }
        if let device, let certificate, let key {
            return .certificate(device: device, certificateFile: certificate, key: key)
        }
        if section.isPresent {
            section.problem(
                "needs connection_string_file, or all three of device_id, certificate_file and key_file, so that the "
                    + "gateway can sign in")
        }
        return .connectionStringFile("")
    }

    /// `key_file` alone is a PEM file; with `provider` it is one of the TPM's, and `key` names a key inside the TPM.
    private static func key(_ section: ConfigSection) -> HubConnection.Key? {
        let file = section.optionalText("key_file", expected: "the path of a PEM file")
        let name = section.optional("key", expected: #"a key in the TPM such as "handle:0x81000001""#) {
            (text: String) in
            text.hasPrefix("handle:") && text.utf8.count > 7 ? text : nil
        }
        let isInTPM = section.choice("provider", default: false, ["tpm2": true])
        if file != nil, name != nil { section.problem("key_file and key are two keys; the gateway has one") }
        if name != nil, !isInTPM { section.problem(#"key needs provider = "tpm2""#) }
        if isInTPM, file == nil, name == nil { section.problem("provider needs key, or the key_file that it made") }
        if let name { return .inTPM(name) }
        return file.map { isInTPM ? .inTPM($0) : .file($0) }
    }
}
