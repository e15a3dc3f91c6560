/// Bytes that must never reach a log, an error text or a page. Comparison takes the same time wherever it differs.
public struct Secret: Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    public let bytes: [UInt8]

    public init(_ bytes: some Sequence<UInt8>) { self.bytes = Array(bytes) }

    public var description: String { "<secret>" }
    public var debugDescription: String { "<secret>" }
    public var customMirror: Mirror { Mirror(self, children: []) }

    /// Constant-time equality. The length is not hidden.
    public func matches(_ other: some Collection<UInt8>) -> Bool {
        guard bytes.count == other.count else { return false }
        var difference: UInt8 = 0
        for (left, right) in zip(bytes, other) { difference |= left ^ right }
        return difference == 0
    }
}
