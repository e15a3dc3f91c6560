internal import Glibc

/// A mutual exclusion lock around a thing that only its holder may touch.
final class Lock<Guarded>: @unchecked Sendable {
    // Safe: `guarded` is reached only inside `withLock`, under the mutex.
    private var guarded: Guarded
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>

    init(_ guarded: Guarded) {
        self.guarded = guarded
        mutex = .allocate(capacity: 1)
        mutex.initialize(to: pthread_mutex_t())
        pthread_mutex_init(mutex, nil)
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    func withLock<Result, Failure: Error>(
        _ body: (inout Guarded) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body(&guarded)
    }
}
