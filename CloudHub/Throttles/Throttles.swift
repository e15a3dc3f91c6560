public import HubContract
public import Primitives
import Synchronization

/// Holds devices to what they may do. Any thread; a call costs one short lock.
///
/// Telemetry over MQTT does not come here message by message: its connection keeps `telemetryPace`, and its event loop
/// takes the hub's tokens by the hundred with `takeTelemetry`.
public final class Throttles: Sendable {
    public let limits: ThrottleLimits
    private let book: Mutex<ThrottleBook>
    private let clock: @Sendable () -> MonotonicInstant
    /// What one device may send; every connection keeps a copy of its own.
    public let telemetryPace: Pace
    /// Messages that an event loop takes from the hub's limit at a time; `nil` when there is none.
    public let telemetryShare: Int?

    public init(_ limits: ThrottleLimits, clock: @escaping @Sendable () -> MonotonicInstant) {
        self.limits = limits
        book = Mutex(ThrottleBook(limits))
        self.clock = clock
        telemetryPace = Pace(limits.device[.telemetry])
        telemetryShare = limits.hub[.telemetry].map { Self.share(of: $0) }
    }

    /// Lets one through, or says why not.
    /// - Parameter device: `nil` for what belongs to no device; then the hub's limit alone counts.
    public func admit(_ kind: ThrottledKind, _ device: DeviceID? = nil, count: Int = 1) -> Throttled? {
        let now = clock()
        return book.withLock { $0.admit(kind, device, count: count, now: now) }
    }

    /// The bucket that a device's new connection goes on with: what it left behind counts.
    public func beginTelemetry(of device: DeviceID) -> Pace {
        telemetryPace.interval == 0 ? telemetryPace : book.withLock { $0.pace(.telemetry, device) ?? telemetryPace }
    }

    /// The connection is gone: what it sent too much is remembered.
    public func endTelemetry(of device: DeviceID, _ pace: Pace) {
        guard pace.interval > 0 else { return }
        let now = clock()
        book.withLock { $0.keep(pace, .telemetry, device, now: now) }
    }

    /// What is wrong when too much telemetry comes, and what to do.
    public func telemetrySentence(isWholeHub: Bool) -> String? {
        let rates = isWholeHub ? limits.hub : limits.device
        return rates[.telemetry].map { Throttled.sentence(.telemetry, $0, isWholeHub: isWholeHub) }
    }

    /// Takes an event loop's next share of the hub's telemetry.
    /// - Returns: until when the loop must not read on; not after `now` when the hub is below its limit.
    public func takeTelemetry(_ count: Int, now: MonotonicInstant) -> MonotonicInstant {
        book.withLock { $0.spendHub(.telemetry, count, now: now) }
    }

    /// A hundredth of what may come at once: so loops are never far ahead of each other.
    private static func share(of rate: Rate) -> Int { min(1024, max(1, rate.count / 100)) }
}

extension HubError {
    /// 429, with the time after which to try again.
    public init(_ throttled: Throttled) {
        self.init(.throttlingException, throttled.sentence, retryAfterSeconds: throttled.retryAfterSeconds)
    }
}
