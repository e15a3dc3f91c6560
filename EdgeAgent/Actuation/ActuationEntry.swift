import Primitives
public import Telemetry

/// One line of the log: who or what moved what, or why it was not moved.
public struct ActuationEntry: Sendable, Equatable {
    public enum Event: String, Sendable, CaseIterable {
        /// The write was handed to its driver.
        case moved
        /// The write was handed to its driver step by step from here on.
        case ramping
        /// An automatic write waits, for the least time on or off, a rate, a sensor, or the end of an override.
        case waits
        /// A write was not let pass and will not be done later.
        case refused
        /// The driver did not take it, or the device did not confirm it.
        case failed
        case overrideBegan = "override-began"
        case overrideEnded = "override-ended"
        case interlockLost = "interlock-lost"
        case interlockHolds = "interlock-holds"
        case sensorLost = "sensor-lost"
        case sensorBack = "sensor-back"
        /// Not an event: what is known, repeated at the head of a new file.
        case known
    }

    /// The actuator's name, or the target when no actuator is declared for it.
    public let actuator: String
    public let event: Event
    public var to: ReadingValue?
    public var from: ReadingValue?
    /// Who or what: `rule overheat`, `command SetValue`, `override by Anna`, `interlock`, `sensor`, `stop`, `start`.
    public var by: String
    public var reason = ""
    /// Of an override: how long from now.
    public var lasts: Duration?
    /// Of what is known: when it switched last.
    public var switchedAgo: Duration?

    public init(_ actuator: String, _ event: Event, by: String) {
        self.actuator = actuator
        self.event = event
        self.by = by
    }
}

/// What follows from an input.
public enum ActuationEffect: Sendable, Equatable {
    /// Index of the actuator, and the position to write.
    case write(Int, ReadingValue)
    case log(ActuationEntry)
}
