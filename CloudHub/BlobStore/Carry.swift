import Primitives
import Synchronization

/// A blob on its way to the store. Whoever asked for it may leave and come back.
final class Carry: Sendable {
    /// What tells one write of a blob from another: a client that repeats a request finds the carry that it began.
    enum Content: Sendable, Hashable {
        /// `md5` of the body.
        case body(md5: [UInt8]?, bytes: Int64, headers: [String: String])
        case blocks([ChosenBlock], headers: [String: String])
    }

    private struct State {
        var isOver = false
        var problem: BlobError?
        var waiting: [AsyncStream<Void>.Continuation] = []
    }

    let content: Content
    private let state = Mutex(State())

    init(_ content: Content) { self.content = content }

    func end(_ problem: BlobError?) {
        let waiting = state.withLock { state in
            state.isOver = true
            state.problem = problem
            defer { state.waiting = [] }
            return state.waiting
        }
        for continuation in waiting { continuation.finish() }
    }

    /// Waits for the end, but not for ever: clients give up after a minute or so, and it is better to answer them.
    ///
    /// - Throws: what went wrong; `.operationTimedOut` when it is still under way.
    func wait(most: Duration) async throws(BlobError) {
        let (stream, continuation) = AsyncStream<Void>.makeStream()
        let isOver = state.withLock { state in
            if !state.isOver { state.waiting.append(continuation) }
            return state.isOver
        }
        if !isOver {
            await withTaskGroup(of: Void.self) { group in
                group.addTask { for await _ in stream {} }
                group.addTask { try? await Task.sleep(for: most) }
                await group.next()
                group.cancelAll()
            }
        }
        let (ended, problem) = state.withLock { ($0.isOver, $0.problem) }
        if let problem { throw problem }
        guard ended else {
            throw BlobError(
                .operationTimedOut, "the file is still on its way to the store; send the same request again to wait on")
        }
    }
}

/// A write failed after its file had been handed over: the carry removes it.
struct CarryFailure: Error {
    let error: BlobError
}
