import MQTTCodec
import NIOCore
import Testing

/// Tests/Golden/mqtt: the specification's own examples and one vector for each way to be malformed.
struct GoldenVectorTests {
    @Test func vectorsAreThere() {
        #expect(GoldenVector.all(in: "v3.1.1").count >= 27)
        #expect(GoldenVector.all(in: "invalid").count >= 60)
    }

    @Test(arguments: GoldenVector.all(in: "v3.1.1"))
    func decodesWhole(_ vector: GoldenVector) throws {
        let packet = try #require(try decodeOne(vector.wire))
        let expected = try vector.expectation("packet.txt", actual: lines(of: packet))
        #expect(lines(of: packet) == expected, "packet.txt was missing and is now written: read it and commit it")
    }

    @Test(arguments: GoldenVector.all(in: "v3.1.1"))
    func encodingGivesTheBytesBack(_ vector: GoldenVector) throws {
        let packet = try #require(try decodeOne(vector.wire))
        var buffer = ByteBuffer()
        packet.encode(into: &buffer)
        #expect(Array(buffer.readableBytesView) == vector.wire)
    }

    @Test(arguments: GoldenVector.all(in: "v3.1.1"))
    func cutAnywhereNeedsMore(_ vector: GoldenVector) throws {
        for length in 0..<vector.wire.count {
            var decoder = PacketDecoder()
            var buffer = ByteBuffer(bytes: vector.wire.prefix(length))
            #expect(try decoder.next(from: &buffer) == nil, "cut after \(length) bytes")
            #expect(buffer.readableBytes == length, "nothing is taken before the packet is whole")
        }
    }

    @Test(arguments: GoldenVector.all(in: "v3.1.1"))
    func byteByByteGivesTheSamePacket(_ vector: GoldenVector) throws {
        var decoder = PacketDecoder()
        var buffer = ByteBuffer()
        var packets: [Packet] = []
        for byte in vector.wire {
            buffer.writeInteger(byte)
            while let packet = try decoder.next(from: &buffer) { packets.append(packet) }
        }
        #expect(packets == [try #require(try decodeOne(vector.wire))])
    }

    @Test func concatenatedGiveAllPackets() throws {
        let vectors = GoldenVector.all(in: "v3.1.1")
        var decoder = PacketDecoder()
        var buffer = ByteBuffer(bytes: vectors.flatMap(\.wire))
        var packets: [Packet] = []
        while let packet = try decoder.next(from: &buffer) { packets.append(packet) }
        #expect(packets == (try vectors.compactMap { try decodeOne($0.wire) }))
        #expect(packets.count == vectors.count)
        #expect(buffer.readableBytes == 0)
    }

    @Test(arguments: GoldenVector.all(in: "invalid"))
    func malformedIsRefusedWithItsReason(_ vector: GoldenVector) throws {
        let error = try #require(throws: DecodeError.self) { try decodeOne(vector.wire) }
        let expected = try vector.expectation("expect.txt", actual: error.description)
        #expect(error.description == expected, "expect.txt was missing and is now written: read it and commit it")
        #expect(!error.isRetryable)
        #expect(error.offset <= vector.wire.count)
    }

    @Test(arguments: GoldenVector.all(in: "invalid"))
    func malformedByteByByteIsRefusedNoLaterAndTheSame(_ vector: GoldenVector) throws {
        let whole = try #require(throws: DecodeError.self) { try decodeOne(vector.wire) }
        var decoder = PacketDecoder()
        var buffer = ByteBuffer()
        let trickled = #expect(throws: DecodeError.self) {
            for byte in vector.wire {
                buffer.writeInteger(byte)
                _ = try decoder.next(from: &buffer)
            }
        }
        #expect(trickled == whole)
    }

    private func decodeOne(_ bytes: [UInt8]) throws -> Packet? {
        var decoder = PacketDecoder()
        var buffer = ByteBuffer(bytes: bytes)
        let packet = try decoder.next(from: &buffer)
        #expect(buffer.readableBytes == 0)
        return packet
    }
}
