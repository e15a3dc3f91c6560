import Glibc
public import Primitives

/// Wakes a thread out of `poll`: a pipe to itself. Any thread may `ring`; only the owner waits and clears.
public final class WakeSignal: Sendable {
    /// For the owner's own `poll`, readable after `ring`.
    public let descriptor: Int32
    private let writer: Int32

    /// `nil` when the process has no descriptor left.
    public init?() {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { return nil }
        for end in ends {
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
        }
        descriptor = ends[0]
        writer = ends[1]
    }

    deinit {
        close(descriptor)
        close(writer)
    }

    /// Does not block: a full pipe rings as well as an empty one.
    public func ring() {
        var byte: UInt8 = 1
        _ = write(writer, &byte, 1)
    }

    /// Forgets the rings so far.
    public func clear() {
        var bytes: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
        while read(descriptor, &bytes, 32) == 32 {}
    }

    /// Waits for a ring, at most until `deadline`, and clears it.
    public func wait(until deadline: MonotonicInstant) {
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        poll(&entry, 1, SystemTime.pollMilliseconds(until: deadline))
        clear()
    }
}
