/// A blob's name in its container: `{device}/{path}`.
///
/// No path of any file system is ever made of it. Source: Azure Blob Storage, naming of blobs.
public struct BlobName: Hashable, Sendable, CustomStringConvertible {
    /// Longest name. Unit: characters (Unicode scalars).
    public static let lengthMax = 1024
    /// Most parts between slashes.
    public static let partsMax = 254

    public let text: String

    /// `nil` unless it has 1 to 1024 characters, none of them a control character or a backslash, and no part that is
    /// empty, `.` or `..`: HTTP clients change names that have one.
    public init?(_ text: some StringProtocol) {
        let scalars = text.unicodeScalars
        guard (1...Self.lengthMax).contains(scalars.count),
            !scalars.contains(where: { $0.value < 0x20 || $0.value == 0x7F || $0 == "\\" })
        else { return nil }
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= Self.partsMax, !parts.contains(where: { ["", ".", ".."].contains($0) }) else { return nil }
        self.text = String(text)
    }

    /// The part before the first slash: the device that it was made for.
    public var owner: String { String(text.prefix { $0 != "/" }) }

    /// What follows the first slash.
    public var path: String { String(text.drop { $0 != "/" }.dropFirst()) }

    public var description: String { text }
}
