import Synchronization

/// Answers that refuse requests on demand, so that clients can be tried against Dataverse's service protection.
///
/// Source: Dataverse developer documentation, "Service protection API limits".
public final class Throttle: Sendable {
    public enum Kind: Sendable, CaseIterable {
        /// More than 6000 requests in five minutes.
        case requests
        /// More than twenty minutes of execution time in five minutes.
        case executionTime
        /// More than 52 requests at once.
        case concurrency
        /// 503: the service is being moved.
        case unavailable
        /// 403: the application user lacks a privilege.
        case forbidden
        /// 400: a plug-in of the environment refuses the row.
        case refused
    }

    private struct Pending {
        let kind: Kind
        let retryAfterSeconds: Int
        let writesOnly: Bool
        var count: Int
    }

    private let pending = Mutex<Pending?>(nil)

    public init() {}

    /// Refuses the next `count` requests to the Web API; zero ends it.
    ///
    /// - Parameter writesOnly: lets requests pass that only read, such as a connector's looking for commands.
    public func refuseNext(_ count: Int, _ kind: Kind, retryAfterSeconds: Int = 1, writesOnly: Bool = false) {
        pending.withLock {
            $0 =
                count > 0
                ? Pending(kind: kind, retryAfterSeconds: retryAfterSeconds, writesOnly: writesOnly, count: count) : nil
        }
    }

    /// How many requests are still to be refused.
    public var remaining: Int { pending.withLock { $0?.count ?? 0 } }

    /// - Returns: the refusal of this request; `nil` when it is to be answered.
    func next(isWrite: Bool) -> DeskAnswer? {
        let taken = pending.withLock { pending -> Pending? in
            guard var current = pending, isWrite || !current.writesOnly else { return nil }
            current.count -= 1
            pending = current.count > 0 ? current : nil
            return current
        }
        guard let taken else { return nil }
        var answer = DeskAnswer(Self.error(taken.kind))
        switch taken.kind {
        case .forbidden, .refused: break
        case .requests, .executionTime, .concurrency, .unavailable:
            answer.headers.append((name: "Retry-After", value: String(taken.retryAfterSeconds)))
        }
        return answer
    }

    private static func error(_ kind: Kind) -> DataverseError {
        switch kind {
        case .requests:
            DataverseError(
                429, "0x80072322",
                "Number of requests exceeded the limit of 6000 over time window of 300 seconds.")
        case .executionTime:
            DataverseError(
                429, "0x80072321",
                "Combined execution time of incoming requests exceeded limit of 1,200,000  milliseconds over time "
                    + "window of 300 seconds. Decrease number of concurrent requests or reduce the duration of requests and "
                    + "try again later.")
        case .concurrency:
            DataverseError(429, "0x80072326", "Number of concurrent requests exceeded the limit of 52.")
        case .unavailable: DataverseError(503, "", "The service is unavailable.")
        case .refused: DataverseError(400, "0x80040265", "the row was refused on demand")
        case .forbidden:
            DataverseError(
                403, "0x80040220",
                "Principal user is missing prvCreatemsdyn_iotalert privilege for entity "
                    + "'msdyn_iotalert'")
        }
    }
}
