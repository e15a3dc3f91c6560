import Crypto
import HubContract
public import Primitives
public import Sessions

/// Lets in whoever shows a SAS token signed with the one key that all devices of a test share.
public struct HarnessAuthority: ConnectAuthority {
    /// The key of every device, and of the policy `device`.
    public let key: [UInt8]

    public init(key: [UInt8]) { self.key = key }

    /// A token as the device's SDK makes it.
    public func token(for device: DeviceID, host: String, expiry: Int64) -> String {
        SASToken.build(
            resource: SASToken.resource(host: host, path: ["devices", device.text]), key: key, expiry: expiry,
            hmacSHA256: Self.hmac)
    }

    public func authenticate(_ request: ConnectRequest, now: WallInstant) -> ConnectVerdict {
        guard let password = request.password else {
            guard let thumbprint = request.leafSHA256 else { return .refused("it has neither token nor certificate") }
            return .accepted(
                ConnectGrant(generationID: thumbprint, authScope: "device", authType: "x509Certificate", expiresAt: nil)
            )
        }
        guard let text = String(validating: password.bytes, as: UTF8.self), let token = try? SASToken(parsing: text)
        else { return .refused("its password is no SAS token") }
        guard token.isSigned(by: key, hmacSHA256: Self.hmac) else { return .refused("its token has another key") }
        guard token.covers(host: request.userName.host, path: request.userName.identity.resourcePath) else {
            return .refused("its token is for '\(token.resource)'")
        }
        guard token.expiry > now.unixSeconds else {
            return .refused("its token expired \(now.unixSeconds - token.expiry) s ago")
        }
        let expiry = WallInstant(milliseconds: token.expiry * 1000)
        return .accepted(ConnectGrant(generationID: "1", authScope: "device", authType: "sas", expiresAt: expiry))
    }

    public func checkChain(
        of request: ConnectRequest, now: WallInstant, done: @escaping @Sendable (ConnectVerdict) -> Void
    ) {
        done(authenticate(request, now: now))
    }

    private static func hmac(_ key: [UInt8], _ message: [UInt8]) -> [UInt8] {
        Array(HMAC<SHA256>.authenticationCode(for: message, using: SymmetricKey(data: key)))
    }
}
