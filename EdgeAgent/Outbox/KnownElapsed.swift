public import Primitives
public import Telemetry

/// Time that has surely passed since the outbox was made. Pure.
///
/// Ages are counted on this axis and not on the wall clock, so that a clock which jumps expires nothing. While the agent
/// runs, the monotonic clock counts. What passed while it was off counts only as far as it is known: the machine was
/// not restarted meanwhile, or a time service vouched for the wall clock both then and now. What is not known does not
/// count, so a record may be kept for too long, and never for too short.
///
/// When that becomes known only later, the axis makes a leap, which `settle` tells: what was put on it in this run
/// before has to leap with it.
public struct KnownElapsed: Sendable, Equatable {
    /// The clocks at one moment.
    public struct Clocks: Sendable, Equatable {
        /// Counts since the machine was started, also while it sleeps.
        public var monotonic: MonotonicInstant
        public var wall: WallInstant
        public var quality: ClockQuality
        /// Names one start of the machine; empty when it is not known.
        public var boot: [UInt8]

        public init(monotonic: MonotonicInstant, wall: WallInstant, quality: ClockQuality, boot: [UInt8]) {
            self.monotonic = monotonic
            self.wall = wall
            self.quality = quality
            self.boot = boot
        }
    }

    /// What a commit keeps, for the next run.
    public struct Mark: Sendable, Equatable {
        public var elapsed: Duration
        public var clocks: Clocks

        public init(elapsed: Duration, clocks: Clocks) {
            self.elapsed = elapsed
            self.clocks = clocks
        }
    }

    private let start: MonotonicInstant
    /// Where this run began on the axis, as far as known.
    private var base: Duration
    /// The last mark of the run before, until it is known how long the agent was off.
    private var unsettled: Mark?

    /// - Parameter last: what the last commit of an earlier run kept; `nil` for a new outbox.
    public init(after last: Mark?, now: Clocks) {
        start = now.monotonic
        base = last?.elapsed ?? .zero
        guard let last else { return }
        if !now.boot.isEmpty, now.boot == last.clocks.boot {
            base += max(now.monotonic - last.clocks.monotonic, .zero)
        } else {
            unsettled = last
            _ = settle(now)
        }
    }

    /// The time now on the axis; never less than before.
    public func elapsed(_ now: Clocks) -> Duration {
        if PlantedBug.agentExpiresByWallClock.isPlanted { return .milliseconds(now.wall.milliseconds) }
        return base + max(now.monotonic - start, .zero)
    }

    /// A wall clock that has become trusted settles how long the agent was off.
    ///
    /// - Returns: the leap that the axis made; usually zero.
    public mutating func settle(_ now: Clocks) -> Duration {
        guard let last = unsettled, now.quality == .synchronised else { return .zero }
        unsettled = nil
        guard last.clocks.quality == .synchronised else { return .zero }
        let between = Duration.milliseconds(now.wall.milliseconds - last.clocks.wall.milliseconds)
        let leap = max(between - max(now.monotonic - start, .zero), .zero)
        base += leap
        return leap
    }
}

extension PlantedBug {
    /// Ages go by the wall clock.
    static var agentExpiresByWallClock: PlantedBug { PlantedBug("agentExpiresByWallClock") }
}
