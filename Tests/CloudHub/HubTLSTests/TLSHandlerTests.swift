import HubTLS
import NIOCore
import NIOEmbedded
import NIOSSL
import Testing

@Suite struct TLSHandlerTests {
    static let versions: [TLSVersion] = [.tlsv12, .tlsv13]

    @Test(arguments: versions, [1, 3, 64, 1_000, Int.max])
    func bytesGoBothWaysInWhateverPiecesTheyCome(version: TLSVersion, piece: Int) throws {
        var options = TLSPair.Options()
        options.version = version
        let pair = try TLSPair(options)
        try pair.carry(piece: piece)
        #expect(pair.seen.negotiated != nil)
        let up = (0..<5_000).map { UInt8(truncatingIfNeeded: $0) }
        pair.client.writeAndFlush(ByteBuffer(bytes: up), promise: nil)
        pair.server.writeAndFlush(ByteBuffer(bytes: up.reversed()), promise: nil)
        try pair.carry(piece: piece)
        #expect(pair.seen.bytes == up)
        #expect(pair.got.bytes == up.reversed())
        #expect(!pair.seen.isEarly && pair.seen.errors.isEmpty)
    }

    @Test(arguments: versions) func megabytesPass(version: TLSVersion) throws {
        var options = TLSPair.Options()
        options.version = version
        let pair = try TLSPair.opened(options)
        let much = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        pair.client.writeAndFlush(ByteBuffer(bytes: much), promise: nil)
        pair.server.writeAndFlush(ByteBuffer(bytes: much), promise: nil)
        try pair.carry(piece: 65_536)
        #expect(pair.seen.bytes == much)
        #expect(pair.got.bytes == much)
    }

    @Test(arguments: versions) func whatComesWithTheEndOfTheHandshakeComesAfterItsEvent(version: TLSVersion) throws {
        var options = TLSPair.Options()
        options.version = version
        let pair = try TLSPair(options)
        pair.client.writeAndFlush(ByteBuffer(string: "first words"), promise: nil)
        try pair.carry()
        #expect(pair.seen.bytes == Array("first words".utf8))
        #expect(!pair.seen.isEarly)
    }

    @Test(arguments: [
        (["mqtt", "http/1.1"], ["http/1.1", "mqtt"], "mqtt"), (["mqtt", "http/1.1"], ["http/1.1"], "http/1.1"),
        (["mqtt"], ["h2"], nil), (["mqtt"], [], nil),
    ])
    func theServersOrderDecidesAboutTheProtocol(ours: [String], theirs: [String], chosen: String?) throws {
        var options = TLSPair.Options()
        options.serverProtocols = ours
        options.clientProtocols = theirs
        let pair = try TLSPair.opened(options)
        #expect(pair.seen.negotiated == .some(chosen))
    }

    @Test(arguments: versions, [0, 1, 3]) func whatTheClientShowsIsKnown(version: TLSVersion, count: Int) throws {
        let certificate = try #require(try NIOSSLCertificate.fromPEMFile(TLSPair.certificatePath).first)
        var options = TLSPair.Options()
        options.version = version
        options.clientChain = Array(repeating: certificate, count: count)
        let pair = try TLSPair.opened(options)
        #expect(pair.chain == Array(repeating: try certificate.toDERBytes(), count: count))
        #expect(pair.isProven)
    }

    @Test func connectionsOfOneLoopDoNotMixTheirBytes() throws {
        let wire = TLSWire()
        let pairs = try (0..<20).map { _ in try TLSPair.opened(wire: wire) }
        for (number, pair) in pairs.enumerated() {
            pair.client.writeAndFlush(ByteBuffer(string: "up \(number)"), promise: nil)
            pair.server.writeAndFlush(ByteBuffer(string: "down \(number)"), promise: nil)
        }
        for piece in [5, .max] { for pair in pairs { try pair.carry(piece: piece) } }
        for (number, pair) in pairs.enumerated() {
            #expect(pair.seen.bytes == Array("up \(number)".utf8))
            #expect(pair.got.bytes == Array("down \(number)".utf8))
        }
    }

    @Test func aWriteIsDoneWhenTheChannelHasIt() throws {
        let pair = try TLSPair.opened()
        let done = pair.server.eventLoop.makePromise(of: Void.self)
        pair.server.writeAndFlush(ByteBuffer(), promise: nil)
        pair.server.writeAndFlush(ByteBuffer(string: "x"), promise: done)
        #expect((try pair.outcome(done.futureResult)?.get()) != nil)
    }

    @Test func aKeyOfAnotherCertificateIsRefused() throws {
        let identity = try TLSIdentity(
            certificatePath: TLSPair.certificatePath, keyPath: TLSPair.certificatePath)
        #expect(throws: TLSError.self) { try TLSServerContext(identity, protocols: ["mqtt"]) }
        let swapped = try TLSIdentity(certificatePath: TLSPair.keyPath, keyPath: TLSPair.keyPath)
        #expect(throws: TLSError.self) { try TLSServerContext(swapped, protocols: ["mqtt"]) }
        #expect(throws: TLSError.unusable("/nowhere cannot be read; let the hub's account read it")) {
            try TLSIdentity(certificatePath: "/nowhere", keyPath: TLSPair.keyPath)
        }
    }
}

