import MQTTCodec
import NIOCore
import Primitives
import Testing

/// Claims that hold for any packet and any bytes; a failure names its seed.
struct CodecPropertyTests {
    @Test func everyPacketSurvivesTheWayThere() throws {
        for seed in UInt64(0)..<3000 {
            var packets = RandomPackets(seed: seed)
            let packet = packets.next()
            var buffer = ByteBuffer()
            packet.encode(into: &buffer)
            var decoder = PacketDecoder(limits: .protocolMaximum)
            #expect(try decoder.next(from: &buffer) == packet, "seed \(seed)")
            #expect(buffer.readableBytes == 0, "seed \(seed)")
        }
    }

    @Test func anyCutOfAStreamGivesTheSamePackets() throws {
        for seed in UInt64(0)..<200 {
            var packets = RandomPackets(seed: seed)
            let sent = (0..<12).map { _ in packets.next() }
            var stream = ByteBuffer()
            for packet in sent { packet.encode(into: &stream) }
            var decoder = PacketDecoder(limits: .protocolMaximum)
            var received: [Packet] = []
            var pending = ByteBuffer()
            while let chunk = stream.readSlice(
                length: min(Int.random(in: 1...60, using: &packets.random), stream.readableBytes)),
                chunk.readableBytes > 0
            {
                pending.writeImmutableBuffer(chunk)
                while let packet = try decoder.next(from: &pending) { received.append(packet) }
            }
            #expect(received == sent, "seed \(seed)")
        }
    }

    @Test func randomBytesNeverTrapAndWhatIsReadCanBeWritten() {
        for seed in UInt64(0)..<20_000 { checkAnyBytes(RandomPackets(seed: seed).random, seed: seed) }
    }

    @Test func damagedPacketsNeverTrap() throws {
        for seed in UInt64(0)..<5000 {
            var packets = RandomPackets(seed: seed)
            var stream = ByteBuffer()
            for _ in 0..<3 { packets.next().encode(into: &stream) }
            var bytes = Array(stream.readableBytesView)
            for _ in 0...Int.random(in: 0...3, using: &packets.random) {
                bytes[Int.random(in: bytes.indices, using: &packets.random)] = UInt8.random(
                    in: 0...255, using: &packets.random)
            }
            drain(ByteBuffer(bytes: bytes), seed: seed)
        }
    }

    private func checkAnyBytes(_ random: SeededRandom, seed: UInt64) {
        var random = random
        // A first byte of a real type, and a length that is often right, so that bodies are reached.
        let body = (0..<Int.random(in: 0...40, using: &random)).map { _ in
            UInt8.random(in: 0...(Bool.random(using: &random) ? 255 : 6), using: &random)
        }
        let flags: UInt8 = [0, 2, UInt8.random(in: 0...15, using: &random)].randomElement(using: &random) ?? 0
        let first = UInt8.random(in: 0...15, using: &random) << 4 | flags
        let length = Bool.random(using: &random) ? UInt8(body.count) : UInt8.random(in: 0...255, using: &random)
        drain(ByteBuffer(bytes: [first, length] + body), seed: seed)
    }

    /// Reads until need-more or an error; every packet read has to survive being written and read again.
    private func drain(_ bytes: ByteBuffer, seed: UInt64) {
        var buffer = bytes
        var decoder = PacketDecoder(limits: .protocolMaximum)
        do throws(DecodeError) {
            while let packet = try decoder.next(from: &buffer) {
                var written = ByteBuffer()
                packet.encode(into: &written)
                var second = PacketDecoder(limits: .protocolMaximum)
                #expect(try second.next(from: &written) == packet, "seed \(seed)")
            }
        } catch {
            #expect((0...bytes.readableBytes).contains(error.offset), "seed \(seed): \(error)")
        }
    }
}
