import DriverRuntime
public import Logging
public import Primitives
public import SouthboundAPI
import Synchronization
public import Telemetry

/// A core that remembers what it was given. It can be closed, so that deliveries wait as on a slow disk, or told to
/// refuse, as a full disk would.
public final class RecordingSink: ReadingSink {
    public enum Mode: Sendable { case keep, hold, refuse }

    private struct State {
        var mode = Mode.keep
        var held: [(delivery: Delivery, ended: @Sendable (SinkError?) -> Void)] = []
        var deliveries: [Delivery] = []
        var marks: [String: [UInt8]] = [:]
        var refusedSeries: [String: UInt64] = [:]
        var hurries = 0

        mutating func end(_ delivery: Delivery) -> SinkError? {
            let isBehind = delivery.series.map { $0 <= refusedSeries[delivery.driver] ?? 0 } ?? false
            guard mode == .keep, !isBehind else {
                if let series = delivery.series { refusedSeries[delivery.driver] = series }
                return SinkError(.full, detail: "the disk is full")
            }
            deliveries.append(delivery)
            if let mark = delivery.mark { marks[delivery.driver] = mark }
            return nil
        }
    }

    private let state = Mutex(State())

    public init() {}

    public func accept(_ delivery: Delivery, ended: @escaping @Sendable (SinkError?) -> Void) {
        let ending: SinkError?? = state.withLock { state in
            guard state.mode == .hold else { return .some(state.end(delivery)) }
            state.held.append((delivery, ended))
            return nil
        }
        if let ending { ended(ending) }
    }

    public func hurry() { state.withLock { $0.hurries += 1 } }

    public func lastMark(of driver: String) -> [UInt8]? { state.withLock { $0.marks[driver] } }

    /// What was held ends, too.
    public func set(_ mode: Mode) {
        let endings: [(ended: @Sendable (SinkError?) -> Void, ending: SinkError?)] = state.withLock { state in
            state.mode = mode
            guard mode != .hold else { return [] }
            defer { state.held = [] }
            return state.held.map { ($0.ended, state.end($0.delivery)) }
        }
        for (ended, ending) in endings { ended(ending) }
    }

    /// Ends the oldest delivery that is held as durable, and only that one.
    public func keepOldest() {
        let ended = state.withLock { state -> (@Sendable (SinkError?) -> Void)? in
            guard !state.held.isEmpty else { return nil }
            let held = state.held.removeFirst()
            state.mode = .keep
            defer { state.mode = .hold }
            _ = state.end(held.delivery)
            return held.ended
        }
        ended?(nil)
    }

    /// Whether deliveries wait.
    public var isHolding: Bool { heldCount > 0 }
    public var heldCount: Int { state.withLock { $0.held.count } }
    /// Readings in what waits.
    public var heldReadings: [Reading] { state.withLock { $0.held.flatMap(\.delivery.readings) } }
    /// How often a driver could not wait any longer.
    public var hurries: Int { state.withLock { $0.hurries } }
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
