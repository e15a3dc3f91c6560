import HubContract
import JSON
import Primitives
import Synchronization

/// The method calls that wait for their device. Each gets exactly one answer: the device's, or that it took too long.
final class MethodCalls: Sendable {
    /// Calls that may wait at once in the whole hub.
    static let waitingMax = 10_000

    private struct Call {
        let target: HubIdentity
        let continuation: CheckedContinuation<Result<MethodResult, HubError>, Never>
        var timer: Task<Void, Never>?
    }

    private struct State {
        var calls: [String: Call] = [:]
        var lastNumber: UInt64 = 0
    }

    private let state = Mutex(State())

    /// Hands `send` the request id under which the answer will come, and waits for it.
    func call(
        _ target: HubIdentity, timeLimit: Duration, send: @Sendable (_ rid: String) -> Void
    ) async -> Result<MethodResult, HubError> {
        guard let rid = nextNumber() else {
            return .failure(
                HubError(.throttlingException, "\(Self.waitingMax) method calls are waiting; try again later"))
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                state.withLock { $0.calls[rid] = Call(target: target, continuation: continuation) }
                send(rid)
                let timer = Task {
                    try? await Task.sleep(for: timeLimit)
                    if !Task.isCancelled { self.finish(rid, with: .failure(Self.timedOut)) }
                }
                let isOver = state.withLock {
                    $0.calls[rid]?.timer = timer
                    return $0.calls[rid] == nil
                }
                if isOver { timer.cancel() }
                if Task.isCancelled { finish(rid, with: .failure(Self.timedOut)) }
            }
        } onCancel: {
            finish(rid, with: .failure(Self.timedOut))
        }
    }

    /// Takes the device's answer. Late ones and those of another device than the one asked are dropped.
    ///
    /// - Returns: whether somebody waited for it.
    @discardableResult
    func answered(_ rid: String, by who: HubIdentity, with result: Result<MethodResult, HubError>) -> Bool {
        guard state.withLock({ $0.calls[rid]?.target == who }) else { return false }
        return finish(rid, with: result)
    }

    @discardableResult
    private func finish(_ rid: String, with result: Result<MethodResult, HubError>) -> Bool {
        guard let call = state.withLock({ $0.calls.removeValue(forKey: rid) }) else { return false }
        call.timer?.cancel()
        call.continuation.resume(returning: result)
        return true
    }

    private func nextNumber() -> String? {
        state.withLock {
            guard $0.calls.count < Self.waitingMax else { return nil }
            $0.lastNumber += 1
            return String($0.lastNumber)
        }
    }

    private static let timedOut = HubError(.gatewayTimeout, "Timed out waiting for the response from device.")
}

/// Tasks that wait until something about the connections is as they want it.
final class ChangeWaiters: Sendable {
    private struct Waiter {
        let isReady: @Sendable () -> Bool
        let continuation: CheckedContinuation<Bool, Never>
        var timer: Task<Void, Never>?
    }

    private struct State {
        var waiters: [UInt64: Waiter] = [:]
        var lastNumber: UInt64 = 0
    }

    private let state = Mutex(State())

    /// - Returns: `false` when the time ran out, the task was cancelled, or too many wait already.
    func wait(atMost limit: Duration, until isReady: @escaping @Sendable () -> Bool) async -> Bool {
        if isReady() { return true }
        guard limit > .zero else { return false }
        let number = state.withLock {
            $0.lastNumber += 1
            return $0.lastNumber
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isTaken = state.withLock {
                    guard $0.waiters.count < MethodCalls.waitingMax else { return false }
                    $0.waiters[number] = Waiter(isReady: isReady, continuation: continuation)
                    return true
                }
                guard isTaken else { return continuation.resume(returning: false) }
                startTimer(number, limit)
                // What happened before the entry was made is seen here; what comes after it, by `somethingChanged`.
                if isReady() { finish(number, with: true) }
                if Task.isCancelled { finish(number, with: false) }
            }
        } onCancel: {
            finish(number, with: false)
        }
    }

    func somethingChanged() {
        let waiting = state.withLock { $0.waiters.isEmpty ? [:] : $0.waiters }
        for (number, waiter) in waiting where waiter.isReady() { finish(number, with: true) }
    }

    private func startTimer(_ number: UInt64, _ limit: Duration) {
        let timer = Task {
            try? await Task.sleep(for: limit)
            if !Task.isCancelled { self.finish(number, with: false) }
        }
        let isOver = state.withLock {
            $0.waiters[number]?.timer = timer
            return $0.waiters[number] == nil
        }
        if isOver { timer.cancel() }
    }

    private func finish(_ number: UInt64, with outcome: Bool) {
        guard let waiter = state.withLock({ $0.waiters.removeValue(forKey: number) }) else { return }
        waiter.timer?.cancel()
        waiter.continuation.resume(returning: outcome)
    }
}
