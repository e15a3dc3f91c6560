public import NIOCore

/// The packets that are written in masses, without making a `Packet` first.
public enum PacketWriter {
    /// Appends one PUBACK.
    public static func writePubAck(_ id: PacketID, into buffer: inout ByteBuffer) {
        buffer.writeAcknowledgement(.pubAck, id)
    }

    /// Appends a PUBREC.
    public static func writePubRec(_ id: PacketID, into buffer: inout ByteBuffer) {
        buffer.writeAcknowledgement(.pubRec, id)
    }

    /// Appends a PUBLISH; the payload is copied behind its header.
    public static func write(_ publish: Publish, into buffer: inout ByteBuffer) {
        publish.write(into: &buffer)
    }
}
