import Crypto
import HubContract
public import Primitives

extension DeviceRegistry {
    /// Whether the hub lets this client in. Pure: no I/O, no clock; a few microseconds.
    public func authenticate(_ attempt: ConnectAttempt, now: WallInstant) -> AuthenticationOutcome {
        do throws(Refusal) {
            return .accepted(try admit(attempt, now: now))
        } catch {
            return .refused(error.reason)
        }
    }

    private func admit(_ attempt: ConnectAttempt, now: WallInstant) throws(Refusal) -> Principal {
        let identity = attempt.identity
        guard isOwnHost(attempt.host) else { throw Refusal(.wrongHost(asked: attempt.host, own: hostNames[0])) }
        guard let entry = entry(identity.device) else { throw Refusal(.unknownDevice(identity.device)) }
        var generation = entry.device.generationID
        var authentication = entry.device.authentication
        if let id = identity.module {
            guard let module = entry.modules[id] else { throw Refusal(.unknownModule(identity)) }
            generation = module.generationID
            authentication = module.authentication
        }
        guard entry.device.status == .enabled else {
            throw Refusal(.deviceDisabled(identity.device, reason: entry.device.statusReason))
        }
        guard let password = attempt.password else {
            try checkCertificate(of: attempt, authentication)
            return Principal(
                identity: identity, generationID: generation, authType: .x509Certificate,
                scope: identity.module == nil ? .device : .module, expiresAt: nil)
        }
        let (token, scope) = try checkToken(password, of: identity, authentication, now: now)
        return Principal(
            identity: identity, generationID: generation, authType: .sas, scope: scope, expiresAt: token.expiresAt)
    }

    private func checkCertificate(
        of attempt: ConnectAttempt, _ authentication: DeviceAuthentication
    ) throws(Refusal) {
        let identity = attempt.identity
        guard attempt.leafSHA1 != nil || attempt.leafSHA256 != nil else { throw Refusal(.noCredentials(identity)) }
        switch authentication {
        case .sas: throw Refusal(.needsToken(identity))
        case .none: throw Refusal(.cannotConnect(identity))
        case .certificateAuthority: throw Refusal(.authoritiesNotSupported(identity))
        case .selfSigned(let primary, let secondary):
            let shown = [attempt.leafSHA1, attempt.leafSHA256].compactMap { $0.flatMap { Thumbprint($0) } }
            guard [primary, secondary].contains(where: { $0.map(shown.contains) ?? false }) else {
                throw Refusal(.unknownCertificate(identity, sha256: attempt.leafSHA256))
            }
        }
    }

    private func checkToken(
        _ password: Secret, of identity: HubIdentity, _ authentication: DeviceAuthentication, now: WallInstant
    ) throws(Refusal) -> (SASToken, Principal.Scope) {
        let token: SASToken
        do throws(SASError) {
            token = try SASToken(parsing: String(decoding: password.bytes, as: UTF8.self))
        } catch {
            throw Refusal(.malformedToken(identity, problem: error.description))
        }
        let scope: Principal.Scope
        if let name = token.policy {
            guard let policy = policy(name) else { throw Refusal(.unknownPolicy(identity, policy: name)) }
            guard isSigned(token, policy.primary, policy.secondary) else {
                throw Refusal(.wrongPolicyKey(identity, policy: name))
            }
            guard policy.rights.contains(.deviceConnect) else {
                throw Refusal(.policyLacksRight(identity, policy: name))
            }
            scope = .hub
        } else {
            switch authentication {
            case .sas(let primary, let secondary):
                guard isSigned(token, primary, secondary) else { throw Refusal(.wrongKey(identity)) }
            case .selfSigned, .certificateAuthority: throw Refusal(.needsCertificate(identity))
            case .none: throw Refusal(.cannotConnect(identity))
            }
            scope = identity.module == nil ? .device : .module
        }
        try checkResource(token, identity)
        guard !token.isExpired(at: now) else {
            throw Refusal(.tokenExpired(identity, expiry: token.expiresAt, now: now))
        }
        return (token, scope)
    }

    private func checkResource(_ token: SASToken, _ identity: HubIdentity) throws(Refusal) {
        guard !hostNames.contains(where: { token.covers(host: $0, path: identity.resourcePath) }) else { return }
        let resource = PercentEncoding.decode(token.resource) ?? token.resource
        let afterScheme = resource.split(separator: "/", omittingEmptySubsequences: true).first { !$0.hasSuffix(":") }
        guard let host = afterScheme, isOwnHost(host) else {
            throw Refusal(.tokenForOtherHost(identity, own: hostNames[0]))
        }
        throw Refusal(.tokenForOtherResource(identity))
    }

    func isOwnHost(_ host: some StringProtocol) -> Bool { hostNames.contains { HostName.same($0, host) } }

    func isSigned(_ token: SASToken, _ primary: Secret, _ secondary: Secret) -> Bool {
        token.isSigned(by: primary.bytes, hmacSHA256: Self.hmacSHA256)
            || token.isSigned(by: secondary.bytes, hmacSHA256: Self.hmacSHA256)
    }

    /// What Protocol takes as a parameter.
    @Sendable public static func hmacSHA256(_ key: [UInt8], _ message: [UInt8]) -> [UInt8] {
        Array(HMAC<SHA256>.authenticationCode(for: message, using: SymmetricKey(data: key)))
    }
}

private struct Refusal: Error {
    let reason: RefusalReason
    init(_ reason: RefusalReason) { self.reason = reason }
}
