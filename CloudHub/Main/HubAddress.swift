import Glibc
import JSON

/// Under which name and ports the hub was last started; kept so that the command line can write connection strings.
struct HubAddress: Sendable, Equatable {
    static let standardHTTPSPort = 443
    static let standardMQTTPort = 8883

    var hostname: String
    var mqttPort: Int
    var httpsPort: Int
    var httpPort: Int

    /// What a service's connection string calls the hub: off the standard port it carries the HTTPS port, which the
    /// public service SDKs accept.
    var serviceHost: String { httpsPort == Self.standardHTTPSPort ? hostname : "\(hostname):\(httpsPort)" }

    /// What to tell a person whose device string cannot carry the port; `nil` on the standard port.
    var devicePortWarning: String? {
        guard mqttPort != Self.standardMQTTPort else { return nil }
        return "the hub takes MQTT on port \(mqttPort), not \(Self.standardMQTTPort): public device SDKs have "
            + "\(Self.standardMQTTPort) in their code and will not find it; set the port in the device's own configuration"
    }

    static func load(from path: String) -> HubAddress? {
        guard let bytes = PrivateFile.read(path), let value = try? JSONValue(parsing: bytes),
            let hostname = value["hostname"]?.stringValue, let mqtt = value["mqttPort"]?.int64Value,
            let https = value["httpsPort"]?.int64Value, let http = value["httpPort"]?.int64Value
        else { return nil }
        return HubAddress(hostname: hostname, mqttPort: Int(mqtt), httpsPort: Int(https), httpPort: Int(http))
    }

    func save(to path: String) throws(CommandFailure) {
        let value: JSONValue = [
            "hostname": .string(hostname), "mqttPort": .number(JSONNumber(Int64(mqttPort))),
            "httpsPort": .number(JSONNumber(Int64(httpsPort))), "httpPort": .number(JSONNumber(Int64(httpPort))),
        ]
        try PrivateFile.write(value.serialized(), to: path)
    }
}

/// Small files in the data directory, readable by their owner alone.
enum PrivateFile {
    static let bytesMax = 1024 * 1024

    /// `nil` when the file is not there or cannot be read.
    static func read(_ path: String) -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16 * 1024)
        while bytes.count < bytesMax {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count == 0 { return bytes }
            guard count > 0 else { return nil }
            bytes += chunk[..<count]
        }
        return nil
    }

    /// Replaces the file: whole and synced, or not at all.
    static func write(_ bytes: [UInt8], to path: String) throws(CommandFailure) {
        let temporary = path + ".new"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw failure("made", path) }
        defer { close(descriptor) }
        let written = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        guard written == bytes.count, fsync(descriptor) == 0, rename(temporary, path) == 0 else {
            throw failure("written", path)
        }
    }

    private static func failure(_ what: String, _ path: String) -> CommandFailure {
        .failed(
            "the file \(path) cannot be \(what): \(String(cString: strerror(errno))); "
                + "check the disk and that this user may write there")
    }
}
