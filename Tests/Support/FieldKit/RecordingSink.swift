import DriverRuntime
public import Logging
public import Primitives
public import SouthboundAPI
import Synchronization
public import Telemetry

/// A core that remembers what it was given. It can be closed, so that `accept` holds the driver as a slow disk would,
/// or told to refuse, as a full disk would.
public final class RecordingSink: ReadingSink {
    public enum Mode: Sendable { case keep, hold, refuse }

    private struct State {
        var mode = Mode.keep
        var held = 0
        var deliveries: [Delivery] = []
        var marks: [String: [UInt8]] = [:]
    }

    private let state = Mutex(State())

    public init() {}

    public func accept(_ delivery: Delivery) throws(SinkError) {
        state.withLock { $0.held += 1 }
        defer { state.withLock { $0.held -= 1 } }
        while state.withLock({ $0.mode == .hold }) {
            WakeSignal()?.wait(until: SystemTime.monotonic + .milliseconds(2))
        }
        let isRefused = state.withLock { state in
            if state.mode == .refuse { return true }
            state.deliveries.append(delivery)
            if let mark = delivery.mark { state.marks[delivery.driver] = mark }
            return false
        }
        if isRefused { throw SinkError(.full, detail: "the disk is full") }
    }

    public func lastMark(of driver: String) -> [UInt8]? { state.withLock { $0.marks[driver] } }

    public func set(_ mode: Mode) { state.withLock { $0.mode = mode } }
    /// Whether a driver waits inside `accept`.
    public var isHolding: Bool { state.withLock { $0.held > 0 } }
    public var readings: [Reading] { state.withLock { $0.deliveries.flatMap(\.readings) } }
    /// The last list of learned devices that was kept; `nil` when none was.
    public var learned: [DeviceID]? { state.withLock { $0.deliveries.last { $0.learned != nil }?.learned } }
    public var health: [DeviceHealth] { state.withLock { $0.deliveries.flatMap(\.health) } }

    /// Of one metric, as text, in order.
    public func values(_ metric: String, of device: String? = nil) -> [String] {
        readings.filter { $0.metric == metric && (device == nil || $0.device.text == device) }.map {
            $0.value.description
        }
    }

    /// The last that was said of a device; `nil` when nothing was.
    public func lastHealth(of device: String) -> DeviceHealth? { health.last { $0.device.text == device } }
}

extension DriverClock {
    /// The machine's own clocks, taken for synchronised.
    public static let system = DriverClock(
        monotonic: { SystemTime.monotonic }, wall: { (SystemTime.wall, .synchronised) })
}

/// What a driver logged: message and metadata in one line each.
public final class LogBook: Sendable {
    private let lines = Mutex<[String]>([])

    public init() {}

    public var text: String { lines.withLock { $0.joined(separator: "\n") } }
    public func count(of part: String) -> Int { lines.withLock { $0.filter { $0.contains(part) }.count } }

    public var logger: Logger {
        Logger(label: "test") { _ in Handler(book: self) }
    }

    private struct Handler: LogHandler {
        let book: LogBook
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.debug

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let facts = metadata.merging(event.metadata ?? [:]) { _, new in new }
                .map { "\($0.key)=\($0.value)" }.sorted()
            book.lines.withLock { $0.append("\(event.level) \(event.message) " + facts.joined(separator: " ")) }
        }
    }
}

/// Gathers the outcomes of commands.
public final class Outcomes: Sendable {
    private let all = Mutex<[CommandOutcome]>([])

    public init() {}

    public var list: [CommandOutcome] { all.withLock { $0 } }
    public func add(_ outcome: CommandOutcome) { all.withLock { $0.append(outcome) } }
}

/// A device id that a test writes as text.
public func device(_ text: String) throws -> DeviceID {
    guard let id = DeviceID(text) else { throw FieldKitError("'\(text)' is no device id") }
    return id
}
