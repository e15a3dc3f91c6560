import HubTLS
import NIOCore
import NIOEmbedded
import NIOSSL
import Primitives
import Testing

/// Bytes that no honest peer sends: each ends its own connection with an error, and nothing else.
@Suite struct HostilePeerTests {
    @Test(arguments: [
        ("GET / HTTP/1.1\r\n\r\n", 1, "HTTP_REQUEST"), ("\u{10}\u{12}\u{0}\u{4}MQTT\u{4}", 1, "WRONG_VERSION_NUMBER"),
        ("A", 70_000, "WRONG_VERSION_NUMBER"),
    ])
    func whatIsNoTLSIsNamed(text: String, times: Int, reason: String) throws {
        let pair = try TLSPair()
        pair.give(Array(String(repeating: text, count: times).utf8), to: pair.server)
        #expect(pair.seen.tlsErrors == [.handshakeFailed(reason: reason)])
        #expect(!pair.server.isActive)
    }

    @Test func anAlertSaysWhyBeforeTheEnd() throws {
        let pair = try TLSPair()
        pair.give(Array("no TLS at all, and long enough to be seen".utf8), to: pair.server)
        let alert = try TLSPair.written(by: pair.server)
        #expect(alert.first == 21, "what was written is no alert: \(alert)")
    }

    @Test func randomBytesEndInAnErrorOrInWaiting() throws {
        let wire = TLSWire()
        var random = SeededRandom(seed: 7)
        for _ in 0..<400 {
            let pair = try TLSPair(wire: wire)
            var bytes = (0..<Int.random(in: 1...400, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            // Half of them get past the first look.
            if Bool.random(using: &random) {
                bytes.replaceSubrange(0..<min(3, bytes.count), with: [22, 3, 1].prefix(bytes.count))
            }
            pair.give(bytes, to: pair.server, Int.random(in: 1...100, using: &random))
            #expect(pair.seen.negotiated == nil)
            if !pair.server.isActive { #expect(pair.seen.tlsErrors.count == 1) }
        }
        try isUnharmed(wire)
    }

    @Test func aHelloWithAnyByteChangedHarmsNobodyElse() throws {
        let wire = TLSWire()
        let hello = try TLSPair.written(by: TLSPair().client)
        for index in hello.indices {
            let pair = try TLSPair(wire: wire)
            var changed = hello
            changed[index] ^= 0xFF
            pair.give(changed, to: pair.server)
            #expect(pair.seen.negotiated == nil)
        }
        try isUnharmed(wire)
    }

    @Test(arguments: TLSHandlerTests.versions) func aChangedRecordIsTheEnd(version: TLSVersion) throws {
        let wire = TLSWire()
        var options = TLSPair.Options()
        options.version = version
        let length = try record(of: TLSPair.opened(options, wire: wire)).count
        for index in 0..<length {
            let pair = try TLSPair.opened(options, wire: wire)
            var changed = try record(of: pair)
            changed[index] ^= 1
            pair.give(changed + (try record(of: pair)), to: pair.server)
            #expect(pair.seen.bytes.isEmpty, "byte \(index)")
            // A length that grew waits for more; everything else is seen.
            if pair.server.isActive {
                #expect([3, 4].contains(index))
            } else {
                #expect(pair.seen.tlsErrors.count == 1)
            }
        }
        try isUnharmed(wire)
    }

    @Test func aRecordThatIsTooLongIsRefusedByItsHeader() throws {
        let pair = try TLSPair.opened()
        pair.give([23, 3, 3, 0xFF, 0xFF], to: pair.server)
        #expect(pair.seen.tlsErrors == [.broken(reason: "ENCRYPTED_LENGTH_TOO_LONG")])
        #expect(!pair.server.isActive)
    }

    @Test(arguments: TLSHandlerTests.versions) func aHandshakeCutAnywhereWaitsAndEndsWithItsSocket(version: TLSVersion)
        throws
    {
        var options = TLSPair.Options()
        options.version = version
        let wire = TLSWire()
        let whole = try TLSPair.written(by: TLSPair(options).client).count
        for length in stride(from: 1, to: whole, by: 7) {
            let pair = try TLSPair(options, wire: wire)
            pair.give(Array(try TLSPair.written(by: pair.client).prefix(length)), to: pair.server)
            #expect(pair.server.isActive && pair.seen.errors.isEmpty)
            pair.server.pipeline.fireChannelInactive()
            #expect(pair.seen.tlsErrors == [.leftInHandshake])
        }
        try isUnharmed(wire)
    }

    @Test func aReplayedRecordIsTheEnd() throws {
        let pair = try TLSPair.opened()
        let once = try record(of: pair)
        pair.give(once + once, to: pair.server)
        #expect(pair.seen.bytes == Array("reading".utf8))
        #expect(pair.seen.tlsErrors.count == 1 && !pair.server.isActive)
    }

    @Test func emptyRecordsWithoutEndAreTheEnd() throws {
        let pair = try TLSPair()
        // A change of cipher means nothing in TLS 1.3, and a peer may send it, but not for ever.
        pair.give(try TLSPair.written(by: pair.client), to: pair.server)
        for _ in 0..<100 { pair.give([20, 3, 3, 0, 1, 1], to: pair.server) }
        #expect(!pair.server.isActive)
        #expect(pair.seen.tlsErrors.count == 1)
    }

    @Test func afterAnErrorNothingMoreIsHeard() throws {
        let pair = try TLSPair.opened()
        let good = try record(of: pair)
        pair.give([99, 99, 99, 0, 1, 1], to: pair.server)
        pair.give(good, to: pair.server)
        #expect(pair.seen.bytes.isEmpty && pair.seen.tlsErrors.count == 1)
    }

    private func record(of pair: TLSPair) throws -> [UInt8] {
        pair.client.writeAndFlush(ByteBuffer(string: "reading"), promise: nil)
        return try TLSPair.written(by: pair.client)
    }

    /// The next connection of the loop works.
    private func isUnharmed(_ wire: TLSWire) throws {
        let pair = try TLSPair.opened(wire: wire)
        pair.client.writeAndFlush(ByteBuffer(string: "well"), promise: nil)
        try pair.carry()
        #expect(pair.seen.bytes == Array("well".utf8))
    }
}
