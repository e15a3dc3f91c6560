import Authorities
import HubContract
import Primitives
import Registry
import Sessions

/// Registry and certificate authorities together as the listener's authority: who may connect, and for how long.
struct RegistryAuthority: ConnectAuthority {
    let registry: DeviceRegistry
    let authorities: CertificateAuthorities

    func authenticate(_ request: ConnectRequest, now: WallInstant) -> ConnectVerdict {
        let known = request.leafSHA256.flatMap { authorities.remembered(leafSHA256: $0, now: now) }
        return verdict(on: request, known.map(ChainOutcome.trusted), now: now)
    }

    func checkChain(
        of request: ConnectRequest, now: WallInstant, done: @escaping @Sendable (ConnectVerdict) -> Void
    ) {
        Task {
            let outcome = await authorities.check(request.chain, now: now)
            done(verdict(on: request, outcome, now: now))
        }
    }

    private func verdict(on request: ConnectRequest, _ outcome: ChainOutcome?, now: WallInstant) -> ConnectVerdict {
        let (attempt, chain) = Self.attempt(request, outcome)
        switch registry.authenticate(attempt, now: now) {
        case .refused(let reason): return .refused(reason.sentence)
        case .chainUnchecked: return .chainUnchecked
        case .accepted(let principal): return .accepted(grant(to: principal, by: chain))
        }
    }

    private static func attempt(
        _ request: ConnectRequest, _ outcome: ChainOutcome?
    ) -> (ConnectAttempt, TrustedChain?) {
        var attempt = ConnectAttempt(
            host: request.userName.host, identity: request.userName.identity, password: request.password,
            leafSHA1: request.leafSHA1, leafSHA256: request.leafSHA256)
        switch outcome {
        case nil: return (attempt, nil)
        case .refused(let problem)?:
            attempt.chain = .refused(problem)
            return (attempt, nil)
        case .trusted(let chain)?:
            attempt.chain = .trusted(commonName: chain.commonName, endsAt: chain.endsAt)
            return (attempt, chain)
        }
    }

    private func grant(to principal: Principal, by chain: TrustedChain?) -> ConnectGrant {
        var isByChain = false
        if case .chain = principal.proof { isByChain = true }
        let chain = isByChain ? chain : nil
        return ConnectGrant(
            generationID: principal.generationID, authScope: principal.scope.rawValue,
            authType: principal.authType.rawValue, expiresAt: principal.expiresAt,
            expiry: isByChain ? .certificateExpired : .tokenExpired,
            objection: { [registry, authorities] in
                registry.objection(to: principal).map(DisconnectReason.init)
                    ?? chain.flatMap { authorities.objection(to: $0) }.map(DisconnectReason.init)
            })
    }
}

extension DisconnectReason {
    fileprivate init(_ loss: AccessLoss) {
        self =
            switch loss {
            case .removed: .deviceRemoved
            case .disabled: .deviceDisabled
            case .credentialsChanged: .credentialsChanged
            }
    }

    fileprivate init(_ objection: ChainObjection) {
        self =
            switch objection {
            case .authorityRemoved: .authorityRemoved
            case .revoked: .certificateRevoked
            }
    }
}
