public import Primitives
internal import Synchronization
internal import Telemetry

/// The gateway's time for everybody who needs it: one `Timekeeper`, asked from any thread. It brings no clock along:
/// the system's clocks are looked at by whoever made it.
public final class GatewayClock: Sendable {
    /// Corrections that are remembered; older ones matter to nobody.
    public static let correctionsMax = 64

    private struct State {
        var keeper: Timekeeper
        var corrections: [Timekeeper.Correction] = []
        var correctionCount = 0
    }

    private let state: Mutex<State>
    private let look: @Sendable () -> Timekeeper.SystemLook
    private let corrected: @Sendable (Timekeeper.Correction) -> Void

    /// - Parameters:
    ///   - earliest: when this program was made.
    ///   - lastRun: the last wall time that an earlier run has kept.
    ///   - lowest: a time that has surely passed, because an earlier run knew it.
    ///   - look: reads the system's clocks. Any thread.
    ///   - corrected: told of every correction, on the thread that caused it.
    public init(
        earliest: WallInstant, lastRun: WallInstant?, lowest: WallInstant? = nil,
        look: @escaping @Sendable () -> Timekeeper.SystemLook,
        corrected: @escaping @Sendable (Timekeeper.Correction) -> Void = { _ in }
    ) {
        self.look = look
        self.corrected = corrected
        state = Mutex(State(keeper: Timekeeper(earliest: earliest, lastRun: lastRun, lowest: lowest, look: look())))
    }

    /// The time, its quality and where it comes from.
    public func now() -> Timekeeper.Reading { at().reading }

    /// The same, with the monotonic clock of the same moment.
    public func at() -> (monotonic: MonotonicInstant, reading: Timekeeper.Reading) {
        change { keeper, look in
            let (reading, correction) = keeper.now(look)
            return ((look.monotonic, reading), correction)
        }
    }

    /// What a certificate is checked at; never before this program was made.
    public func certificateTime() -> WallInstant {
        change { keeper, look in
            let (reading, correction) = keeper.now(look)
            return (max(reading.time, keeper.earliest), correction)
        }
    }

    /// The earliest time that it can be, whatever the system's clock says.
    public func lowestTime() -> WallInstant {
        state.withLock { $0.keeper.lowestTime(at: look().monotonic) }
    }

    /// What the next run is to know: the time itself while it is known, and else the earliest that it can be.
    public func memory(of restamper: Restamper) -> ClockMemory {
        let reading = now()
        return ClockMemory(restamper, lowest: reading.quality == .synchronised ? reading.time : lowestTime())
    }

    /// The hub said what time it is, on a connection whose certificate was checked.
    ///
    /// - Parameters:
    ///   - time: its word for the moment `at`.
    ///   - uncertainty: how far off that may be.
    ///   - source: `.hub` or `.hubDate`.
    public func learned(
        _ time: WallInstant, at moment: MonotonicInstant, uncertainty: Duration, from source: Timekeeper.Source
    ) {
        change { keeper, look in
            let present = time + (look.monotonic - moment)
            return ((), keeper.learned(present, uncertainty: uncertainty, from: source, look: look))
        }
    }

    /// How often the time was corrected, and the corrections after the first `count` of them, the oldest first.
    public func corrections(after count: Int) -> (count: Int, corrections: ArraySlice<Timekeeper.Correction>) {
        state.withLock { ($0.correctionCount, $0.corrections.suffix(max(0, $0.correctionCount - count))) }
    }

    private func change<Result: Sendable>(
        _ body: (inout Timekeeper, Timekeeper.SystemLook) -> (Result, Timekeeper.Correction?)
    ) -> Result {
        let (result, correction) = state.withLock { state in
            let (result, correction) = body(&state.keeper, look())
            if let correction {
                state.correctionCount += 1
                state.corrections = (state.corrections + [correction]).suffix(Self.correctionsMax)
            }
            return (result, correction)
        }
        if let correction { corrected(correction) }
        return result
    }
}
