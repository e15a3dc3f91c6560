import NIOCore
import NIOHTTP1

/// An answer of the store, read to its end.
struct S3Answer: Sendable {
    /// Longest body that is kept; answers that the hub wants are far shorter. Unit: bytes.
    static let bytesMax = 256 << 10

    let status: Int
    let headers: HTTPHeaders
    let body: String

    func header(_ name: String) -> String? { headers.first(name: name) }

    var isSuccess: Bool { (200...299).contains(status) }

    /// The text of the first element of this name, without what is around it; at most 1000 characters.
    func text(_ name: String) -> String? {
        guard let start = body.firstRange(of: "<\(name)>"),
            let end = body[start.upperBound...].firstRange(of: "</\(name)>")
        else { return nil }
        return String(Self.unescaped(body[start.upperBound..<end.lowerBound]).prefix(1000))
    }

    private static func unescaped(_ text: Substring) -> String {
        guard text.contains("&") else { return String(text) }
        var out = ""
        var rest = text
        while let start = rest.firstIndex(of: "&") {
            out += rest[..<start]
            guard let end = rest[start...].firstIndex(of: ";") else { break }
            let name = rest[rest.index(after: start)..<end]
            switch name {
            case "amp": out += "&"
            case "lt": out += "<"
            case "gt": out += ">"
            case "quot", "#34": out += "\""
            case "apos", "#39": out += "'"
            default: out += rest[start...end]
            }
            rest = rest[rest.index(after: end)...]
        }
        return out + rest
    }
}
