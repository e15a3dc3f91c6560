public import HubContract
public import Primitives

/// What a client showed when it connected.
public struct ConnectAttempt: Sendable {
    /// The host in its user name, with or without port.
    public var host: String
    public var identity: HubIdentity
    /// The password field: a SAS token.
    public var password: Secret?
    /// Fingerprints of the client certificate's DER bytes, in hexadecimal of either case; of the leaf only.
    public var leafSHA1: String?
    public var leafSHA256: String?
    /// What stands behind the certificate; asked only when the identity is registered for certificates of an authority.
    public var chain: ChainFinding

    public init(
        host: String, identity: HubIdentity, password: Secret? = nil, leafSHA1: String? = nil,
        leafSHA256: String? = nil, chain: ChainFinding = .unchecked
    ) {
        self.host = host
        self.identity = identity
        self.password = password
        self.leafSHA1 = leafSHA1
        self.leafSHA256 = leafSHA256
        self.chain = chain
    }
}

/// What is known of the chain behind a client certificate. Whoever knows the authorities finds it out.
public enum ChainFinding: Sendable, Hashable {
    /// Nobody has looked yet.
    case unchecked
    /// It leads to an authority of this hub.
    ///
    /// - commonName: of the client certificate.
    /// - endsAt: when the first of its certificates runs out.
    case trusted(commonName: String, endsAt: WallInstant)
    /// What is wrong with it and what to do, without the device's name: it follows "the certificate of {device}".
    case refused(String)
}

/// Somebody whom the hub let in.
public struct Principal: Sendable {
    /// How the proof was made; the raw value is IoT Hub's word in `iothub-connection-auth-method`.
    public enum AuthType: String, Sendable { case sas, x509Certificate, x509CertificateAuthority }
    /// Whose key made it; the raw value is IoT Hub's word.
    public enum Scope: String, Sendable { case hub, device, module }

    /// By what it was let in, so that it can be asked later whether that is still good.
    public enum Proof: Sendable {
        case policyKey(Secret, policy: String)
        case key(Secret)
        case thumbprint(Thumbprint)
        case chain
    }

    public let identity: HubIdentity
    public let generationID: String
    public let authType: AuthType
    public let scope: Scope
    public let proof: Proof
    /// The end of the token or of the first certificate of a chain; the connection must not live longer. `nil` with a
    /// thumbprint.
    public let expiresAt: WallInstant?
}

public enum AuthenticationOutcome: Sendable {
    case accepted(Principal)
    case refused(RefusalReason)
    /// The chain behind the client certificate decides, and it is `.unchecked`.
    case chainUnchecked
}

/// Why a client was not let in. The client learns only "not authorised"; the sentence is for the hub's log.
public enum RefusalReason: Sendable, Equatable {
    case wrongHost(asked: String, own: String)
    case unknownDevice(DeviceID)
    case unknownModule(HubIdentity)
    case deviceDisabled(DeviceID, reason: String?)
    case noCredentials(HubIdentity)
    /// The password is no SAS token; `problem` is the parser's sentence.
    case malformedToken(HubIdentity, problem: String)
    case wrongKey(HubIdentity)
    case tokenExpired(HubIdentity, expiry: WallInstant, now: WallInstant)
    case tokenForOtherHost(HubIdentity, own: String)
    case tokenForOtherResource(HubIdentity)
    case unknownPolicy(HubIdentity, policy: String)
    case policyLacksRight(HubIdentity, policy: String)
    case wrongPolicyKey(HubIdentity, policy: String)
    case needsCertificate(HubIdentity)
    case needsAuthorityCertificate(HubIdentity)
    case needsToken(HubIdentity)
    case unknownCertificate(HubIdentity, sha256: String?)
    /// The finding's own words.
    case chainRefused(HubIdentity, problem: String)
    case otherCommonName(HubIdentity, commonName: String)
    case cannotConnect(HubIdentity)

    /// What is wrong, and what to do.
    public var sentence: String {
        switch self {
        case .wrongHost(let asked, let own):
            "a device asked for the hub '\(asked.prefix(256))', but this hub is '\(own)'; correct HostName in its "
                + "connection string"
        case .unknownDevice(let id): "device \(id) is not registered; create it with 'cloud-hub device create'"
        case .unknownModule(let id): "module \(id) is not registered; create it on its device"
        case .deviceDisabled(let id, let reason):
            "device \(id) is disabled\(reason.map { " (\($0))" } ?? ""); enable it in the registry"
        case .noCredentials(let id):
            "\(id) sent neither a token nor a client certificate; give it its connection string or certificate"
        case .malformedToken(let id, let problem): "the password of \(id) is no SAS token: \(problem)"
        case .wrongKey(let id):
            "the token of \(id) is signed with neither of its two keys; give it the connection string from the registry"
        case .tokenExpired(let id, let expiry, let now):
            "token of \(id) expired \(SpokenDuration.text(now - expiry)) before the hub's clock (\(now)); "
                + "check the device's clock or renew the token"
        case .tokenForOtherHost(let id, let own):
            "the token of \(id) was made for another hub than '\(own)'; correct HostName in its connection string"
        case .tokenForOtherResource(let id):
            "the token of \(id) was made for another device; each device needs a token of its own"
        case .unknownPolicy(let id, let policy):
            "the token of \(id) names the policy '\(policy.prefix(64))', which this hub does not have"
        case .policyLacksRight(let id, let policy):
            "the token of \(id) is from the policy '\(policy)', which has no DeviceConnect right; use the policy 'device'"
        case .wrongPolicyKey(let id, let policy):
            "the token of \(id) is signed with neither key of the policy '\(policy)'; copy the key again"
        case .needsCertificate(let id):
            "\(id) sent a token, but is registered with certificate thumbprints; give it its certificate or change its "
                + "authentication to sas"
        case .needsAuthorityCertificate(let id):
            "\(id) sent a token, but is registered for certificates of an authority; give it its certificate or change its "
                + "authentication to sas"
        case .needsToken(let id):
            "\(id) sent a certificate and no token, but is registered with symmetric keys; give it its connection string "
                + "or register the thumbprint"
        case .unknownCertificate(let id, let sha256):
            "the certificate of \(id) has neither registered thumbprint; its SHA-256 is \(sha256?.uppercased() ?? "unknown")"
        case .chainRefused(let id, let problem): "the certificate of \(id) \(problem)"
        case .otherCommonName(let id, let commonName):
            "the certificate of \(id) has the common name '\(commonName.prefix(256))'; its authority has to issue one whose "
                + "common name is '\(id)'"
        case .cannotConnect(let id): "\(id) is registered without any authentication; give it keys or a thumbprint"
        }
    }
}

/// Spans of time as people say them.
enum SpokenDuration {
    /// The two largest units: `1 h 3 min`, `42 s`, `3 d 0 h`. Less than a second is `0 s`.
    static func text(_ duration: Duration) -> String {
        let seconds = max(duration.components.seconds, 0)
        return switch seconds {
        case ..<60: "\(seconds) s"
        case ..<3600: "\(seconds / 60) min \(seconds % 60) s"
        case ..<86_400: "\(seconds / 3600) h \(seconds / 60 % 60) min"
        default: "\(seconds / 86_400) d \(seconds / 3600 % 24) h"
        }
    }
}
