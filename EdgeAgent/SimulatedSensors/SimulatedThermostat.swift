import CMosquitto
import DriverRuntime
import JSON
public import Logging
import Primitives
import Synchronization

/// A thermostat that speaks MQTT as a real one would, on a thread and a libmosquitto client of its own.
///
/// It publishes `plant/{id}/state` with `{"temperature":21.48,"humidity":45.1,"relay":false}` (QoS 1) every interval and
/// obeys, QoS 1, `plant/{id}/cmd/reset`, `…/cmd/set` (`{"target":22.5}`), `…/cmd/notify` (`{"message":"…"}` or any JSON)
/// and `plant/{id}/relay` (`1`, `0`, `on`, `off`). Commands are answered on `plant/{id}/answer` with the `id` of the
/// command, if it had one, and `{"done":"reset"}` or `{"error":"…"}`.
public final class SimulatedThermostat: Sendable {
    public struct Config: Sendable {
        public var device: String
        public var host: String
        public var port: UInt16
        /// First topic level. Default `plant`.
        public var root = "plant"
        /// Between two messages. Default 1 s.
        public var interval: Duration = .seconds(1)
        public var seed: UInt64 = 1
        /// Kelvin a second once it overheats. Default 15.
        public var heatingRate = 15.0

        public init(device: String, host: String = "127.0.0.1", port: UInt16) {
            self.device = device
            self.host = host
            self.port = port
        }
    }

    /// A look at the sensor from outside.
    public struct Snapshot: Sendable, Equatable {
        /// As last published, in °C.
        public var temperature = 0.0
        public var setPoint = 0.0
        public var isRelayClosed = false
        public var isOverheating = false
        public var publishedCount: UInt64 = 0
        public var resetCount: UInt64 = 0
        /// The newest 16.
        public var notifications: [String] = []
    }

    private struct State {
        var model: ThermostatModel
        var snapshot = Snapshot()
        var isStopping = false
    }

    private let config: Config
    private let logger: Logger
    private let state: Mutex<State>
    private let thread = Mutex<OwnThread?>(nil)

    public init(config: Config, logger: Logger) {
        self.config = config
        self.logger = logger
        var model = ThermostatModel(seed: config.seed)
        model.heatingRate = config.heatingRate
        state = Mutex(State(model: model))
    }

    /// False when the system gives no thread. It connects, and connects again, by itself.
    public func start() -> Bool {
        thread.withLock { thread in
            guard thread == nil else { return true }
            thread = OwnThread.run(name: "sim-thermostat") { [self] in ThermostatClient(self.config, self).run() }
            return thread != nil
        }
    }

    public func stop() {
        state.withLock { $0.isStopping = true }
        let running = thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        running?.join()
    }

    /// The heater's contact sticks now.
    public func overheat() { state.withLock { $0.model.stick() } }

    public var snapshot: Snapshot {
        state.withLock { state in
            var snapshot = state.snapshot
            snapshot.setPoint = state.model.setPoint
            snapshot.isRelayClosed = state.model.isRelayClosed
            snapshot.isOverheating = state.model.isStuck
            return snapshot
        }
    }

    var isStopping: Bool { state.withLock { $0.isStopping } }

    /// One step of the model and the message about it.
    func nextMessage(seconds: Double) -> [UInt8] {
        state.withLock { state in
            state.model.step(seconds: seconds)
            let (hundredths, tenths) = state.model.measured()
            state.snapshot.temperature = Double(hundredths) / 100
            state.snapshot.publishedCount += 1
            let message: JSONValue = [
                "temperature": Self.number(Double(hundredths) / 100), "humidity": Self.number(Double(tenths) / 10),
                "relay": .bool(state.model.isRelayClosed),
            ]
            return message.serialized()
        }
    }

    private static func number(_ value: Double) -> JSONValue { JSONNumber(value).map(JSONValue.number) ?? .null }

    /// What a command does; gives the answer, `nil` for the relay, which is not answered but seen in the state.
    func obey(_ command: Substring, payload: [UInt8]) -> JSONValue? {
        let json = try? JSONValue(parsing: payload)
        let arguments = json?["args"] ?? json
        var answer = JSONObject()
        answer["id"] = json?["id"]
        switch command {
        case "relay":
            let text = String(decoding: payload, as: UTF8.self).lowercased()
            state.withLock { $0.model.isRelayClosed = ["1", "on", "true", "closed"].contains(text) }
            return nil
        case "reset":
            state.withLock { state in
                state.model.reset()
                state.snapshot.resetCount += 1
            }
        case "set":
            let target = arguments?["target"]?.doubleValue ?? arguments?["value"]?.doubleValue
            guard let target, state.withLock({ $0.model.set(target: target) }) else {
                answer["error"] = "set needs a target from 5 to 35"
                return .object(answer)
            }
        case "notify":
            let text = arguments?["message"]?.stringValue ?? String(decoding: payload.prefix(256), as: UTF8.self)
            state.withLock { $0.snapshot.notifications = ($0.snapshot.notifications + [text]).suffix(16) }
        default:
            answer["error"] = "unknown command"
            return .object(answer)
        }
        answer["done"] = .string(String(command))
        return .object(answer)
    }
}
