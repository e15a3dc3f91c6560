public import Primitives

/// The stored form of a run of events: one row of the log.
///
/// ```
/// chunk  = entry*                       all integers little-endian
/// entry  = length:u32  kind:u8  …       length counts what follows it
/// origin = kind 0, then device, module, generation, scope, type, each length:u8 and UTF-8 bytes; no module is length 0
/// event  = kind 1, flags:u8, origin:u16, bagLength:u16, bag, body
/// ```
/// `origin` counts the origins before it in the same chunk, from 0. `flags` is the `EventSource`, plus 0x80 for a batch.
/// An event's offset is the row's base offset plus its position among the events of the chunk.
public enum EventChunk {
    /// A chunk is closed at this size; one event may pass it. Bounds what a reader must hold at once.
    public static let bytesSoftMax = 256 * 1024

    static let originKind: UInt8 = 0
    static let eventKind: UInt8 = 1
    static let batchFlag: UInt8 = 0x80
    /// Bytes before the bag: length, kind, flags, origin, bag length.
    static let eventOverhead = 4 + 1 + 1 + 2 + 2

    /// The origin as an entry of a chunk, made once for a connection.
    /// - Returns: at most 4 + 1 + 5 × 256 bytes: parts longer than 255 bytes are cut.
    public static func originEntry(_ origin: EventOrigin) -> [UInt8] {
        var body: [UInt8] = [originKind]
        let parts = [
            origin.device.text, origin.module ?? "", origin.authGeneration, origin.authScope, origin.authType,
        ]
        for part in parts {
            let bytes = part.utf8.prefix(255)
            body.append(UInt8(bytes.count))
            body += bytes
        }
        return withUnsafeBytes(of: UInt32(body.count).littleEndian) { Array($0) } + body
    }

    /// What `originEntry` was made from.
    static func origin(inEntry entry: [UInt8]) -> EventOrigin? {
        entry.withUnsafeBytes { bytes in
            var reader = Reader(
                bytes: bytes, row: Row(partition: 0, baseOffset: 0, enqueuedAt: WallInstant(milliseconds: 0)))
            _ = try? reader.next(from: 0)
            return reader.origins.first
        }
    }

    /// Reads the events of a chunk in order, from the one with `offset` on.
    ///
    /// - Returns: at most `eventsMax`, and no more than fit `bytesMax` of bodies and bags, but always the first.
    /// - Throws: `.damaged` when the bytes are not a chunk.
    public static func decode(
        _ bytes: UnsafeRawBufferPointer, row: Row, from offset: Int64, limits: ReadLimits
    ) throws(EventLogError) -> [StoredEvent] {
        var reader = Reader(bytes: bytes, row: row)
        var events: [StoredEvent] = []
        var taken = 0
        while events.count < limits.eventsMax, let event = try reader.next(from: offset) {
            let size = event.body.count + event.header.bag.utf8.count
            if !events.isEmpty, taken + size > limits.bytesMax { break }
            taken += size
            events.append(event)
        }
        return events
    }

    /// Where a chunk stands in the log.
    public struct Row: Hashable, Sendable {
        public let partition: Int
        public let baseOffset: Int64
        public let enqueuedAt: WallInstant

        public init(partition: Int, baseOffset: Int64, enqueuedAt: WallInstant) {
            self.partition = partition
            self.baseOffset = baseOffset
            self.enqueuedAt = enqueuedAt
        }
    }

    public struct ReadLimits: Hashable, Sendable {
        public var eventsMax: Int
        public var bytesMax: Int

        public init(eventsMax: Int, bytesMax: Int) {
            self.eventsMax = eventsMax
            self.bytesMax = bytesMax
        }
    }
}

extension EventChunk {
    /// Walks a chunk; every read is bounds-checked, so a damaged row is an error and never a trap.
    private struct Reader {
        let bytes: UnsafeRawBufferPointer
        let row: Row
        var index = 0
        var position: Int64 = 0
        var origins: [EventOrigin] = []

        init(bytes: UnsafeRawBufferPointer, row: Row) {
            self.bytes = bytes
            self.row = row
        }

        mutating func next(from offset: Int64) throws(EventLogError) -> StoredEvent? {
            while index < bytes.count {
                let length = Int(try integer(UInt32.self))
                let end = index + length
                guard length >= 1, end <= bytes.count else { throw damaged() }
                let kind = try integer(UInt8.self)
                if kind == EventChunk.originKind {
                    origins.append(try origin(end: end))
                } else if kind == EventChunk.eventKind {
                    defer { position += 1 }
                    if row.baseOffset + position >= offset { return try event(end: end) }
                }
                index = end  // an entry of a kind that a later version added is passed over
            }
            return nil
        }

        private mutating func event(end: Int) throws(EventLogError) -> StoredEvent {
            let flags = try integer(UInt8.self)
            let originIndex = Int(try integer(UInt16.self))
            let bagLength = Int(try integer(UInt16.self))
            guard origins.indices.contains(originIndex), index + bagLength <= end,
                let source = EventSource(rawValue: flags & ~EventChunk.batchFlag)
            else { throw damaged() }
            let bag = String(decoding: bytes[index..<index + bagLength], as: UTF8.self)
            let body = Array(bytes[index + bagLength..<end])
            index = end
            let header = EventHeader(
                origin: origins[originIndex], enqueuedAt: row.enqueuedAt, source: source, bag: bag,
                isBatch: flags & EventChunk.batchFlag != 0)
            return StoredEvent(
                partition: row.partition, offset: row.baseOffset + position, header: header, body: body)
        }

        private mutating func origin(end: Int) throws(EventLogError) -> EventOrigin {
            var parts: [String] = []
            for _ in 0..<5 {
                let length = Int(try integer(UInt8.self))
                guard index + length <= end else { throw damaged() }
                parts.append(String(decoding: bytes[index..<index + length], as: UTF8.self))
                index += length
            }
            guard let device = DeviceID(parts[0]) else { throw damaged() }
            return EventOrigin(
                device: device, module: parts[1].isEmpty ? nil : parts[1], authGeneration: parts[2],
                authScope: parts[3], authType: parts[4])
        }

        private mutating func integer<Value: FixedWidthInteger>(_: Value.Type) throws(EventLogError) -> Value {
            guard index + MemoryLayout<Value>.size <= bytes.count else { throw damaged() }
            defer { index += MemoryLayout<Value>.size }
            return Value(littleEndian: bytes.loadUnaligned(fromByteOffset: index, as: Value.self))
        }

        private func damaged() -> EventLogError {
            EventLogError(
                .damaged, doing: "read the events of partition \(row.partition) from offset \(row.baseOffset)",
                detail: "byte \(index) of \(bytes.count) is not what was written there")
        }
    }
}
