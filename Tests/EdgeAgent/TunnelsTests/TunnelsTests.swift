import Primitives
import Testing
import Tunnels

private func queue(_ text: String) -> ByteQueue {
    var queue = ByteQueue()
    queue.append(utf8: text)
    return queue
}

private func bytes(_ queue: ByteQueue) -> [UInt8] { queue.withBytes { Array($0) } }

@Suite struct ProxyTunnelTests {
    @Test func theRequestNamesTheHubAndTheUser() {
        let plain = ProxyTunnel.request(host: "hub.example", port: 8883, login: nil)
        #expect(
            String(decoding: plain, as: UTF8.self)
                == "CONNECT hub.example:8883 HTTP/1.1\r\nHost: hub.example:8883\r\n\r\n")
        let login = ProxyTunnel.request(host: "::1", port: 443, login: Secret("Aladdin:open sesame".utf8))
        // The pair of RFC 7617 section 2.
        #expect(
            String(decoding: login, as: UTF8.self)
                == "CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n"
                + "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n")
    }

    @Test func theTunnelOpensWithTheWholeAnswerAndKeepsWhatFollows() throws {
        var input = ByteQueue()
        for byte in "HTTP/1.0 200 Connection established\r\nProxy-agent: x\r\n\r".utf8 {
            input.append(byte)
            #expect(try !ProxyTunnel.opened(&input))
        }
        input.append(utf8: "\nTLS")
        #expect(try ProxyTunnel.opened(&input))
        #expect(bytes(input) == Array("TLS".utf8))
    }

    @Test(arguments: [403, 407, 502]) func aRefusalKeepsItsStatus(status: Int) {
        var input = queue("HTTP/1.1 \(status) No\r\nContent-Length: 0\r\n\r\n")
        #expect(throws: TunnelError.refused(status: status)) { try ProxyTunnel.opened(&input) }
    }

    @Test(arguments: ["SSH-2.0-OpenSSH\r\n", "HTTP/2 200\r\n\r\n", "HTTP/1.1 2000 x\r\n\r\n", "HTTP/1.1\r\n\r\n"])
    func whatIsNoProxyIsTold(answer: String) {
        var input = queue(answer)
        #expect(throws: TunnelError.self) { try ProxyTunnel.opened(&input) }
    }

    @Test func aHeadWithoutEndIsBounded() {
        var input = queue("HTTP/1.1 200 OK\r\n" + String(repeating: "x: y\r\n", count: 3000))
        #expect(throws: TunnelError.malformed("the head of the answer is longer than 16 KiB")) {
            try ProxyTunnel.opened(&input)
        }
    }
}

@Suite struct WebSocketTests {
    /// The key and the answer of RFC 6455 section 1.3.
    private static let nonce = Array("the sample nonce".utf8)
    private static let digest = [UInt8](
        [
            0xb3, 0x7a, 0x4f, 0x2c, 0xc0, 0x62, 0x4f, 0x16, 0x90, 0xf6, 0x46, 0x06, 0xcf, 0x38, 0x59, 0x45, 0xb2, 0xbe,
            0xc4, 0xea,
        ])

    private func opened(_ answer: String) throws -> Bool {
        let upgrade = WebSocketUpgrade(host: "hub.example", port: 443, nonce: Self.nonce)
        var input = queue(answer)
        return try upgrade.opened(&input) { asked in
            #expect(asked == Array("dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11".utf8))
            return Self.digest
        }
    }

    private static let good =
        "HTTP/1.1 101 Switching Protocols\r\nUPGRADE: WebSocket\r\nConnection: Upgrade\r\n"
        + "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"

    @Test func theUpgradeIsAskedAsIoTHubExpects() {
        let upgrade = WebSocketUpgrade(host: "hub.example", port: 443, nonce: Self.nonce)
        #expect(
            String(decoding: upgrade.request(path: "/$iothub/websocket"), as: UTF8.self)
                == "GET /$iothub/websocket HTTP/1.1\r\nHost: hub.example:443\r\nUpgrade: websocket\r\n"
                + "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                + "Sec-WebSocket-Protocol: mqtt\r\nOrigin: https://hub.example:443\r\n\r\n")
    }

    @Test func theRightAnswerOpensIt() throws {
        #expect(try opened(Self.good))
        #expect(try !opened(String(Self.good.dropLast(2))))
    }

