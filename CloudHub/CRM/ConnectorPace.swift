public import Primitives

/// Decides what a failed call means for its row and for all others: try again, set aside, or leave the CRM alone for a
/// while. Pure.
public struct ConnectorPace: Sendable {
    /// What becomes of the row whose call failed.
    public enum RowVerdict: Sendable, Equatable {
        case again(after: Duration)
        case deadLetter
        /// The row that it changes is not there any more: nothing is left to do.
        case gone
    }

    /// How the connection to the CRM stands, for health pages.
    public enum Health: Sendable, Equatable {
        case healthy
        /// Heals by itself.
        case waiting(String)
        /// Somebody must change the url, the credentials, the privileges or the environment.
        case needsAttention(String)
    }

    /// Server failures in a row before every row waits; one row that always fails must not stop the others.
    static let failuresInARowMax = 3

    public private(set) var health = Health.healthy
    /// No call before this instant.
    public private(set) var pausedUntil: MonotonicInstant?
    private var failuresInARow = 0
    private var backoff = Backoff(first: .milliseconds(500), most: .seconds(30))
    private var refusedBackoff = Backoff(first: .seconds(5), most: .seconds(60))

    public init() {}

    /// Rows that may be on their way at once: after a failure one goes ahead to see.
    public func callsMax(_ most: Int) -> Int { failuresInARow > 0 ? 1 : most }

    public func isPaused(now: MonotonicInstant) -> Bool { pausedUntil.map { now < $0 } ?? false }

    public mutating func succeeded() {
        guard failuresInARow > 0 || health != .healthy else { return }
        failuresInARow = 0
        pausedUntil = nil
        health = .healthy
        backoff.reset()
        refusedBackoff.reset()
    }

    /// - Parameter attempts: how often this row has failed before.
    public mutating func failed(
        _ error: DataverseClientError, attempts: Int, now: MonotonicInstant,
        using random: inout some RandomNumberGenerator
    ) -> RowVerdict {
        switch error.problem {
        case .notFound: return .gone
        case .refused, .preconditionFailed: return .deadLetter
        case .throttled(_, let retryAfter):
            let wait = retryAfter ?? rest(now) ?? backoff.next(using: &random)
            pause(wait, now, .waiting(error.description))
            return .again(after: wait)
        case .unreachable, .unreadable:
            let wait = rest(now) ?? backoff.next(using: &random)
            pause(wait, now, .waiting(error.description))
            return .again(after: wait)
        case .server(_, _, let retryAfter):
            failuresInARow += 1
            let wait = retryAfter ?? rest(now) ?? backoff.next(using: &random)
            if retryAfter != nil || failuresInARow >= Self.failuresInARowMax {
                pause(wait, now, .waiting(error.description))
            }
            return .again(after: wait + Self.rowDelay(attempts))
        case .tokenRefused, .unauthorized, .forbidden, .noSuchTable:
            let wait = rest(now) ?? refusedBackoff.next(using: &random)
            pause(wait, now, .needsAttention(error.description))
            return .again(after: wait)
        }
    }

    /// What is left of the pause that is on: calls that were under way together fail together, and count as one.
    private func rest(_ now: MonotonicInstant) -> Duration? {
        pausedUntil.flatMap { now < $0 ? $0 - now : nil }
    }

    private mutating func pause(_ wait: Duration, _ now: MonotonicInstant, _ health: Health) {
        failuresInARow = max(failuresInARow, 1)
        pausedUntil = max(pausedUntil ?? now, now + wait)
        self.health = health
    }

    /// A row that keeps failing stands behind the others: 0, 2, 4 … 256 s.
    private static func rowDelay(_ attempts: Int) -> Duration {
        attempts == 0 ? .zero : .seconds(1 << min(attempts, 8))
    }
}
