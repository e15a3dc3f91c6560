public import Primitives

/// What every event of one connection is written with; made once, kept by the connection.
public struct EventStamp: Sendable {
    /// The partition of the connected device.
    public let partition: Int
    let originEntry: [UInt8]
    // Where the origin already stands in the chunk that is being filled, so that it is written once a chunk.
    var chunkSerial: UInt64 = 0
    var originIndex: UInt16 = 0

    public init(origin: EventOrigin, partitionCount: Int) {
        partition = Self.partition(of: origin.device, count: partitionCount)
        originEntry = EventChunk.originEntry(origin)
    }

    /// The same device always has the same partition, in every version: FNV-1a over its id.
    public static func partition(of device: DeviceID, count: Int) -> Int {
        precondition(count > 0, "a log has at least one partition")
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in device.text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        return Int(hash % UInt64(count))
    }
}
