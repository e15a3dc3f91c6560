public import HubContract
public import Primitives

/// What a CONNECT shows of who it is.
public struct ConnectRequest: Sendable {
    public let userName: ConnectUserName
    /// The SAS token; `nil` with a client certificate.
    public let password: Secret?
    /// Thumbprints of the client certificate's DER form, lower-case hex; only when there is no password.
    public let leafSHA1: String?
    public let leafSHA256: String?
    /// The client certificate in DER, then what the client sent after it. Nobody has checked them; a client that resumes
    /// a TLS session sends none but its own.
    public let chain: [[UInt8]]

    public init(
        userName: ConnectUserName, password: Secret?, leafSHA1: String? = nil, leafSHA256: String? = nil,
        chain: [[UInt8]] = []
    ) {
        self.userName = userName
        self.password = password
        self.leafSHA1 = leafSHA1
        self.leafSHA256 = leafSHA256
        self.chain = chain
    }
}

/// What an accepted connection may do, and for how long.
public struct ConnectGrant: Sendable {
    /// The generation id of the identity.
    public let generationID: String
    /// `device`, `module` or `hub`: whose credential it was.
    public let authScope: String
    /// `sas`, `x509Certificate` …, as IoT Hub writes it.
    public let authType: String
    /// When the connection has to be closed; `nil`: never.
    public let expiresAt: WallInstant?
    /// What it is closed with then.
    public let expiry: DisconnectReason
    /// Why the connection may not stay any longer, because the registry was changed since; `nil` while the proof that
    /// opened it still holds. Any thread, from memory.
    public let objection: @Sendable () -> DisconnectReason?

    public init(
        generationID: String, authScope: String, authType: String, expiresAt: WallInstant?,
        expiry: DisconnectReason = .tokenExpired, objection: @escaping @Sendable () -> DisconnectReason? = { nil }
    ) {
        self.generationID = generationID
        self.authScope = authScope
        self.authType = authType
        self.expiresAt = expiresAt
        self.expiry = expiry
        self.objection = objection
    }
}

public enum ConnectVerdict: Sendable {
    case accepted(ConnectGrant)
    /// The sentence is for the hub's log: what is wrong and what to do. The device only sees CONNACK 5.
    case refused(String)
    /// The chain behind the client certificate has to be checked first: call `checkChain`.
    case chainUnchecked
}

/// Decides who may connect. Called on an event loop: answers from memory, at once.
public protocol ConnectAuthority: Sendable {
    func authenticate(_ request: ConnectRequest, now: WallInstant) -> ConnectVerdict
    /// Checks the chain of a request that got `.chainUnchecked`, away from the event loops.
    ///
    /// - Parameter done: called once, on any thread; never with `.chainUnchecked`.
    func checkChain(
        of request: ConnectRequest, now: WallInstant, done: @escaping @Sendable (ConnectVerdict) -> Void)
}
