import NIOCore
import Synchronization

/// Holds the operator's log to at most one sentence about the same thing every ten seconds: a peer that tries again and
/// again must not fill the disk. Any thread.
public final class Complaints: Sendable {
    private static let subjectsMax = 4096
    private static let silence = TimeAmount.seconds(10)
    private let last = Mutex<[String: NIODeadline]>([:])

    public init() {}

    /// Whether something may be said about the subject now; asking counts as having said it.
    public func mayComplain(about subject: String) -> Bool {
        let now = NIODeadline.now()
        return last.withLock { last in
            if let before = last[subject], now - before < Self.silence { return false }
            if last.count >= Self.subjectsMax { last = last.filter { now - $0.value < Self.silence } }
            guard last.count < Self.subjectsMax else { return false }
            last[subject] = now
            return true
        }
    }
}
