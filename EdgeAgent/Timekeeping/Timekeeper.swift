public import Primitives
public import Telemetry

/// What time it is, and how far that can be trusted. A machine without a clock: every question brings a look at the
/// system's clocks with it.
///
///     unset ──plausible clock, kept time──► guessed ──time service, hub──► synchronised
///                                              ▲──────── too long alone ──────┘
///
/// Time is held as an offset to the monotonic clock. The system's clock moves it only while a time service vouches for
/// it, or while nothing better is known; the hub's word moves it unless a time service vouches for the system's clock.
public struct Timekeeper: Sendable {
    /// One look at the system's clocks.
    public struct SystemLook: Sendable, Equatable {
        public var monotonic: MonotonicInstant
        public var wall: WallInstant
        /// The kernel says that a time service disciplines the wall clock.
        public var isDisciplined: Bool

        public init(monotonic: MonotonicInstant, wall: WallInstant, isDisciplined: Bool) {
            self.monotonic = monotonic
            self.wall = wall
            self.isDisciplined = isDisciplined
        }
    }

    /// Where the time comes from, the least trusted first.
    public enum Source: Int, Sendable, Comparable, CaseIterable, CustomStringConvertible {
        case nothing
        /// The time of the last commit of an earlier run, and what has passed since this one began.
        case lastRun
        /// A clock that nobody vouches for.
        case systemClock
        /// The `Date` header of the hub.
        case hubDate
        /// The hub's answer about the time.
        case hub
        /// A disciplined system clock.
        case timeService

        public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }

