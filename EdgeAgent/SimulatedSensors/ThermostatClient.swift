import CMosquitto
import DriverRuntime
import Glibc
import JSON
import Primitives

/// The thermostat's connection; confined to its thread.
final class ThermostatClient {
    private let config: SimulatedThermostat.Config
    private let sensor: SimulatedThermostat
    private var nextPublish = SystemTime.monotonic
    private var lastStep = SystemTime.monotonic
    private var isConnected = false
    /// Answers wait here until the callback has returned.
    private var answers: [[UInt8]] = []

    private static let library: Int32 = mosquitto_lib_init()

    init(_ config: SimulatedThermostat.Config, _ sensor: SimulatedThermostat) {
        self.config = config
        self.sensor = sensor
    }

    /// Returns when the sensor is stopped.
    func run() {
        guard Self.library == MOSQ_ERR_SUCCESS.rawValue else { return }
        while !sensor.isStopping {
            connection()
            if !sensor.isStopping { usleep(100_000) }
        }
    }

    private func connection() {
        let context = Unmanaged.passUnretained(self).toOpaque()
        guard let client = mosquitto_new("sim-\(config.device)", false, context) else { return }
        defer { mosquitto_destroy(client) }
        isConnected = false
        mosquitto_connect_callback_set(client) { _, context, code in
            ThermostatClient.of(context)?.isConnected = code == 0
        }
        mosquitto_message_callback_set(client) { _, context, message in
            guard let message, let topic = message.pointee.topic else { return }
            let payload = UnsafeRawBufferPointer(
                start: message.pointee.payload, count: Int(max(message.pointee.payloadlen, 0)))
            ThermostatClient.of(context)?.received(topic: String(cString: topic), payload: Array(payload))
        }
        guard mosquitto_connect(client, config.host, Int32(config.port), 30) == MOSQ_ERR_SUCCESS.rawValue else {
            return
        }
        let base = "\(config.root)/\(config.device)"
        var isSubscribed = false
        while !sensor.isStopping {
            let left = Int32(clamping: (nextPublish - SystemTime.monotonic).millisecondsClamped)
            guard mosquitto_loop(client, max(1, min(left, 50)), 1) == MOSQ_ERR_SUCCESS.rawValue else { return }
            guard isConnected else { continue }
            if !isSubscribed {
                mosquitto_subscribe(client, nil, base + "/cmd/+", 1)
                mosquitto_subscribe(client, nil, base + "/relay", 1)
                isSubscribed = true
            }
            for answer in answers { publish(client, base + "/answer", answer) }
            answers = []
            publishWhenDue(client, base + "/state")
        }
        mosquitto_disconnect(client)
    }

    private func publishWhenDue(_ client: OpaquePointer, _ topic: String) {
        let now = SystemTime.monotonic
        guard now >= nextPublish else { return }
        let seconds = Double((now - lastStep).nanosecondsClamped) / 1e9
        lastStep = now
        let due = nextPublish + config.interval
        nextPublish = due > now ? due : now + config.interval
        publish(client, topic, sensor.nextMessage(seconds: seconds))
    }

    private func publish(_ client: OpaquePointer, _ topic: String, _ payload: [UInt8]) {
        payload.withUnsafeBytes { bytes in
            _ = mosquitto_publish(client, nil, topic, Int32(bytes.count), bytes.baseAddress, 1, false)
        }
    }

    private static func of(_ context: UnsafeMutableRawPointer?) -> ThermostatClient? {
        context.map { Unmanaged<ThermostatClient>.fromOpaque($0).takeUnretainedValue() }
    }

    private func received(topic: String, payload: [UInt8]) {
        guard let command = topic.split(separator: "/").last, answers.count < 64 else { return }
        if let answer = sensor.obey(command, payload: payload) { answers.append(answer.serialized()) }
        // What it did shows in the state at once.
        nextPublish = SystemTime.monotonic
    }
}
