import NIOCore

extension ByteBuffer {
    /// First byte and remaining length; makes room for the body.
    mutating func writeFixedHeader(_ firstByte: UInt8, bodyBytes: Int) {
        precondition(bodyBytes <= RemainingLength.valueMax, "a packet body has at most 268 435 455 bytes")
        reserveCapacity(minimumWritableBytes: 1 + RemainingLength.bytesMax + bodyBytes)
        writeInteger(firstByte)
        var left = bodyBytes
        while left > 127 {
            writeInteger(UInt8(truncatingIfNeeded: left) | 0x80)
            left >>= 7
        }
        writeInteger(UInt8(left))
    }

    /// Two bytes of length, then the UTF-8 bytes.
    mutating func writeText(_ text: String) {
        let count = text.utf8.count
        precondition(count <= 65_535, "a text on the wire has at most 65 535 bytes, this one has \(count)")
        writeInteger(UInt16(count))
        writeString(text)
    }

    mutating func writeBinary(_ bytes: [UInt8]) {
        precondition(bytes.count <= 65_535, "a field on the wire has at most 65 535 bytes, this one has \(bytes.count)")
        writeInteger(UInt16(bytes.count))
        writeBytes(bytes)
    }

    /// The four bytes of PUBACK, PUBREC, PUBREL, PUBCOMP or UNSUBACK. Source: MQTT 3.1.1 sections 3.4 to 3.7 and 3.11.
    mutating func writeAcknowledgement(_ type: PacketType, _ id: PacketID) {
        writeInteger(UInt32(type.firstByte) << 24 | 2 << 16 | UInt32(id.value))
    }
}