@Suite struct TLSFarewellTests {
    @Test func theServersCloseWaitsForThePeersFarewell() throws {
        let pair = try TLSPair.opened()
        let closed = pair.server.close()
        #expect(pair.server.isActive)
        try pair.carry()
        #expect(!pair.server.isActive)
        #expect(pair.seen.errors.isEmpty && pair.seen.isGone)
        #expect((try pair.outcome(closed)?.get()) != nil)
    }

    @Test func aPeerThatDoesNotAnswerTheFarewellIsNotWaitedForLong() throws {
        let pair = try TLSPair.opened()
        let first = pair.server.close()
        let second = pair.server.close()
        pair.server.embeddedEventLoop.advanceTime(by: .milliseconds(4_900))
        #expect(pair.server.isActive)
        pair.server.embeddedEventLoop.advanceTime(by: .milliseconds(200))
        #expect(!pair.server.isActive)
        #expect((try pair.outcome(first)?.get()) != nil)
        #expect((try pair.outcome(second)?.get()) != nil)
    }

    @Test func whatComesAfterTheServersFarewellIsDropped() throws {
        let pair = try TLSPair.opened()
        pair.server.close(promise: nil)
        pair.client.writeAndFlush(ByteBuffer(string: "late"), promise: nil)
        pair.give(try TLSPair.written(by: pair.client), to: pair.server)
        #expect(pair.seen.bytes.isEmpty)
        let promise = pair.server.eventLoop.makePromise(of: Void.self)
        pair.server.writeAndFlush(ByteBuffer(string: "late too"), promise: promise)
        #expect(throws: ChannelError.self) { try pair.outcome(promise.futureResult)?.get() }
    }

    @Test func thePeersFarewellIsAnsweredAndEndsTheConnection() throws {
        let pair = try TLSPair.opened()
        pair.client.close(promise: nil)
        try pair.carry()
        #expect(!pair.server.isActive && !pair.client.isActive)
        #expect(pair.seen.errors.isEmpty && pair.got.errors.isEmpty)
    }

    @Test func aPeerThatHasNothingMoreToSayIsStillAnsweredWhereHalfClosureIsAllowed() throws {
        var options = TLSPair.Options()
        options.allowsHalfClosure = true
        let pair = try TLSPair.opened(options)
        pair.client.writeAndFlush(ByteBuffer(string: "question"), promise: nil)
        pair.client.close(mode: .output, promise: nil)
        try pair.carry()
        #expect(pair.seen.isInputClosed && pair.server.isActive)
        pair.server.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)  // the socket says it too
        pair.server.writeAndFlush(ByteBuffer(string: "answer"), promise: nil)
        try pair.carry()
        #expect(pair.got.bytes == Array("answer".utf8))
        let closed = pair.server.close()
        #expect(!pair.server.isActive)
        #expect((try pair.outcome(closed)?.get()) != nil)
        #expect(pair.seen.errors.isEmpty)
    }

    @Test func theServerMayEndItsOutputAndReadOn() throws {
        let pair = try TLSPair.opened()
        pair.server.writeAndFlush(ByteBuffer(string: "last"), promise: nil)
        pair.server.close(mode: .output, promise: nil)
        pair.client.writeAndFlush(ByteBuffer(string: "more"), promise: nil)
        pair.give(try TLSPair.written(by: pair.client), to: pair.server)
        #expect(pair.seen.bytes == Array("more".utf8))
        let promise = pair.server.eventLoop.makePromise(of: Void.self)
        pair.server.writeAndFlush(ByteBuffer(string: "no"), promise: promise)
        #expect(throws: ChannelError.self) { try pair.outcome(promise.futureResult)?.get() }
        pair.server.close(promise: nil)
        pair.server.embeddedEventLoop.advanceTime(by: .seconds(6))
        #expect(!pair.server.isActive)
    }

    @Test(arguments: [false, true]) func aPeerThatIsCutOffIsTold(isHalf: Bool) throws {
        let pair = try TLSPair.opened()
        if isHalf {
            pair.server.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
            #expect(pair.seen.isInputClosed)
        } else {
            pair.server.pipeline.fireChannelInactive()
        }
        #expect(pair.seen.tlsErrors == [.cutOff])
    }

    @Test(arguments: [false, true]) func aPeerThatLeavesInTheHandshakeIsAnErrorAndTheEnd(isHalf: Bool) throws {
        let pair = try TLSPair()
        pair.give(try TLSPair.written(by: pair.client), to: pair.server)
        if isHalf {
            pair.server.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
            #expect(!pair.server.isActive)
        } else {
            pair.server.pipeline.fireChannelInactive()
        }
        #expect(pair.seen.tlsErrors == [.leftInHandshake])
    }
}
