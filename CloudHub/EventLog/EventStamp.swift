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

    /// The stamp of a child's events on this connection: in this connection's partition, so that they keep their order
    /// among the gateway's own.
    public func of(_ child: DeviceID) -> EventStamp {
        guard let origin = EventChunk.origin(inEntry: originEntry) else { return self }
        let childOrigin = EventOrigin(
            device: child, module: nil, authGeneration: origin.authGeneration, authScope: origin.authScope,
            authType: origin.authType)
        return EventStamp(originEntry: EventChunk.originEntry(childOrigin), partition: partition)
    }

    private init(originEntry: [UInt8], partition: Int) {
        self.originEntry = originEntry
        self.partition = partition
    }

    /// Stands where no connection is yet; events must not be written with it.
    public static let nobody = EventStamp()

    private init() {
        partition = 0
        originEntry = []
    }

    /// The same device always has the same partition, in every version: FNV-1a over its id.
    public static func partition(of device: DeviceID, count: Int) -> Int {
        precondition(count > 0, "a log has at least one partition")
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in device.text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        return Int(hash % UInt64(count))
    }
}
