internal import DriverRuntime
internal import Synchronization

/// Looks one name up on a thread of its own, because the system's resolver blocks for as long as it likes.
///
/// At most one look-up runs; one that hangs is waited for by the next attempt and not doubled.
final class Resolver {
    /// What became of a look-up; empty when the name has no address.
    private final class Answer: Sendable {
        let addresses = Mutex<[String]?>(nil)
    }

    private struct Running {
        let host: String
        let answer: Answer
        let thread: OwnThread
    }

    private var running: Running?

    /// Begins a look-up, unless one of this name runs already. `false` when the system gives no thread.
    ///
    /// - Parameter wake: rung when the answer is there.
    func begin(_ host: String, wake: WakeSignal) -> Bool {
        if let running, running.host == host { return true }
        let answer = Answer()
        let thread = OwnThread.run(name: "resolver") {
            let found: [String]
            do throws(HostAddresses.LookupFailure) {
                found = try HostAddresses.resolve(host)
            } catch {
                found = []
            }
            answer.addresses.withLock { $0 = found }
            wake.ring()
        }
        guard let thread else { return false }
        running = Running(host: host, answer: answer, thread: thread)
        return true
    }

    /// The addresses, once; `nil` while they are not known.
    func take() -> [String]? {
        guard let found = running?.answer.addresses.withLock({ $0 }) else { return nil }
        running?.thread.join()
        running = nil
        return found
    }
}
