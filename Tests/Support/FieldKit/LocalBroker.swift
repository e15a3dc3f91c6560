import BrokerKit
import Foundation

/// A real mosquitto without TLS on a free loopback port: the plant's local broker.
public final class LocalBroker {
    public var port: UInt16 { UInt16(clamping: broker.port) }
    private let broker: TestBroker
    private let folder: TemporaryFolder

    /// - Parameters:
    ///   - isStarted: false to have only the port, for a broker that comes later.
    ///   - settings: more lines of mosquitto.conf.
    public init(isStarted: Bool = true, settings: [String] = ["allow_anonymous true"]) throws {
        broker = try TestBroker.plain(extra: settings.joined(separator: "\n"), isStarted: isStarted)
        folder = try TemporaryFolder("lines")
    }

    /// Returns when it takes connections.
    public func start() throws { try broker.start() }

    /// SIGTERM: it writes its sessions and ends.
    public func stop() { broker.stop() }

    /// Publishes by `mosquitto_pub`, QoS 1, and returns when the broker has confirmed it.
    public func publish(_ topic: String, _ payload: String, options: [String] = []) throws {
        try broker.client("mosquitto_pub", ["-q", "1", "-t", topic, "-m", payload] + options)
    }

    /// Publishes one message a line, QoS 1, over one connection.
    public func publish(_ topic: String, lines: [String]) throws {
        let file = folder.file("lines-\(UUID().uuidString)")
        try lines.joined(separator: "\n").appending("\n").write(toFile: file, atomically: true, encoding: .utf8)
        try broker.client("mosquitto_pub", ["-q", "1", "-t", topic, "-l"], input: file)
    }

    /// Makes a session that collects what is published on a filter from now on.
    public func collect(_ filter: String, as session: String) throws { try broker.collect(filter, as: session) }

    /// What a session has collected, waiting up to ten seconds for `count` messages: "topic payload" a line.
    public func collected(_ filter: String, as session: String, count: Int) throws -> [String] {
        try broker.collected(as: session, filter: filter, count: count)
    }
}
