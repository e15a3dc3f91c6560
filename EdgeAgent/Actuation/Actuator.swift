public import Expressions
public import Primitives
import SouthboundAPI
public import Telemetry

/// One thing that moves, as the configuration declares it: where it is written, and what must hold before it moves.
public struct Actuator: Sendable, Equatable {
    /// Where it is written.
    public enum Target: Hashable, Sendable {
        case register(device: DeviceID, register: String)
        /// A topic of the local broker; what is published there is the position.
        case topic(String, isRetained: Bool)

        /// For the log and for messages.
        public var text: String {
            switch self {
            case .register(let device, let register): "\(device)/\(register)"
            case .topic(let topic, _): topic
            }
        }
    }

    /// A metric of a device.
    public struct Sensor: Hashable, Sendable {
        public let device: DeviceID
        public let metric: String

        public init(device: DeviceID, metric: String) {
            self.device = device
            self.metric = metric
        }
    }

    /// The value may change by at most so much in so much time.
    public struct Slew: Hashable, Sendable {
        public let change: Double
        public let per: Duration

        public init(change: Double, per: Duration) {
            self.change = change
            self.per = per
        }
    }

    public static let interlocksMax = 8
    public static let sensorsMax = 8
    /// Switchings that can be counted at a time.
    public static let switchingsMax = 100

    /// Unique; as a rule's name.
    public let name: String
    public let target: Target
    /// Each must hold before the actuator leaves its fail-safe position. Boolean; every signal names its device.
    public var interlocks: [SignalExpression] = []
    /// An input of an interlock is missing when it is older than this; 0 for never.
    public var interlockAgeMax = Duration.zero
    /// Whether what was asked for before an interlock was lost is done when it holds again. Default no: nothing shall
    /// start by itself because a door was closed.
    public var resumesAfterInterlock = false
    /// The least time that it stays on, and off.
    public var onTimeMin = Duration.zero
    public var offTimeMin = Duration.zero
    /// Switchings from off to on or back within `switchingsPer`; 0 for no limit.
    public var switchingsMax = 0
    public var switchingsPer = Duration.seconds(3600)
    public var slew: Slew?
    /// Where it goes when the agent stops, an interlock is lost, or a sensor is silent; `nil`: it stays where it is.
    public var failSafe: ReadingValue?
    public var movesOnStop = true
    /// When one of them is silent for `sensorTimeout`, the actuator goes to its fail-safe position.
    public var sensors: [Sensor] = []
    public var sensorTimeout = Duration.zero
    /// The longest manual override.
    public var overrideMax = Duration.seconds(8 * 3600)

    public init(name: String, target: Target) {
        self.name = name
        self.target = target
    }

    /// What its interlocks and its watch read.
    public var sensorsRead: [Sensor] {
        interlocks.flatMap(\.signals).compactMap { name in
            name.device.map { Sensor(device: $0, metric: name.metric) }
        } + sensors
    }

    /// The write that brings it to the position.
    func actuation(_ position: ReadingValue) -> Actuation {
        switch target {
        case .register(let device, let register): .write(device: device, register: register, value: position)
        case .topic(let topic, let isRetained):
            .publish(topic: topic, payload: Array(position.description.utf8), isRetained: isRetained)
        }
    }

    /// The position that the actuation brings this actuator to; `nil` when it is about something else.
    func position(after actuation: Actuation) -> ReadingValue? {
        switch (target, actuation) {
        case (.register(let device, let register), .write(let other, let name, let value)):
            device == other && register == name ? value : nil
        case (.topic(let topic, _), .publish(let other, let payload, _)):
            topic == other ? Self.position(ofPayload: payload) : nil
        default: nil
        }
    }

    /// Numbers, `true` and `false` are what they say; everything else is text.
    static func position(ofPayload payload: [UInt8]) -> ReadingValue {
        let text = String(decoding: payload.prefix(TelemetryLimits.valueTextBytesMax), as: UTF8.self)
        switch text {
        case "true": return .boolean(true)
        case "false": return .boolean(false)
        default: return DecimalText(text).map(ReadingValue.number) ?? .text(text)
        }
    }
}

extension ReadingValue {
    /// Off is 0, false, and the texts off, closed and 0; the rest is on.
    var isOn: Bool {
        switch self {
        case .number(let number): number.double != 0
        case .boolean(let flag): flag
        case .text(let text): !["off", "OFF", "Off", "closed", "0", ""].contains(text)
        }
    }

    /// Whether two positions are the same place: 1, 1.0 and true are.
    func isSamePosition(as other: ReadingValue) -> Bool {
        if let one = double, let two = other.double { return one == two }
        return description == other.description
    }
}
