public import Primitives

/// Decides when a refusal may be the fault of the gateway's own clock, and the hub's HTTPS port is asked for the date.
///
/// It is asked at once at the first doubt, and then with growing pauses while nothing comes of it: a key that is wrong
/// looks the same.
public struct ClockDoubt: Sendable {
    /// From the first byte to the date.
    public static let askTimeMax = Duration.seconds(15)

    private var pause = Backoff(first: .seconds(10), most: .seconds(900))
    private var notBefore: MonotonicInstant?

    public init() {}

    /// - Parameter isSynchronised: a clock that is known to be right is not in doubt.
    public func isInDoubt(after problem: LinkProblem, isSynchronised: Bool, now: MonotonicInstant) -> Bool {
        guard problem.mayBeTheClock, !isSynchronised else { return false }
        return isDue(now: now)
    }

    /// Whether enough time has passed since the last question.
    public func isDue(now: MonotonicInstant) -> Bool { notBefore.map { now >= $0 } ?? true }

    /// A question was asked.
    public mutating func asked(now: MonotonicInstant, using random: inout some RandomNumberGenerator) {
        notBefore = now + pause.next(using: &random)
    }

    /// The hub has let the gateway in.
    public mutating func settled() {
        pause.reset()
        notBefore = nil
    }
}

extension LinkProblem {
    /// Whether a clock that is wrong can be behind it: tokens and certificates are good for a time only.
    public var mayBeTheClock: Bool {
        switch self {
        case .notAuthorised, .badUserNameOrPassword, .certificateExpired, .certificateNotYetValid: true
        case .webSocketRefused, .tlsFailed, .certificateRefused, .wrongHostName, .unknownCertificateAuthority,
            .nameNotResolved, .connectionRefused, .unreachable, .protocolVersionRefused, .clientIDRefused,
            .serverUnavailable, .refusedOtherwise, .silent, .lost, .credentialsUnusable, .keyProviderUnusable,
            .keyUnusable, .proxyFailed, .proxyRefused:
            false
        }
    }
}
