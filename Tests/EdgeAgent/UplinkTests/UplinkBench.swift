import BrokerKit
import Connectivity
import DriverRuntime
import EdgeStore
import Foundation
import Logging
import Outbox
import Primitives
import Synchronization
import Telemetry
import Testing
import Timekeeping
import Uplink

/// One gateway with an outbox in a folder of its own, for tests against a real broker.
final class UplinkBench {
    let folder: String
    let store: SQLiteOutbox
    let commands = RecordingCommands()
    let log = LogRecorder()
    private var uplink: Uplink?
    private var next: UInt64 = 1

    static let gateway = DeviceID("gw").unsafelyUnwrapped
    static let child = DeviceID("thermostat-1").unsafelyUnwrapped
    static let eventsFilter = "devices/gw/messages/events/#"
    static let key = Secret(Array("a key of thirty-two bytes, or so!".utf8))

    init() throws {
        folder = try makeTemporaryFolder("uplink")
        store = try SQLiteOutbox(path: folder + "/outbox.sqlite")
    }

    deinit {
        uplink?.stop(grace: .zero)
        try? FileManager.default.removeItem(atPath: folder)
    }

    func settings(host: String = "localhost", port: Int, caFile: String?) -> UplinkSettings {
        var settings = UplinkSettings(
            hubHost: host, port: port, gateway: Self.gateway, credentials: .sharedAccessKey(Self.key), caFile: caFile)
        settings.link.backoff = Backoff(first: .milliseconds(20), most: .milliseconds(100))
        settings.methodTimeMax = .seconds(5)
        return settings
    }

    func start(_ settings: UplinkSettings) throws {
        let log = log
        let logger = Logger(label: "uplink") { _ in log }
        let clock = GatewayClock(earliest: WallInstant(milliseconds: 0), lastRun: nil) {
            .init(monotonic: SystemTime.monotonic, wall: SystemTime.wall, isDisciplined: true)
        }
        let made = try Uplink(settings, store: store, handler: commands, clock: clock, logger: logger) {
            desiredVersion in
            Array("{\"seen\":\(desiredVersion ?? 0)}".utf8)
        }
        try made.start()
        uplink = made
    }

    /// Changes the outbox behind the store's back, as a person with a shell could.
    func sql(_ statement: String) throws {
        let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], 20); c.execute(sys.argv[2]); c.commit()"
        let python = try ChildProcess("/usr/bin/python3", ["-c", script, folder + "/outbox.sqlite", statement])
        guard python.exitStatus() == 0 else { throw BrokerKitError("\(statement) failed") }
    }

    var state: LinkState { uplink?.state ?? .stopped }

    func stop(grace: Duration = .seconds(2)) {
        uplink?.stop(grace: grace)
        uplink = nil
    }

    /// Appends readings of the child and tells the uplink.
    func append(_ count: UInt64) throws {
        let records = (next..<next + count).map { sequence in
            SequencedRecord(
                sequence: sequence,
                record: .reading(
                    Reading(
                        device: Self.child, metric: "temperature", value: .boolean(true), unit: nil,
                        time: WallInstant(milliseconds: 1_795_000_000_000), quality: .good, clock: .synchronised)))
        }
        next += count
        _ = try store.append(
            OutboxCommit(
                records: records, wallTime: WallInstant(milliseconds: 1_795_000_000_000), clock: .synchronised))
        uplink?.recordsStored()
    }

    func waitForProblem() throws -> LinkProblem {
        var problem: LinkProblem?
        try waitUntil("the link reports a problem") {
            guard case .waiting(let found) = state else { return false }
            problem = found
            return true
        }
        return try #require(problem)
    }
}

/// Notes each call and answers as told.
final class RecordingCommands: CommandHandler {
    private let calls = Mutex<[CommandCall]>([])

    var seen: [CommandCall] { calls.withLock { $0 } }

    func perform(_ call: CommandCall, reply: @escaping @Sendable (CommandAnswer) -> Void) {
        calls.withLock { $0.append(call) }
        reply(CommandAnswer(status: 200, payload: Array(#"{"done":"\#(call.name)"}"#.utf8)))
    }
}

/// Keeps every line with its metadata.
struct LogRecorder: LogHandler {
    private final class Lines: Sendable {
        let all = Mutex<[String]>([])
    }

    private let lines = Lines()
    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level = .trace

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    var all: [String] { lines.all.withLock { $0 } }

    func log(event: LogEvent) {
        let details = (event.metadata ?? [:]).sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        lines.all.withLock { $0.append("\(event.level) \(event.message) \(details.joined(separator: " "))") }
    }
}
