import MQTTCodec
import NIOCore
import Testing

/// Lengths and limits: what is decided from the header, before the body is there.
struct FramingTests {
    /// MQTT 3.1.1 table 2.4: the ends of each size of the remaining length.
    static let lengths: [(length: Int, bytes: [UInt8])] = [
        (0, [0x00]),
        (127, [0x7F]),
        (128, [0x80, 0x01]),
        (321, [0xC1, 0x02]),
        (16_383, [0xFF, 0x7F]),
        (16_384, [0x80, 0x80, 0x01]),
        (2_097_151, [0xFF, 0xFF, 0x7F]),
        (2_097_152, [0x80, 0x80, 0x80, 0x01]),
        (268_435_455, [0xFF, 0xFF, 0xFF, 0x7F]),
    ]

    @Test(arguments: lengths)
    func remainingLengthIsReadAsTheTableSays(length: Int, bytes: [UInt8]) throws {
        // A limit one byte lower names the size that was read.
        let packetBytes = 1 + bytes.count + length
        guard packetBytes > 2 else { return }
        var decoder = PacketDecoder(limits: CodecLimits(packetBytesMax: packetBytes - 1))
        var buffer = ByteBuffer(bytes: [0x30] + bytes)
        let error = #expect(throws: DecodeError.self) { try decoder.next(from: &buffer) }
        #expect(error?.problem == .packetTooLarge(bytes: packetBytes, bytesMax: packetBytes - 1))

        var wide = PacketDecoder(limits: CodecLimits(packetBytesMax: packetBytes))
        var again = ByteBuffer(bytes: [0x30] + bytes)
        #expect(try wide.next(from: &again) == nil, "allowed, and not there yet")
    }

    @Test(arguments: lengths.filter { (3...2_097_152).contains($0.length) })
    func remainingLengthIsWrittenAsTheTableSays(length: Int, bytes: [UInt8]) throws {
        let payload = ByteBuffer(repeating: 7, count: length - 3)
        let publish = try #require(Publish(topicName: "t", payload: payload))
        var buffer = ByteBuffer()
        Packet.publish(publish).encode(into: &buffer)
        #expect(Array(buffer.readableBytesView.prefix(1 + bytes.count)) == [0x30] + bytes)
        var decoder = PacketDecoder(limits: .protocolMaximum)
        #expect(try decoder.next(from: &buffer) == .publish(publish))
    }

    @Test func paddedLengthIsReadAsItsValue() throws {
        // 3.1.1 does not ask for the shortest form (5.0 does), and clients exist that always write two bytes.
        var decoder = PacketDecoder()
        var buffer = ByteBuffer(bytes: [0xC0, 0x80, 0x00, 0xD0, 0x80, 0x80, 0x80, 0x00])
        #expect(try decoder.next(from: &buffer) == .pingReq)
        #expect(try decoder.next(from: &buffer) == .pingResp)
    }

