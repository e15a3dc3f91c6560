import Primitives
import Testing
import Tunnels

@Suite struct WebDocumentTests {
    private static let hello = Array("hello, world".utf8)

    private struct Answer: CustomTestStringConvertible {
        let claim: String
        let text: String
        var testDescription: String { claim }

        init(_ claim: String, _ text: String) {
            self.claim = claim
            self.text = text.replacing("\n", with: "\r\n")
        }
    }

    private static let whole = [
        Answer("by its length", "HTTP/1.1 200 OK\nContent-Length: 12\n\nhello, world"),
        Answer(
            "by a length that is said twice", "HTTP/1.1 200 OK\nContent-Length: 12\nContent-Length: 12\n\nhello, world"),
        Answer("in chunks", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhello\n7;x=y\n, world\n0\n\n"),
        Answer(
            "in chunks with a trailer", "HTTP/1.1 200 OK\nTransfer-Encoding: Chunked\n\nC\nhello, world\n0\nA: b\n\n"),
        Answer(
            "behind interim answers",
            "HTTP/1.1 100 Continue\n\nHTTP/1.1 103 Early Hints\nLink: x\n\nHTTP/1.1 200 OK\nContent-Length: 12\n\nhello, world"
        ),
    ]

    @Test(arguments: whole) private func aDocumentIsWhole(answer: Answer) throws {
        let bytes = Array(answer.text.utf8)
        var atOnce = WebDocument(bytesMax: 12)
        try atOnce.received(bytes + Array("more".utf8))
        #expect(atOnce.body == Self.hello)
        var piecewise = WebDocument(bytesMax: 12)
        for (index, byte) in bytes.enumerated() {
            #expect(piecewise.body == nil, "after \(index) bytes")
            try piecewise.received([byte])
        }
        #expect(piecewise.body == Self.hello)
        // Cut anywhere, it is never taken for whole.
        for length in 0..<bytes.count {
            var cut = WebDocument(bytesMax: 12)
            try cut.received(bytes[..<length])
            #expect(throws: TunnelError.self) { try cut.ended() }
        }
    }

    @Test func withoutALengthTheGoodbyeEndsIt() throws {
        var document = WebDocument(bytesMax: 12)
        try document.received(Array("HTTP/1.0 200 OK\r\n\r\nhello, world".utf8))
        #expect(document.body == nil)
        try document.ended()
        #expect(document.body == Self.hello)
    }

    private static let refused = [
        Answer("another coding", "HTTP/1.1 200 OK\nTransfer-Encoding: gzip, chunked\n\n"),
        Answer("two framings", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nContent-Length: 12\n\n"),
        Answer("two lengths", "HTTP/1.1 200 OK\nContent-Length: 12\nContent-Length: 11\n\n"),
        Answer("a list of lengths", "HTTP/1.1 200 OK\nContent-Length: 12, 12\n\n"),
        Answer("a signed length", "HTTP/1.1 200 OK\nContent-Length: +12\n\n"),
        Answer("an endless length", "HTTP/1.1 200 OK\nContent-Length: 99999999999999999999\n\n"),
        Answer("a length beyond the limit", "HTTP/1.1 200 OK\nContent-Length: 13\n\n"),
        Answer("a chunk beyond the limit", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nd\nhello, world!\n0\n\n"),
        Answer("a negative chunk", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n-1\nx\n"),
        Answer("an endless chunk size", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nfffffffffffffffff\n"),
        Answer("a chunk without size", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n\n"),
        Answer("a chunk that is longer than it says", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nhello\n"),
        Answer("an encoding that nobody asked for", "HTTP/1.1 200 OK\nContent-Encoding: gzip\nContent-Length: 1\n\n"),
        Answer("too much until the goodbye", "HTTP/1.1 200 OK\n\nhello, world!"),
        Answer("no HTTP at all", "SSH-2.0-OpenSSH\n"),
        Answer(
            "an endless line", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n" + String(repeating: "1;", count: 1000)),
    ]

    @Test(arguments: refused) private func whatIsNoDocumentIsRefused(answer: Answer) {
        var document = WebDocument(bytesMax: 12)
        #expect(throws: TunnelError.self) { try document.received(Array(answer.text.utf8)) }
    }

    @Test(arguments: [204, 301, 302, 401, 404, 500]) func anotherStatusIsTold(status: Int) {
        var document = WebDocument(bytesMax: 12)
        #expect(throws: TunnelError.refused(status: status)) {
            try document.received(Array("HTTP/1.1 \(status) x\r\n\r\n".utf8))
        }
    }

    @Test func answersWithoutEndAreBounded() {
        for endless in ["HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n"] {
            var document = WebDocument(bytesMax: 1000)
            #expect(throws: TunnelError.self) {
                for _ in 0..<100_000 { try document.received(Array(endless.utf8)) }
            }
        }
        var trailer = WebDocument(bytesMax: 1000)
        #expect(throws: TunnelError.self) {
            try trailer.received(Array("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n".utf8))
            for _ in 0..<100_000 { try trailer.received(Array("A: b\r\n".utf8)) }
        }
    }

    @Test func aRequestAsksForOneDocument() {
        let request = WebRequest(
            host: "hub.example", port: 8443, path: "/a?b", authorization: Secret("SharedAccessSignature x".utf8),
            bytesMax: 1)
        #expect(
            String(decoding: request.bytes, as: UTF8.self) == """
                GET /a?b HTTP/1.1\r
                Host: hub.example:8443\r
                Accept: */*\r
                Accept-Encoding: identity\r
                Connection: close\r
                Authorization: SharedAccessSignature x\r
                \r

                """)
    }

    @Test(arguments: [
        ("https://a.example", "a.example 443 /"), ("HTTPS://a.example:8443/b?c#d", "a.example 8443 /b?c"),
        ("https://[::1]:8443/b", "::1 8443 /b"), ("https://a?b", "a 443 /?b"), ("http://a/b", nil),
        ("https://user@a/b", nil), ("https://a:0/b", nil), ("https://a:x/b", nil), ("https:///b", nil),
        ("https://a b/c", nil), ("https://a/b c", nil), ("https://a\r\nX: y/", nil), ("/b", nil), ("", nil),
    ])
    func anAddressIsTakenApart(address: String, parts: String?) {
        let found = WebRequest.parts(of: address)
        #expect(found.map { "\($0.host) \($0.port) \($0.path)" } == parts)
    }
}
