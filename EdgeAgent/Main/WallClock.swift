import CLinux
import DriverRuntime
import Glibc
import Primitives
import Rules
import SouthboundAPI
import Telemetry

/// How far the wall clock can be trusted.
enum WallClock {
    /// A board without a battery-backed clock starts near 1970: before this program existed is no time at all.
    static let earliestPlausible = WallInstant(milliseconds: 1_793_491_200_000)  // 2026-11-01

    /// The time and its quality: `synchronised` when the kernel says that a time service disciplines the clock,
    /// `guessed` when it is at least plausible.
    static func now() -> (time: WallInstant, quality: ClockQuality) {
        let time = SystemTime.wall
        guard time >= earliestPlausible else { return (time, .unset) }
        var report = timex()
        let state = adjtimex(&report)
        let isDisciplined = state >= 0 && state != TIME_ERROR && report.status & STA_UNSYNC == 0
        return (time, isDisciplined ? .synchronised : .guessed)
    }

    /// Seconds east of Greenwich in a schedule's zone.
    static func offset(in zone: Schedule.Zone, at time: WallInstant) -> Int {
        if let fixed = zone.fixedOffset { return fixed }
        var seconds = time_t(time.milliseconds / 1000)
        var parts = tm()
        return localtime_r(&seconds, &parts) == nil ? 0 : parts.tm_gmtoff
    }

    static let forDrivers = DriverClock(monotonic: { SystemTime.monotonic }, wall: { now() })
}
