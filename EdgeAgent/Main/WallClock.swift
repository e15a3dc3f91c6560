import CLinux
import DriverRuntime
import Primitives
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

    static let forDrivers = DriverClock(monotonic: { SystemTime.monotonic }, wall: { now() })
}