    @Test func fifthLengthByteIsMalformedBeforeItArrives() {
        var decoder = PacketDecoder(limits: .protocolMaximum)
        var buffer = ByteBuffer(bytes: [0x30, 0x80, 0x80, 0x80, 0x80])
        #expect(throws: DecodeError(.remainingLengthTooLong, at: 4, in: .publish)) {
            try decoder.next(from: &buffer)
        }
    }

    @Test func largestAllowedPacketPassesAndOneByteMoreDoesNot() throws {
        let limits = CodecLimits(packetBytesMax: 100)
        let fitting = try #require(Publish(topicName: "t", payload: ByteBuffer(repeating: 1, count: 95)))
        var buffer = ByteBuffer()
        Packet.publish(fitting).encode(into: &buffer)
        #expect(buffer.readableBytes == 100)
        var decoder = PacketDecoder(limits: limits)
        #expect(try decoder.next(from: &buffer) == .publish(fitting))

        let larger = try #require(Publish(topicName: "t", payload: ByteBuffer(repeating: 1, count: 96)))
        Packet.publish(larger).encode(into: &buffer)
        #expect(throws: DecodeError(.packetTooLarge(bytes: 101, bytesMax: 100), at: 1, in: .publish)) {
            try decoder.next(from: &buffer)
        }
    }

    @Test func connectHasItsOwnSmallerLimit() {
        var decoder = PacketDecoder(limits: CodecLimits(packetBytesMax: 100_000, connectBytesMax: 1000))
        var buffer = ByteBuffer(bytes: [0x10, 0xE6, 0x07])
        #expect(throws: DecodeError(.packetTooLarge(bytes: 1001, bytesMax: 1000), at: 1, in: .connect)) {
            try decoder.next(from: &buffer)
        }
    }

    @Test func topicLimitIsHeld() throws {
        var decoder = PacketDecoder(limits: CodecLimits(topicBytesMax: 3))
        var buffer = ByteBuffer(bytes: [
            0x30, 0x05, 0x00, 0x03, 0x61, 0x2F, 0x62, 0x30, 0x06, 0, 4, 0x61, 0x61, 0x61, 0x61,
        ])
        #expect(try decoder.next(from: &buffer) != nil)
        #expect(throws: DecodeError(.topicTooLong(bytes: 4, bytesMax: 3), at: 2, in: .publish)) {
            try decoder.next(from: &buffer)
        }
    }

    @Test func decoderIsSpentAfterAnError() {
        var decoder = PacketDecoder()
        var bad = ByteBuffer(bytes: [0x00, 0x00])
        #expect(throws: DecodeError.self) { try decoder.next(from: &bad) }
        var good = ByteBuffer(bytes: [0xC0, 0x00])
        #expect(throws: DecodeError(.packetTypeReserved(0), at: 0, in: nil)) { try decoder.next(from: &good) }
        #expect(good.readableBytes == 2)
    }

    @Test func bytesBehindThePacketStay() throws {
        var decoder = PacketDecoder()
        var buffer = ByteBuffer(bytes: [0xC0, 0x00, 0x30])
        #expect(try decoder.next(from: &buffer) == .pingReq)
        #expect(try decoder.next(from: &buffer) == nil)
        #expect(buffer.readableBytes == 1)
    }

    @Test func topicAndPayloadAreSlicesOfTheReceivedBytes() throws {
        var decoder = PacketDecoder()
        var buffer = ByteBuffer(bytes: [0x30, 0x07, 0x00, 0x03, 0x61, 0x2F, 0x62, 0x68, 0x69])
        let storage = buffer.withVeryUnsafeBytes { UInt(bitPattern: $0.baseAddress) }
        guard case .publish(let publish)? = try decoder.next(from: &buffer) else {
            Issue.record("no PUBLISH")
            return
        }
        #expect(publish.topic.withUnsafeReadableBytes { UInt(bitPattern: $0.baseAddress) } == storage + 4)
        #expect(publish.payload.withUnsafeReadableBytes { UInt(bitPattern: $0.baseAddress) } == storage + 7)
    }

    @Test func runOfPubAcksIsFourBytesEach() throws {
        var buffer = ByteBuffer()
        let ids = [1, 513, 65_535].compactMap { PacketID($0) }
        for id in ids { PacketWriter.writePubAck(id, into: &buffer) }
        #expect(Array(buffer.readableBytesView) == [0x40, 2, 0, 1, 0x40, 2, 2, 1, 0x40, 2, 0xFF, 0xFF])
    }

    @Test(arguments: ["", "a/+", "#", "a\0b", String(repeating: "t", count: 65_536)])
    func topicsThatCannotBeSentMakeNoPublish(_ topicName: String) {
        #expect(Publish(topicName: topicName, payload: ByteBuffer()) == nil)
    }

    @Test func longestTopicCanBeSentAndRead() throws {
        let publish = try #require(
            Publish(topicName: String(repeating: "t", count: 65_535), payload: ByteBuffer(string: "x")))
        var buffer = ByteBuffer()
        Packet.publish(publish).encode(into: &buffer)
        var decoder = PacketDecoder()
        #expect(try decoder.next(from: &buffer) == .publish(publish))
    }
}