        public var description: String {
            switch self {
            case .nothing: "nothing"
            case .lastRun: "the last run"
            case .systemClock: "the system's clock"
            case .hubDate: "the hub's date"
            case .hub: "the hub"
            case .timeService: "a time service"
            }
        }
    }

    /// The time at one moment.
    public struct Reading: Sendable, Equatable {
        public let time: WallInstant
        public let quality: ClockQuality
        public let source: Source
    }

    /// The time was set anew. What was stamped before with a clock that was not synchronised is off by `delta`.
    public struct Correction: Sendable, Equatable {
        /// When, on the clock that does not jump.
        public let at: MonotonicInstant
        /// To be added to what was given before; positive when the clock was behind.
        public let delta: Duration
        /// The time as it was given until then.
        public let before: WallInstant
        public let qualityBefore: ClockQuality
        public let from: Source
        public let to: Source
        public let quality: ClockQuality
    }

    /// A smaller difference is followed without an event, and never backwards.
    public static let stepMin = Duration.seconds(1)
    /// What a board's monotonic clock is assumed to be off: 100 millionths.
    public static let driftMillionths = 100
    /// A time that may be off by more than this is no longer synchronised: after three and a half days alone.
    public static let uncertaintyMax = Duration.seconds(30)

    /// No time before this is believed of anybody.
    let earliest: WallInstant
    /// Wall time at the monotonic clock's zero.
    private var zero: WallInstant
    private var source: Source
    private var uncertainty: Duration
    private var setAt: MonotonicInstant
    /// Nothing earlier is given without a correction.
    private var lastGiven: WallInstant
    /// Of the system's clock when it was looked at last: it has jumped when this moves.
    private var systemZero: WallInstant
    /// At the monotonic zero: the real time is not before this. A guess of an earlier run does not count: a clock that
    /// was ten years ahead then would stay there for ever.
    private let lowest: WallInstant

    /// - Parameters:
    ///   - earliest: when this program was made.
    ///   - lastRun: the last wall time that an earlier run has kept; it was not unset then, but it may have been a guess.
    ///   - lowest: a time that has surely passed, because an earlier run knew it.
    public init(earliest: WallInstant, lastRun: WallInstant?, lowest floor: WallInstant? = nil, look: SystemLook) {
        self.earliest = earliest
        let floor = max(floor ?? earliest, earliest)
        let known = lastRun.flatMap { $0 >= earliest ? max($0, floor) : nil } ?? (floor > earliest ? floor : nil)
        systemZero = Self.zero(of: look.wall, at: look.monotonic)
        lowest = Self.zero(of: floor, at: look.monotonic)
        setAt = look.monotonic
        lastGiven = WallInstant(milliseconds: .min)
        uncertainty = .zero
        if look.isDisciplined, look.wall >= earliest {
            (source, zero) = (.timeService, systemZero)
        } else if look.wall >= max(earliest, known ?? earliest) {
            (source, zero) = (.systemClock, systemZero)
        } else if let known {
            (source, zero) = (.lastRun, Self.zero(of: known, at: look.monotonic))
        } else {
            (source, zero) = (.nothing, systemZero)
        }
    }

    // MARK: Asking

    /// The time now. Looks at the system's clock first, which may correct it.
    public mutating func now(_ look: SystemLook) -> (reading: Reading, correction: Correction?) {
        let correction = consider(look)
        let time = max(lastGiven, zero + Self.sinceZero(look.monotonic))
        lastGiven = time
        return (Reading(time: time, quality: quality(at: look.monotonic), source: source), correction)
    }

    /// The earliest time that it can be: for a check while the clock is in doubt.
    public func lowestTime(at now: MonotonicInstant) -> WallInstant {
        max(earliest, lowest + Self.sinceZero(now))
    }

    private func quality(at now: MonotonicInstant) -> ClockQuality {
        switch source {
        case .nothing: .unset
        case .lastRun, .systemClock: .guessed
        case .hubDate, .hub, .timeService: uncertainty(at: now) <= Self.uncertaintyMax ? .synchronised : .guessed
        }
    }

    private func uncertainty(at now: MonotonicInstant) -> Duration {
        uncertainty + max(now - setAt, .zero) * Self.driftMillionths / 1_000_000
    }

    // MARK: Learning

    /// The hub said what time it is, on a connection whose certificate was checked.
    ///
    /// - Parameters:
    ///   - time: its word for `look.monotonic`.
    ///   - uncertainty: how far off that may be.
    ///   - source: `.hub` or `.hubDate`.
    public mutating func learned(
        _ time: WallInstant, uncertainty: Duration, from source: Source, look: SystemLook
    ) -> Correction? {
        precondition(source == .hub || source == .hubDate, "the system's clock is looked at, not learned from")
        let seen = consider(look)
        let isVouchedFor = self.source == .timeService && look.isDisciplined
        guard time >= earliest, uncertainty < Self.uncertaintyMax, !isVouchedFor else { return seen }
        let heard = Self.zero(of: time, at: look.monotonic)
        if quality(at: look.monotonic) == .synchronised {
            let own = self.uncertainty(at: look.monotonic)
            // Both may be right: the sharper one stays.
            if Self.distance(heard, zero) <= own + uncertainty, own <= uncertainty { return seen }
        }
        let correction = set(heard, source, uncertainty, at: look.monotonic)
        guard let seen, let correction else { return correction ?? seen }
        return Correction(
            at: correction.at, delta: seen.delta + correction.delta, before: seen.before,
            qualityBefore: seen.qualityBefore, from: seen.from, to: source, quality: correction.quality)
    }

    private mutating func consider(_ look: SystemLook) -> Correction? {
        let seen = Self.zero(of: look.wall, at: look.monotonic)
        let hasJumped = Self.distance(seen, systemZero) >= Self.stepMin
        systemZero = seen
        guard look.wall >= earliest else { return nil }
        if look.isDisciplined { return set(seen, .timeService, .zero, at: look.monotonic) }
        switch source {
        case .nothing: return set(seen, .systemClock, .zero, at: look.monotonic)
        case .lastRun, .systemClock:
            // Somebody has set it, or it has broken; only what cannot be true is known to be wrong.
            guard hasJumped, look.wall >= lowestTime(at: look.monotonic) else { return nil }
            return set(seen, .systemClock, .zero, at: look.monotonic)
        case .hubDate, .hub, .timeService: return nil
        }
    }

    private mutating func set(
        _ newZero: WallInstant, _ newSource: Source, _ newUncertainty: Duration, at now: MonotonicInstant
    ) -> Correction? {
        let delta = newZero - zero
        let before = zero + Self.sinceZero(now)
        let (oldSource, oldQuality) = (source, quality(at: now))
        (zero, source, uncertainty, setAt) = (newZero, newSource, newUncertainty, now)
        let isStep = delta >= Self.stepMin || delta <= .zero - Self.stepMin
        guard isStep || oldQuality != quality(at: now) else { return nil }
        lastGiven = WallInstant(milliseconds: .min)
        return Correction(
            at: now, delta: delta, before: before, qualityBefore: oldQuality, from: oldSource, to: newSource,
            quality: quality(at: now))
    }

    // MARK: Reckoning

    private static func sinceZero(_ instant: MonotonicInstant) -> Duration { .nanoseconds(instant.nanoseconds) }

    private static func zero(of wall: WallInstant, at instant: MonotonicInstant) -> WallInstant {
        wall + (.zero - sinceZero(instant))
    }

    private static func distance(_ one: WallInstant, _ other: WallInstant) -> Duration {
        one < other ? other - one : one - other
    }
}
