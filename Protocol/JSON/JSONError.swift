/// Why a text is not JSON (RFC 8259), or not JSON within the limits, and where.
public struct JSONError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What is wrong.
    public enum Problem: Hashable, Sendable {
        case unexpectedEnd
        case unexpectedByte(UInt8)
        case badLiteral
        case badNumber
        case badEscape
        case loneSurrogate
        case controlCharacter(UInt8)
        case badUTF8
        case trailingBytes
        case tooDeep(depthMax: Int)
        case tooLarge(bytesMax: Int)
    }

    public let problem: Problem
    /// Bytes from the start of the text to the place where it broke.
    public let offset: Int

    public init(_ problem: Problem, offset: Int) {
        self.problem = problem
        self.offset = offset
    }

    public var description: String { "JSON is broken at byte \(offset): \(problem)" }
}

extension JSONError.Problem: CustomStringConvertible {
    public var description: String {
        switch self {
        case .unexpectedEnd: "the text ends in the middle of a value"
        case .unexpectedByte(let byte): "\(Self.show(byte)) cannot stand here"
        case .badLiteral: "only true, false and null are words in JSON"
        case .badNumber: "this is not a JSON number (no leading zeros or plus sign, digits on both sides of the point)"
        case .badEscape: "this is not a JSON escape (\\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX)"
        case .loneSurrogate: "a \\u escape names half of a surrogate pair"
        case .controlCharacter(let byte): "\(Self.show(byte)) must be escaped inside a string"
        case .badUTF8: "the string is not UTF-8"
        case .trailingBytes: "something follows the value"
        case .tooDeep(let depthMax): "arrays and objects nest more than \(depthMax) deep"
        case .tooLarge(let bytesMax): "the text is longer than \(bytesMax) bytes"
        }
    }

    private static func show(_ byte: UInt8) -> String {
        if (0x21...0x7E).contains(byte) { return "'\(Unicode.Scalar(byte))'" }
        let hex = String(byte, radix: 16, uppercase: true)
        return "byte 0x" + (hex.utf8.count == 1 ? "0" : "") + hex
    }
}

/// How much of a peer's text is read.
public struct JSONLimits: Hashable, Sendable {
    /// Bytes of the whole text; checked before anything is read.
    public let bytesMax: Int
    /// Arrays and objects inside each other; a lone scalar has depth 0. At most 512, whatever is asked for: the parser
    /// spends stack on each level.
    public let depthMax: Int

    public init(bytesMax: Int = 8 << 20, depthMax: Int = 64) {
        self.bytesMax = bytesMax
        self.depthMax = min(depthMax, 512)
    }

    /// 8 MiB, 64 levels.
    public static let `default` = JSONLimits()
}
