internal import COpenSSL

/// What Protocol rooms need of cryptography, from the system's libcrypto.
public enum GatewayCrypto {
    /// HMAC-SHA-256. 32 bytes.
    public static func hmacSHA256(key: [UInt8], message: [UInt8]) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: 32)
        var length: UInt32 = 0
        let done = HMAC(EVP_sha256(), key, Int32(key.count), message, message.count, &digest, &length)
        precondition(done != nil && length == 32, "libcrypto has no HMAC-SHA-256")
        return digest
    }

    /// SHA-1, for names only (version 5 UUIDs). 20 bytes.
    public static func sha1(_ bytes: [UInt8]) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: 20)
        let done = SHA1(bytes, bytes.count, &digest)
        precondition(done != nil, "libcrypto has no SHA-1")
        return digest
    }

    /// SHA-256. 32 bytes.
    public static func sha256(_ bytes: [UInt8]) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: 32)
        let done = SHA256(bytes, bytes.count, &digest)
        precondition(done != nil, "libcrypto has no SHA-256")
        return digest
    }
}
