import Glibc

/// One POSIX thread with a name and an owner who joins it. Blocking C libraries live on such threads, never on the
/// pool that Swift's tasks share.
public final class OwnThread: Sendable {
    private let handle: pthread_t

    /// Stack: 512 KiB, enough for our drivers and small on a gateway.
    private static let stackBytes = 512 * 1024

    private init(_ handle: pthread_t) { self.handle = handle }

    /// Starts a thread at once. `nil` when the system gives none.
    ///
    /// - Parameter name: shown by `top -H`; cut to 15 bytes.
    public static func run(name: String, _ body: @escaping @Sendable () -> Void) -> OwnThread? {
        var attributes = pthread_attr_t()
        guard pthread_attr_init(&attributes) == 0 else { return nil }
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setstacksize(&attributes, stackBytes)
        let start = Unmanaged.passRetained(Start(name: name, body))
        var thread = pthread_t()
        let status = pthread_create(&thread, &attributes, { OwnThread.begin($0) }, start.toOpaque())
        guard status == 0 else {
            start.release()
            return nil
        }
        return OwnThread(thread)
    }

    private static func begin(_ pointer: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
        guard let pointer else { return nil }
        let start = Unmanaged<Start>.fromOpaque(pointer).takeRetainedValue()
        nameCurrentThread(start.name)
        start.body()
        return nil
    }

    /// Waits until the body has returned. Exactly once, and not from the thread itself.
    public func join() {
        precondition(pthread_equal(pthread_self(), handle) == 0, "a thread cannot wait for its own end")
        pthread_join(handle, nil)
    }

    /// Whether the caller runs on this thread.
    public var isCurrent: Bool { pthread_equal(pthread_self(), handle) != 0 }

    /// Through /proc, because glibc hides its call from Swift; a thread without its name works as well.
    private static func nameCurrentThread(_ name: String) {
        let file = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
        guard file >= 0 else { return }
        let bytes = Array(name.utf8.prefix(15))
        _ = write(file, bytes, bytes.count)
        close(file)
    }

    private final class Start {
        let name: String
        let body: @Sendable () -> Void

        init(name: String, _ body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }
}