    @Test(arguments: [
        ("101", "404"), ("s3pP", "S3pP"), ("Protocol: mqtt", "Protocol: amqp"), ("UPGRADE: WebSocket\r\n", ""),
    ])
    func anyOtherAnswerIsRefused(part: String, other: String) throws {
        let pieces = Self.good.split(separator: part, maxSplits: 1, omittingEmptySubsequences: false)
        try #require(pieces.count == 2)
        #expect(throws: TunnelError.self) { try opened(pieces.joined(separator: other)) }
    }

    // MARK: Frames

    /// A frame as a server sends it.
    private func frame(_ firstByte: UInt8, _ data: [UInt8]) -> [UInt8] {
        switch data.count {
        case ...125: [firstByte, UInt8(data.count)] + data
        case ...65_535: [firstByte, 126, UInt8(data.count >> 8), UInt8(data.count & 255)] + data
        default: [firstByte, 127, 0, 0, 0, 0] + (0..<4).map { UInt8(data.count >> (24 - 8 * $0) & 255) } + data
        }
    }

    private func received(_ input: [UInt8], pieceBytes: Int = .max) throws -> (data: [UInt8], answers: [UInt8]) {
        var frames = WebSocketFrames()
        var (queue, answers, data) = (ByteQueue(), ByteQueue(), [UInt8]())
        var rest = input[...]
        while !rest.isEmpty {
            queue.append(contentsOf: Array(rest.prefix(pieceBytes)))
            rest = rest.dropFirst(pieceBytes)
            while let piece = try frames.next(from: &queue, mask: 0, answersInto: &answers) { data += piece }
        }
        return (data, bytes(answers))
    }

    @Test(arguments: [1, 125, 126, 65_535, 65_536, 200_000]) func everyLengthPassesBothWays(count: Int) throws {
        let data = (0..<count).map { UInt8(truncatingIfNeeded: $0 * 7) }
        #expect(try received(frame(0x82, data), pieceBytes: 1000).data == data)
        var (waiting, output) = (ByteQueue(), ByteQueue())
        waiting.append(contentsOf: data)
        WebSocketFrames().wrap(&waiting, mask: 0x0102_0304, into: &output)
        #expect(waiting.isEmpty)
        var sent = bytes(output)
        let header = count < 126 ? 2 : count < 65_536 ? 4 : 10
        #expect(sent[0] == 0x82 && sent[1] & 0x80 == 0x80 && Array(sent[header..<(header + 4)]) == [1, 2, 3, 4])
        // Unmasked, it is what a server would send.
        let body = sent[(header + 4)...].enumerated().map { $1 ^ [1, 2, 3, 4][$0 & 3] }
        sent = Array(sent[..<header]) + body
        sent[1] &= 0x7F
        #expect(try received(sent).data == data)
    }

    @Test func nothingIsWrappedIntoNothing() {
        var (waiting, output) = (ByteQueue(), ByteQueue())
        WebSocketFrames().wrap(&waiting, mask: 1, into: &output)
        #expect(output.isEmpty)
    }

    @Test func dividedMessagesAndPingsBetweenAreOneStream() throws {
        let input =
            frame(0x02, [1, 2]) + frame(0x89, [9]) + frame(0x00, []) + frame(0x80, [3]) + frame(0x8A, [])
            + frame(0x82, [4])
        for pieceBytes in 1...input.count {
            let (data, answers) = try received(input, pieceBytes: pieceBytes)
            #expect(data == [1, 2, 3, 4])
            #expect(answers == [0x8A, 0x81, 0, 0, 0, 0, 9])
        }
    }

    @Test func theOtherSidesGoodbyeHasItsCode() {
        #expect(throws: TunnelError.closed(code: 1002)) { try received(frame(0x88, [0x03, 0xEA])) }
        #expect(throws: TunnelError.closed(code: 1005)) { try received(frame(0x88, [])) }
    }

    static let malformed: [[UInt8]] = [
        [0x81, 1, 65], [0x80, 1, 0], [0x82, 0x81, 0, 0, 0, 0, 1], [0xC2, 1, 0], [0x83, 0], [0x8B, 0], [0x09, 0],
        [0x89, 126, 0, 200], [0x02, 1, 1, 0x82, 1, 1], [0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255],
    ]

    @Test(arguments: malformed) func whatIsNoFrameForUsIsRefused(input: [UInt8]) {
        #expect(throws: TunnelError.self) { try received(input) }
    }

    @Test func randomBytesNeverTrap() {
        var random = SeededRandom(seed: 11)
        for _ in 0..<5000 {
            let input = (0..<Int.random(in: 1...60, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            _ = try? received(input, pieceBytes: Int.random(in: 1...8, using: &random))
            _ = try? opened(String(decoding: input, as: UTF8.self))
        }
    }
}
