import CLinux
import DriverRuntime
import Glibc
import Logging
import Primitives
import Rules
import SouthboundAPI
import Synchronization
import Telemetry
import TimeZones
import Timekeeping

/// The system's clocks, and what the agent makes of them.
enum WallClock {
    /// 2026-11-01: this program did not exist before. A board without a battery-backed clock starts near 1970.
    static let earliestPlausible = WallInstant(milliseconds: 1_793_491_200_000)

    /// Both clocks at one moment, and whether the kernel says that a time service disciplines the wall clock.
    static func look() -> Timekeeper.SystemLook {
        var report = timex()
        let state = adjtimex(&report)
        let isDisciplined = state >= 0 && state != TIME_ERROR && report.status & STA_UNSYNC == 0
        var before = SystemTime.monotonic
        var wall = SystemTime.wall
        // Whoever is held up between the two would see a clock that jumps.
        for _ in 0..<8 where SystemTime.monotonic - before > .milliseconds(5) {
            before = SystemTime.monotonic
            wall = SystemTime.wall
        }
        return Timekeeper.SystemLook(monotonic: before, wall: wall, isDisciplined: isDisciplined)
    }

    /// The gateway's clock, which tells the log of every correction.
    static func gatewayClock(lastRun: WallInstant?, lowest: WallInstant?, logger: Logger) -> GatewayClock {
        GatewayClock(earliest: earliestPlausible, lastRun: lastRun, lowest: lowest, look: look) { correction in
            let metadata: Logger.Metadata = [
                "wasFrom": "\(correction.from)", "isFrom": "\(correction.to)",
                "quality": "\(correction.quality.rawValue)",
            ]
            if correction.delta >= Timekeeper.stepMin {
                logger.warning(
                    "the clock of this gateway was behind and is corrected",
                    metadata: metadata.merging(["behind": "\(text(correction.delta))"]) { $1 })
            } else if correction.delta <= .zero - Timekeeper.stepMin {
                logger.warning(
                    "the clock of this gateway was ahead and is corrected",
                    metadata: metadata.merging(["ahead": "\(text(.zero - correction.delta))"]) { $1 })
            } else {
                logger.info("the time of this gateway is known better", metadata: metadata)
            }
        }
    }

    /// Whole seconds, and of more than a day whole minutes.
    private static func text(_ duration: Duration) -> String {
        let seconds = duration.components.seconds
        return DurationText.format(.seconds(seconds >= 86_400 ? seconds / 60 * 60 : seconds))
    }

    /// Seconds east of Greenwich in a schedule's zone.
    static func offset(in zone: Schedule.Zone, at time: WallInstant) -> Int {
        if let fixed = zone.fixedOffset { return fixed }
        // A zone that is not there was refused before.
        if case .named(let name) = zone { return SystemZones.files.rules(of: name)?.offset(at: time.unixSeconds) ?? 0 }
        var seconds = time_t(time.milliseconds / 1000)
        var parts = tm()
        return localtime_r(&seconds, &parts) == nil ? 0 : parts.tm_gmtoff
    }
}

extension DriverClock {
    /// The gateway's time, as drivers see it.
    init(_ clock: GatewayClock) {
        self.init(
            monotonic: { SystemTime.monotonic },
            wall: {
                let reading = clock.now()
                return (reading.time, reading.quality)
            })
    }
}

/// The time as the outbox sees it: it is opened before the gateway's clock, which begins with the time that it kept.
final class StoreClock: Sendable {
    private let clock = Mutex<GatewayClock?>(nil)

    func runs(by clock: GatewayClock) { self.clock.withLock { $0 = clock } }

    func now() -> (time: WallInstant, quality: ClockQuality) {
        if let clock = clock.withLock({ $0 }) {
            let reading = clock.now()
            return (reading.time, reading.quality)
        }
        let look = WallClock.look()
        guard look.wall >= WallClock.earliestPlausible else { return (look.wall, .unset) }
        return (look.wall, look.isDisciplined ? .synchronised : .guessed)
    }
}
