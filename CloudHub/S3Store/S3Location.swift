public import Primitives

/// Where a bucket is, and which of its keys are the hub's.
public struct S3Location: Hashable, Sendable {
    /// How the bucket is named to the store.
    public enum Addressing: Hashable, Sendable {
        /// `https://store/bucket/key`: every S3-compatible store knows it.
        case path
        /// `https://bucket.store/key`
        case virtualHost
    }

    /// The longest key of an object. Unit: bytes of UTF-8.
    public static let keyBytesMax = 1024

    public let isPlain: Bool
    /// Host, with brackets if need be, and port if it is not the scheme's.
    public let authority: String
    public let region: String
    public let bucket: String
    /// Stands in front of every key; empty, or with its slash at the end.
    public let prefix: String
    public let addressing: Addressing

    public init(
        endpoint: String, region: String, bucket: String, prefix: String = "", addressing: Addressing = .path
    ) {
        isPlain = endpoint.hasPrefix("http://")
        authority = String(endpoint.dropFirst(isPlain ? 7 : 8))
        self.region = region
        self.bucket = bucket
        self.prefix = prefix
        self.addressing = addressing
    }

    /// What the `Host` header says.
    var host: String {
        switch addressing {
        case .path: authority
        case .virtualHost: "\(bucket).\(authority)"
        }
    }

    /// Percent-encoded once, slashes kept: what is signed is what is sent.
    func path(of key: String) -> String {
        let escaped = (prefix + key).split(separator: "/", omittingEmptySubsequences: false)
            .map { PercentEncoding.encode($0) }.joined(separator: "/")
        switch addressing {
        case .path: return "/\(bucket)/\(escaped)"
        case .virtualHost: return "/\(escaped)"
        }
    }

    /// Whether an object may have this key.
    public func fits(_ key: String) -> Bool { prefix.utf8.count + key.utf8.count <= Self.keyBytesMax }
}

/// Who the hub is to the store.
public struct S3Key: Sendable {
    public let id: String
    let secret: Secret

    public init(id: String, secret: Secret) {
        self.id = id
        self.secret = secret
    }
}
