/// The head of an HTTP/1.1 response: its status and its fields. Source: RFC 9112 sections 4 and 5.
public struct ResponseHead: Sendable, Equatable {
    /// A longer head is refused.
    public static let bytesMax = 16 * 1024

    public let status: Int
    private let fields: [(name: String, value: String)]

    public static func == (left: Self, right: Self) -> Bool {
        left.status == right.status && left.fields.elementsEqual(right.fields, by: ==)
    }

    /// Reads the head that begins the bytes.
    ///
    /// - Returns: the head and its length with the empty line; `nil` while that has not arrived.
    public static func read(_ bytes: UnsafeRawBufferPointer) throws(TunnelError) -> (head: Self, byteCount: Int)? {
        // What is no HTTP at all is told at once, without waiting for an empty line that never comes.
        guard bytes.prefix(5).elementsEqual("HTTP/".utf8.prefix(min(5, bytes.count))) else {
            throw .malformed("the answer is no HTTP")
        }
        guard let end = endOfHead(bytes) else {
            guard bytes.count < bytesMax else { throw .malformed("the head of the answer is longer than 16 KiB") }
            return nil
        }
        guard end <= bytesMax else { throw .malformed("the head of the answer is longer than 16 KiB") }
        guard let text = String(validating: bytes[..<end], as: UTF8.self) else {
            throw .malformed("the head of the answer is no text")
        }
        return (try ResponseHead(text), end)
    }

    private init(_ text: String) throws(TunnelError) {
        var lines = text.split(whereSeparator: \.isNewline)
        let words = lines.isEmpty ? [] : lines.removeFirst().split(separator: " ", maxSplits: 2)
        guard words.count >= 2, words[0].hasPrefix("HTTP/1."), words[1].count == 3, let status = Int(words[1]),
            status >= 100
        else { throw .malformed("the answer is no HTTP/1.1") }
        self.status = status
        fields = lines.compactMap { line in
            guard let colon = line.firstIndex(of: ":") else { return nil }
            let value = line[line.index(after: colon)...].drop { $0 == " " || $0 == "\t" }
            return (line[..<colon].lowercased(), String(value.reversed().drop { $0 == " " || $0 == "\t" }.reversed()))
        }
    }

    /// The value of the first field of this name, in small letters.
    public func value(_ name: String) -> String? { fields.first { $0.name == name }?.value }

    /// The values of all fields of this name, in small letters, in their order.
    public func values(_ name: String) -> [String] { fields.filter { $0.name == name }.map(\.value) }

    private static func endOfHead(_ bytes: UnsafeRawBufferPointer) -> Int? {
        guard bytes.count >= 4 else { return nil }
        for index in 0...(bytes.count - 4)
        where bytes[index] == 13 && bytes[index + 1] == 10 && bytes[index + 2] == 13 && bytes[index + 3] == 10 {
            return index + 4
        }
        return nil
    }
}
