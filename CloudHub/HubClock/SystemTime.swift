import Glibc
public import Primitives

/// The system's clocks; the only place in the hub that reads them for the rooms.
///
/// A room of its own, without NIO beside it: the C types of the clock calls must come from one module alone.
public enum SystemTime {
    /// Civil time. It can jump.
    @Sendable public static func wall() -> WallInstant {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return WallInstant(milliseconds: Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000)
    }

    /// Never jumps; counts from boot.
    @Sendable public static func monotonic() -> MonotonicInstant {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return MonotonicInstant(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }
}
