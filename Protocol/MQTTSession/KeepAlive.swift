public import Primitives

/// Decides when a silent client is dead. Source: MQTT 3.1.1 section 3.1.2.10; the cap: Azure IoT Hub.
///
/// Hearing the client only notes the time; the deadline is worked out when the timer asks. So a packet costs one store.
public struct KeepAlive: ~Copyable {
    private enum State {
        /// The client turned keep alive off. No exit.
        case off
        /// The client must be heard before `lastHeard + grace`. Exits: `expired`.
        case watching(lastHeard: MonotonicInstant, grace: Duration)
        /// The client was silent too long. No exit.
        case expired
    }

    public enum TimerAction: Equatable, Sendable {
        case rearm(at: MonotonicInstant)
        case closeConnection
        case ignore
    }

    private var state: State

    /// - Parameters:
    ///   - seconds: the client's own figure; zero turns it off. The client gets one and a half times as long.
    ///   - silenceMax: the longest grace given, whatever the client asks for.
    public init(seconds: UInt16, silenceMax: Duration, now: MonotonicInstant) {
        state =
            seconds == 0
            ? .off : .watching(lastHeard: now, grace: min(.milliseconds(1500 * Int64(seconds)), silenceMax))
    }

    /// `nil` when there is nothing to wait for.
    public var deadline: MonotonicInstant? {
        switch state {
        case .off, .expired: nil
        case .watching(let lastHeard, let grace): lastHeard + grace
        }
    }

    /// Any packet counts.
    public mutating func packetReceived(now: MonotonicInstant) {
        if case .watching(_, let grace) = state { state = .watching(lastHeard: now, grace: grace) }
    }

    public mutating func timerFired(now: MonotonicInstant) -> TimerAction {
        switch state {
        case .off, .expired: return .ignore
        case .watching(let lastHeard, let grace) where now < lastHeard + grace: return .rearm(at: lastHeard + grace)
        case .watching:
            state = .expired
            return .closeConnection
        }
    }
}
