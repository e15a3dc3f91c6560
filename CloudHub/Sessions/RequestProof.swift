import HubContract
public import Primitives

/// What an HTTP request shows of the device that asks.
public struct RequestProof: Sendable {
    /// The header `Authorization`: a shared access signature. When it is there, it alone counts.
    public var authorization: String?
    /// Thumbprints of the connection's client certificate, DER form, lower-case hex.
    public var leafSHA1: String?
    public var leafSHA256: String?
    /// The client certificate in DER, then what the client sent after it; unchecked.
    public var chain: [[UInt8]]

    public init(
        authorization: String? = nil, leafSHA1: String? = nil, leafSHA256: String? = nil, chain: [[UInt8]] = []
    ) {
        self.authorization = authorization
        self.leafSHA1 = leafSHA1
        self.leafSHA256 = leafSHA256
        self.chain = chain
    }
}

extension ConnectAuthority {
    /// Whether the request comes from this device; as for a CONNECT, but it may wait for a chain to be checked.
    ///
    /// - Parameter host: the hub's own name.
    public func authenticate(
        _ proof: RequestProof, as device: DeviceID, host: String, now: WallInstant
    ) async -> ConnectVerdict {
        let hasToken = proof.authorization != nil
        let request = ConnectRequest(
            userName: ConnectUserName(host: host, identity: HubIdentity(device)),
            password: proof.authorization.map { Secret(Array($0.utf8)) }, leafSHA1: hasToken ? nil : proof.leafSHA1,
            leafSHA256: hasToken ? nil : proof.leafSHA256, chain: hasToken ? [] : proof.chain)
        let verdict = authenticate(request, now: now)
        guard case .chainUnchecked = verdict else { return verdict }
        await withCheckedContinuation { continuation in
            checkChain(of: request, now: now) { continuation.resume() }
        }
        return authenticate(request, now: now)
    }
}
