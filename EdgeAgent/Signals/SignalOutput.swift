internal import Primitives
public import Telemetry

/// A reading as rules and filters see it: converted and marked.
public struct PreparedReading: Sendable {
    public let reading: Reading
    /// The value as rules see it; `nil` for a text.
    public let number: Double?
    /// `nil` when nothing is declared for the signal.
    let channel: Int?
    let time: MonotonicInstant
    /// A window's result: filtered no more.
    let isResult: Bool
}

/// What follows from one reading, or from time.
public struct SignalOutput: Sendable {
    /// To be kept, in this order, before the reading that was given.
    public internal(set) var kept: [Reading] = []
    /// Results of windows and expressions, which are readings of their own: to be prepared and taken in turn.
    public internal(set) var derived: [DerivedReading] = []
    public internal(set) var notices: [SignalNotice] = []

    public init() {}
}

/// A reading that was worked out.
public struct DerivedReading: Sendable, Equatable {
    public let reading: Reading
    /// Of a window; else of an expression.
    public let isResult: Bool
}

/// State of one signal for the transaction that keeps the readings.
public struct SignalRow: Sendable, Equatable {
    public let key: String
    /// Empty for nothing.
    public let bytes: [UInt8]
}

/// What the operator should hear about.
public enum SignalNotice: Sendable, Equatable, CustomStringConvertible {
    /// There is no room for another signal. Once.
    case full(SignalKey)
    /// There is no room for another device's expression. Once a table.
    case expressionsFull(SignalKey)
    /// The reading's unit has no way to the wanted one. Once a signal.
    case unitUnknown(SignalKey, unit: String, wanted: String)
    /// The minute before a fault is longer than there is room for.
    case contextCut(SignalKey, kept: Int)
    /// The kept state cannot be read, or belongs to other settings: the signal starts anew.
    case stateUnreadable(String)

    public var description: String {
        switch self {
        case .full(let key):
            "\(key.metric) of \(key.device) is not filtered, and no further signal is: there are more than "
                + "\(Signals.keysMax) signals; name the devices and metrics in [[signal]]"
        case .expressionsFull(let key):
            "\(key.metric) of \(key.device) is not worked out: there are more than \(Signals.derivationsMax) already; "
                + "name the devices in [[signal]]"
        case .unitUnknown(let key, let unit, let wanted):
            "\(key.metric) of \(key.device) comes in \(unit.prefix(40)), which cannot be converted to \(wanted); it is "
                + "taken as it is. Mend unit or from_unit in [[signal]], or the unit that its driver gives"
        case .contextCut(let key, let kept):
            "of the minute before a fault only the last \(kept) left-out readings of \(key.metric) of \(key.device) "
                + "were there; raise context_max in [[signal]]"
        case .stateUnreadable(let name):
            "the kept state of \(name) cannot be read or is of other settings; its windows start anew"
        }
    }
}
