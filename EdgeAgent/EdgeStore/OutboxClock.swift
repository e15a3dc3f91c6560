internal import Glibc
public import Outbox
public import Primitives
public import Telemetry

/// Where the store looks for the time. Ages need it between commits, too.
public struct OutboxClock: Sendable {
    public let now: @Sendable () -> KnownElapsed.Clocks

    public init(now: @escaping @Sendable () -> KnownElapsed.Clocks) { self.now = now }

    /// The system's clocks.
    ///
    /// - Parameter wall: the wall clock and how far it can be trusted.
    public static func system(
        wall: @escaping @Sendable () -> (time: WallInstant, quality: ClockQuality)
    ) -> OutboxClock {
        let boot = bootID()
        return OutboxClock {
            var time = timespec()
            clock_gettime(CLOCK_BOOTTIME, &time)
            let (wall, quality) = wall()
            return KnownElapsed.Clocks(
                monotonic: MonotonicInstant(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)),
                wall: wall, quality: quality, boot: boot)
        }
    }

    /// The system's clocks, with a wall clock that nobody vouches for.
    public static let untrusted = OutboxClock.system {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return (WallInstant(milliseconds: Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000), .guessed)
    }

    /// Names this start of the machine. Source: proc(5), /proc/sys/kernel/random/boot_id.
    private static func bootID() -> [UInt8] { SmallFile.read("/proc/sys/kernel/random/boot_id", bytesMax: 36) }
}

/// Files of a few bytes, read at once.
enum SmallFile {
    /// Empty when it cannot be read.
    static func read(_ path: String, bytesMax: Int) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return [] }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: bytesMax)
        let count = Glibc.read(descriptor, &bytes, bytesMax)
        return count > 0 ? Array(bytes[..<count]) : []
    }
}

/// What this process has sent to its disks so far. Source: proc(5), /proc/pid/io.
enum ProcessWrites {
    static var bytes: UInt64 {
        let text = String(decoding: SmallFile.read("/proc/self/io", bytesMax: 512), as: UTF8.self)
        let line = text.split(separator: "\n").first { $0.hasPrefix("write_bytes: ") }
        return line.flatMap { UInt64($0.dropFirst(13)) } ?? 0
    }
}
