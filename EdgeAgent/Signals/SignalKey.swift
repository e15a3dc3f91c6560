public import Primitives
public import Telemetry

/// One metric of one device.
public struct SignalKey: Hashable, Sendable, Comparable {
    public let device: DeviceID
    public let metric: String

    public init(device: DeviceID, metric: String) {
        self.device = device
        self.metric = metric
    }

    public static func < (left: Self, right: Self) -> Bool {
        (left.device, left.metric) < (right.device, right.metric)
    }
}

/// The three clocks of one moment.
public struct SignalTime: Sendable, Equatable {
    public var monotonic: MonotonicInstant
    public var wall: WallInstant
    public var clock: ClockQuality

    public init(monotonic: MonotonicInstant, wall: WallInstant, clock: ClockQuality) {
        self.monotonic = monotonic
        self.wall = wall
        self.clock = clock
    }

    /// When a reading was taken, on the axis that never jumps: as long ago as its own time says, if that is within a
    /// minute; else now, because then one of the two wall times was wrong.
    func eventTime(of reading: Reading) -> MonotonicInstant {
        let age = wall - reading.time
        guard age > .zero, age <= .seconds(60) else { return monotonic }
        return MonotonicInstant(nanoseconds: monotonic.nanoseconds - age.nanosecondsClamped)
    }

    /// The wall time of another moment, by today's clock.
    func wall(at instant: MonotonicInstant) -> WallInstant {
        let (difference, overflow) = instant.nanoseconds.subtractingReportingOverflow(monotonic.nanoseconds)
        guard !overflow else { return wall }
        // Rounded, not cut: a window's end on a full minute shall read so.
        let milliseconds = difference >= 0 ? (difference + 500_000) / 1_000_000 : (difference - 500_000) / 1_000_000
        return WallInstant(milliseconds: wall.milliseconds + milliseconds)
    }
}
