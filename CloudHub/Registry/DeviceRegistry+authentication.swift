import Crypto
import HubContract
public import Primitives

extension DeviceRegistry {
    /// Whether the hub lets this client in. Pure: no I/O, no clock; a few microseconds.
    public func authenticate(_ attempt: ConnectAttempt, now: WallInstant) -> AuthenticationOutcome {
        do throws(Refusal) {
            return .accepted(try admit(attempt, now: now))
        } catch {
            guard let reason = error.reason else { return .chainUnchecked }
            return .refused(reason)
        }
    }

    /// Why somebody who was let in may not stay; `nil` while the proof of then is still good. From memory. Time does not
    /// count here, and a chain has to be asked of whoever knows the authorities.
    public func objection(to principal: Principal) -> AccessLoss? {
        guard let entry = entry(principal.identity.device) else { return .removed }
        let record = Self.credentials(of: principal.identity, in: entry)
        guard let record, record.generation == principal.generationID else { return .removed }
        guard entry.device.status == .enabled else { return .disabled }
        let isGood =
            switch (principal.proof, record.authentication) {
            case (.policyKey(let key, let name), _):
                policy(name).map { key.matches($0.primary.bytes) || key.matches($0.secondary.bytes) } ?? false
            case (.key(let key), .sas(let primary, let secondary)):
                key.matches(primary.bytes) || key.matches(secondary.bytes)
            case (.thumbprint(let shown), .selfSigned(let primary, let secondary)):
                [primary, secondary].contains(shown)
            case (.chain, .certificateAuthority): true
            default: false
            }
        return isGood ? nil : .credentialsChanged
    }

    /// `nil` when the device has no such module.
    private static func credentials(
        of identity: HubIdentity, in entry: DeviceEntry
    ) -> (generation: String, authentication: DeviceAuthentication)? {
        guard let id = identity.module else { return (entry.device.generationID, entry.device.authentication) }
        return entry.modules[id].map { ($0.generationID, $0.authentication) }
    }

    private func admit(_ attempt: ConnectAttempt, now: WallInstant) throws(Refusal) -> Principal {
        let identity = attempt.identity
        guard isOwnHost(attempt.host) else { throw Refusal(.wrongHost(asked: attempt.host, own: hostNames[0])) }
        guard let entry = entry(identity.device) else { throw Refusal(.unknownDevice(identity.device)) }
        guard let (generation, authentication) = Self.credentials(of: identity, in: entry) else {
            throw Refusal(.unknownModule(identity))
        }
        guard entry.device.status == .enabled else {
            throw Refusal(.deviceDisabled(identity.device, reason: entry.device.statusReason))
        }
        let ownScope: Principal.Scope = identity.module == nil ? .device : .module
        guard let password = attempt.password else {
            let (proof, expiresAt) = try checkCertificate(of: attempt, authentication)
            var type = Principal.AuthType.x509Certificate
            if case .chain = proof { type = .x509CertificateAuthority }
            return Principal(
                identity: identity, generationID: generation, authType: type, scope: ownScope, proof: proof,
                expiresAt: expiresAt)
        }
        let (token, proof) = try checkToken(password, of: identity, authentication, now: now)
        var scope = ownScope
        if case .policyKey = proof { scope = .hub }
        return Principal(
            identity: identity, generationID: generation, authType: .sas, scope: scope, proof: proof,
            expiresAt: token.expiresAt)
    }

    private func checkCertificate(
        of attempt: ConnectAttempt, _ authentication: DeviceAuthentication
    ) throws(Refusal) -> (Principal.Proof, WallInstant?) {
        let identity = attempt.identity
        guard attempt.leafSHA1 != nil || attempt.leafSHA256 != nil else { throw Refusal(.noCredentials(identity)) }
        switch authentication {
        case .sas: throw Refusal(.needsToken(identity))
        case .none: throw Refusal(.cannotConnect(identity))
        case .certificateAuthority: return (.chain, try checkChain(of: attempt))
        case .selfSigned(let primary, let secondary):
            let shown = [attempt.leafSHA1, attempt.leafSHA256].compactMap { $0.flatMap { Thumbprint($0) } }
            guard let good = [primary, secondary].compactMap(\.self).first(where: shown.contains) else {
                throw Refusal(.unknownCertificate(identity, sha256: attempt.leafSHA256))
            }
            return (.thumbprint(good), nil)
        }
    }

    private func checkChain(of attempt: ConnectAttempt) throws(Refusal) -> WallInstant {
        switch attempt.chain {
        case .unchecked: throw Refusal(nil)
        case .refused(let problem): throw Refusal(.chainRefused(attempt.identity, problem: problem))
        case .trusted(let commonName, let endsAt):
            guard commonName == attempt.identity.description else {
                throw Refusal(.otherCommonName(attempt.identity, commonName: commonName))
            }
            return endsAt
        }
    }

    private func checkToken(
        _ password: Secret, of identity: HubIdentity, _ authentication: DeviceAuthentication, now: WallInstant
    ) throws(Refusal) -> (SASToken, Principal.Proof) {
        let token: SASToken
        do throws(SASError) {
            token = try SASToken(parsing: String(decoding: password.bytes, as: UTF8.self))
        } catch {
            throw Refusal(.malformedToken(identity, problem: error.description))
        }
        let proof: Principal.Proof
        if let name = token.policy {
            guard let policy = policy(name) else { throw Refusal(.unknownPolicy(identity, policy: name)) }
            guard let key = signer(of: token, policy.primary, policy.secondary) else {
                throw Refusal(.wrongPolicyKey(identity, policy: name))
            }
            guard policy.rights.contains(.deviceConnect) else {
                throw Refusal(.policyLacksRight(identity, policy: name))
            }
            proof = .policyKey(key, policy: name)
        } else {
            switch authentication {
            case .sas(let primary, let secondary):
                guard let key = signer(of: token, primary, secondary) else { throw Refusal(.wrongKey(identity)) }
                proof = .key(key)
            case .selfSigned: throw Refusal(.needsCertificate(identity))
            case .certificateAuthority: throw Refusal(.needsAuthorityCertificate(identity))
            case .none: throw Refusal(.cannotConnect(identity))
            }
        }
        try checkResource(token, identity)
        guard !token.isExpired(at: now) else {
            throw Refusal(.tokenExpired(identity, expiry: token.expiresAt, now: now))
        }
        return (token, proof)
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
        signer(of: token, primary, secondary) != nil
    }

    /// The key that signed the token.
    private func signer(of token: SASToken, _ primary: Secret, _ secondary: Secret) -> Secret? {
        [primary, secondary].first { token.isSigned(by: $0.bytes, hmacSHA256: Self.hmacSHA256) }
    }

    /// What Protocol takes as a parameter.
    @Sendable public static func hmacSHA256(_ key: [UInt8], _ message: [UInt8]) -> [UInt8] {
        Array(HMAC<SHA256>.authenticationCode(for: message, using: SymmetricKey(data: key)))
    }
}

private struct Refusal: Error {
    /// `nil`: the chain has to be checked before.
    let reason: RefusalReason?
    init(_ reason: RefusalReason?) { self.reason = reason }
}
