public import Primitives
public import Telemetry

/// The two clocks as a driver sees them. `Main` gives the real ones; the agent's idea of how good the wall clock is
/// comes with each look at it.
public struct DriverClock: Sendable {
    /// For intervals and deadlines: nanoseconds of the system's monotonic clock.
    public let monotonic: @Sendable () -> MonotonicInstant
    /// For time stamps.
    public let wall: @Sendable () -> (time: WallInstant, quality: ClockQuality)

    public init(
        monotonic: @escaping @Sendable () -> MonotonicInstant,
        wall: @escaping @Sendable () -> (time: WallInstant, quality: ClockQuality)
    ) {
        self.monotonic = monotonic
        self.wall = wall
    }
}
