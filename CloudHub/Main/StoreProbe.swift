import HubClock
import Primitives
import SQLiteHubStore
import Synchronization

/// Tries whether a database can be written, at most once a second: who asks for the hub's health needs no
/// password, and must not be able to keep the disk busy.
final class StoreProbe: Sendable {
    private static let age = Duration.seconds(1)

    let name: String
    private let file: String
    private let check: @Sendable () async throws -> Void
    private let last = Mutex<(at: MonotonicInstant, trouble: String)?>(nil)

    /// - Parameter check: throws when nothing can be stored.
    init(_ name: String, file: String, check: @escaping @Sendable () async throws -> Void) {
        self.name = name
        self.file = file
        self.check = check
    }

    /// Empty when it can be written; else what is wrong and what to do.
    func trouble() async -> String {
        let now = SystemTime.monotonic()
        if let last = last.withLock({ $0 }), now - last.at < Self.age { return last.trouble }
        var trouble = ""
        do {
            try await check()
        } catch {
            trouble = "\(HubStoreError.wrapping(error, doing: "store anything", which: file))"
        }
        last.withLock { $0 = (now, trouble) }
        return trouble
    }
}
