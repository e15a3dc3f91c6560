import CLinux

/// How the heap is kept small on a board that runs for years.
enum Heap {
    /// 128 KiB: a block of this size is mapped by itself and goes back to the system when it is freed, and so does the
    /// top of the heap. A burst of readings then leaves no trace.
    private static let returnedBytesMin: Int32 = 128 * 1024

    /// Call it before any thread is made. Best effort: a library that refuses only uses more memory.
    static func keepSmall() {
        // One arena for the few threads that we have: each further one would keep its own share of every burst.
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_MMAP_THRESHOLD, returnedBytesMin)
        mallopt(M_TRIM_THRESHOLD, returnedBytesMin)
    }
}
