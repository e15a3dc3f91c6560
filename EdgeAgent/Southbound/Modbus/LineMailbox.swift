import DriverRuntime
import Primitives
import SouthboundAPI
import Synchronization

/// What other threads leave for the line's thread.
final class LineMailbox: Sendable {
    static let jobsMax = 256

    private struct State {
        /// Oldest first; one actuation a register.
        var jobs: [WriteJob] = []
        /// How deliveries have ended that the line handed over, oldest first.
        var endings: [SinkError?] = []
        var isStopping = false
    }

    enum Refusal: Error, Equatable { case full, stopping }

    private let state = Mutex(State())
    let wake: WakeSignal

    init(wake: WakeSignal) { self.wake = wake }

    /// A later actuation of a register replaces one that waits.
    func leave(_ job: WriteJob) throws(Refusal) {
        let refusal: Refusal? = state.withLock { state in
            if state.isStopping { return .stopping }
            if let index = state.jobs.firstIndex(where: { $0.isReplaced(by: job) }) { state.jobs.remove(at: index) }
            guard state.jobs.count < Self.jobsMax else { return .full }
            state.jobs.append(job)
            return nil
        }
        if let refusal { throw refusal }
        wake.ring()
    }

    /// The oldest one, so that a line that breaks in between loses none of the others.
    func takeFirst() -> WriteJob? {
        state.withLock { state in state.jobs.isEmpty ? nil : state.jobs.removeFirst() }
    }

    /// Those among the jobs that are actuations.
    func takeActuations() -> [WriteJob] {
        state.withLock { state in
            let taken = state.jobs.filter(\.isActuation)
            state.jobs.removeAll(where: \.isActuation)
            return taken
        }
    }

    /// A delivery has ended; any thread.
    func leave(ending: SinkError?) {
        state.withLock { $0.endings.append(ending) }
        wake.ring()
    }

    func takeEndings() -> [SinkError?] {
        state.withLock { state in
            defer { state.endings.removeAll(keepingCapacity: true) }
            return state.endings
        }
    }

    func stop() {
        state.withLock { $0.isStopping = true }
        wake.ring()
    }

    var isStopping: Bool { state.withLock { $0.isStopping } }
}

extension WriteJob {
    var isActuation: Bool { if case .actuation = origin { true } else { false } }

    /// Both are actuations of the same register of the same unit.
    func isReplaced(by newer: WriteJob) -> Bool {
        guard case .actuation(let register, _) = origin, case .actuation(let newRegister, _) = newer.origin else {
            return false
        }
        return unit == newer.unit && register == newRegister
    }
}
