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

    public init(userName: ConnectUserName, password: Secret?, leafSHA1: String? = nil, leafSHA256: String? = nil) {
        self.userName = userName
        self.password = password
        self.leafSHA1 = leafSHA1
        self.leafSHA256 = leafSHA256
    }
}

/// What an accepted connection may do, and for how long.
public struct ConnectGrant: Sendable, Hashable {
    /// The generation id of the identity.
    public let generationID: String
    /// `device`, `module` or `hub`: whose credential it was.
    public let authScope: String
    /// `sas`, `x509Certificate` …, as IoT Hub writes it.
    public let authType: String
    /// When the connection has to be closed; `nil`: never.
    public let expiresAt: WallInstant?

    public init(generationID: String, authScope: String, authType: String, expiresAt: WallInstant?) {
        self.generationID = generationID
        self.authScope = authScope
        self.authType = authType
        self.expiresAt = expiresAt
    }
}

public enum ConnectVerdict: Sendable, Hashable {
    case accepted(ConnectGrant)
    /// The sentence is for the hub's log: what is wrong and what to do. The device only sees CONNACK 5.
    case refused(String)
}

/// Decides who may connect. Called on an event loop: answers from memory, at once.
public protocol ConnectAuthority: Sendable {
    func authenticate(_ request: ConnectRequest, now: WallInstant) -> ConnectVerdict
}
