import Glibc
public import Primitives

/// The system's clocks.
public enum SystemTime {
    /// CLOCK_BOOTTIME: does not jump, and counts while the board sleeps.
    public static var monotonic: MonotonicInstant {
        let time = read(CLOCK_BOOTTIME)
        return MonotonicInstant(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }

    /// Names this start of the machine; empty when the system does not say. Source: proc(5),
    /// /proc/sys/kernel/random/boot_id.
    public static let bootID: String = {
        let descriptor = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 36)
        let count = Glibc.read(descriptor, &bytes, bytes.count)
        return count > 0 ? String(decoding: bytes[..<count], as: UTF8.self) : ""
    }()

    /// CLOCK_REALTIME in UTC; it may jump.
    public static var wall: WallInstant {
        let time = read(CLOCK_REALTIME)
        return WallInstant(milliseconds: Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000)
    }

    /// The time until `deadline` as `poll` wants it: rounded up, 0 when it has passed, at most one hour.
    public static func pollMilliseconds(until deadline: MonotonicInstant) -> Int32 {
        let now = monotonic
        guard deadline > now else { return 0 }
        let left = (deadline - now).nanosecondsClamped
        return Int32(min(left / 1_000_000 + 1, 3_600_000))
    }

    private static func read(_ clock: Int32) -> timespec {
        var time = timespec()
        clock_gettime(clock, &time)
        return time
    }
}
