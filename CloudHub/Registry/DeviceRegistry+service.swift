import HubContract
public import Primitives

/// Why a service call was not let in; the description is for the hub's log, the caller gets 401.
public enum ServiceRefusal: Error, Sendable, Equatable, CustomStringConvertible {
    case noToken
    case malformedToken(String)
    case noPolicy
    case unknownPolicy(String)
    case wrongKey(policy: String)
    case expired(policy: String, expiry: WallInstant, now: WallInstant)
    case otherHost(own: String)
    case lacksRight(policy: String, right: AccessRight)

    public var description: String {
        switch self {
        case .noToken: "the request has no Authorization header with a SharedAccessSignature"
        case .malformedToken(let problem): problem
        case .noPolicy: "the token names no shared access policy (skn)"
        case .unknownPolicy(let name): "the token names the policy '\(name.prefix(64))', which this hub does not have"
        case .wrongKey(let name): "the token is signed with neither key of the policy '\(name)'"
        case .expired(let name, let expiry, let now):
            "token of the policy '\(name)' expired \(SpokenDuration.text(now - expiry)) before the hub's clock (\(now)); "
                + "check the caller's clock or renew the token"
        case .otherHost(let own): "the token was made for another hub than '\(own)' or for another resource of it"
        case .lacksRight(let name, let right): "the policy '\(name)' has no \(right.rawValue) right"
        }
    }
}

extension DeviceRegistry {
    /// Checks the `Authorization` value of a service call.
    ///
    /// - Parameter path: the request's path in segments; the token's resource must be the hub or a prefix of the path.
    public func authorize(
        _ authorization: String?, path: [String], needs right: AccessRight, now: WallInstant
    ) throws(ServiceRefusal) {
        guard let authorization, !authorization.isEmpty else { throw .noToken }
        let token: SASToken
        do throws(SASError) { token = try SASToken(parsing: authorization) } catch {
            throw .malformedToken(error.description)
        }
        guard let name = token.policy else { throw .noPolicy }
        guard let policy = policy(name) else { throw .unknownPolicy(name) }
        guard isSigned(token, policy.primary, policy.secondary) else { throw .wrongKey(policy: name) }
        guard !token.isExpired(at: now) else { throw .expired(policy: name, expiry: token.expiresAt, now: now) }
        guard hostNames.contains(where: { token.covers(host: $0, path: path) }) else {
            throw .otherHost(own: hostNames[0])
        }
        guard policy.rights.contains(right) else { throw .lacksRight(policy: name, right: right) }
    }
}
