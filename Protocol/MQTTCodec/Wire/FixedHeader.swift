/// Framing: what the first two to five bytes say, read without taking them. Source: MQTT 3.1.1 section 2.2.
///
///     bits 7–4 type │ 3–0 flags ┆ remaining length, 1 to 4 bytes
struct FixedHeader {
    let type: PacketType
    let flags: UInt8
    let headerBytes: Int
    let bodyBytes: Int

    var packetBytes: Int { headerBytes + bodyBytes }

    /// `nil` when the header has not arrived completely.
    init?(_ bytes: UnsafeRawBufferPointer, limits: CodecLimits) throws(DecodeError) {
        guard let first = bytes.first else { return nil }
        guard let type = PacketType(rawValue: first >> 4) else {
            throw DecodeError(.packetTypeReserved(first >> 4), at: 0, in: nil)
        }
        let flags = first & 0b1111
        if let required = type.requiredFlags, flags != required {
            throw DecodeError(.flagsReserved(flags), at: 0, in: type)
        }
        var length = 0
        var index = 0
        while true {
            guard 1 + index < bytes.count else { return nil }
            let byte = bytes[1 + index]
            length |= Int(byte & 0x7F) << (7 * index)
            index += 1
            if byte & 0x80 == 0 { break }
            guard index < RemainingLength.bytesMax else {
                throw DecodeError(.remainingLengthTooLong, at: index, in: type)
            }
        }
        self.type = type
        self.flags = flags
        headerBytes = 1 + index
        bodyBytes = length
        if let required = type.requiredBodyBytes, length != required {
            throw DecodeError(.remainingLengthWrong(length, required: required), at: 1, in: type)
        }
        let bytesMax = limits.packetBytesMax(for: type)
        guard packetBytes <= bytesMax else {
            throw DecodeError(.packetTooLarge(bytes: packetBytes, bytesMax: bytesMax), at: 1, in: type)
        }
    }
}
