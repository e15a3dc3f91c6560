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
            let row = Row(partition: 0, baseOffset: 0, enqueuedAt: WallInstant(milliseconds: 0))
            return try? Reader(bytes: bytes, row: row).origin(in: 5..<bytes.count)
        }
    }

    /// Shows the events of a chunk in order, from the one with `offset` on, and adds those that are wanted to `run`.
    ///
    /// Stops when `run` holds `eventsMax` events, or `bytesMax` bytes of bodies and bags were looked at, but never before
    /// the first.
    /// - Returns: whether the limits allow to go on with the next chunk.
    /// - Throws: `.damaged` when the bytes are not a chunk.
    public static func decode(
        _ bytes: UnsafeRawBufferPointer, row: Row, from offset: Int64, limits: ReadLimits, into run: inout EventRun,
        selecting isWanted: (EventView) -> Bool
    ) throws(EventLogError) -> Bool {
        var reader = Reader(bytes: bytes, row: row)
        while let view = try reader.next(from: offset) {
            let size = view.body.count + view.bag.count
            let isFull = run.events.count >= limits.eventsMax || run.bytesSeen + size > limits.bytesMax
            if isFull, run.firstOffset != nil { return false }
            run.bytesSeen += size
            run.firstOffset = run.firstOffset ?? view.offset
            run.nextOffset = view.offset + 1
            if isWanted(view) { run.events.append(try reader.event(view)) }
        }
        return true
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
        /// Events that are wanted.
        public var eventsMax: Int
        /// Bytes of bodies and bags that are looked at.
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
        private var index = 0
        private var position: Int64 = 0
        /// Where the fields of each origin lie; they are made into values for those events only that are wanted.
        private var origins: [Range<Int>] = []
        /// The origin that was made last: events of one device stand together.
        private var made: (index: Int, origin: EventOrigin)?

        init(bytes: UnsafeRawBufferPointer, row: Row) {
            self.bytes = bytes
            self.row = row
        }

        mutating func next(from offset: Int64) throws(EventLogError) -> EventView? {
            while index < bytes.count {
                let length = Int(try integer(UInt32.self, at: index))
                let start = index + 4
                let end = start + length
                guard length >= 1, end <= bytes.count else { throw damaged(at: index) }
                index = end  // an entry of a kind that a later version added is passed over
                switch bytes[start] {
                case EventChunk.originKind: origins.append(start + 1..<end)
                case EventChunk.eventKind:
                    defer { position += 1 }
                    if row.baseOffset + position >= offset { return try view(start + 1..<end) }
                default: break
                }
            }
            return nil
        }

        private func view(_ entry: Range<Int>) throws(EventLogError) -> EventView {
            let flags = try integer(UInt8.self, at: entry.lowerBound)
            let originIndex = Int(try integer(UInt16.self, at: entry.lowerBound + 1))
            let bagLength = Int(try integer(UInt16.self, at: entry.lowerBound + 3))
            let bag = entry.lowerBound + 5
            guard origins.indices.contains(originIndex), bag + bagLength <= entry.upperBound,
                let source = EventSource(rawValue: flags & ~EventChunk.batchFlag)
            else { throw damaged(at: entry.lowerBound) }
            return EventView(
                offset: row.baseOffset + position, enqueuedAt: row.enqueuedAt, source: source,
                isBatch: flags & EventChunk.batchFlag != 0,
                bag: UnsafeRawBufferPointer(rebasing: bytes[bag..<bag + bagLength]),
                body: UnsafeRawBufferPointer(rebasing: bytes[bag + bagLength..<entry.upperBound]),
                originIndex: originIndex, origin: UnsafeRawBufferPointer(rebasing: bytes[origins[originIndex]]))
        }

        mutating func event(_ view: EventView) throws(EventLogError) -> StoredEvent {
            let origin: EventOrigin
            if let made, made.index == view.originIndex {
                origin = made.origin
            } else {
                origin = try self.origin(in: origins[view.originIndex])
                made = (view.originIndex, origin)
            }
            let header = EventHeader(
                origin: origin, enqueuedAt: row.enqueuedAt, source: view.source,
                bag: String(decoding: view.bag, as: UTF8.self), isBatch: view.isBatch)
            return StoredEvent(
                partition: row.partition, offset: view.offset, header: header, body: Array(view.body))
        }

        func origin(in fields: Range<Int>) throws(EventLogError) -> EventOrigin {
            var parts: [String] = []
            var index = fields.lowerBound
            for _ in 0..<5 {
                let length = Int(try integer(UInt8.self, at: index))
                index += 1
                guard index + length <= fields.upperBound else { throw damaged(at: index) }
                parts.append(String(decoding: bytes[index..<index + length], as: UTF8.self))
                index += length
            }
            guard let device = DeviceID(parts[0]) else { throw damaged(at: fields.lowerBound) }
            return EventOrigin(
                device: device, module: parts[1].isEmpty ? nil : parts[1], authGeneration: parts[2],
                authScope: parts[3], authType: parts[4])
        }

        private func integer<Value: FixedWidthInteger>(
            _: Value.Type, at index: Int
        ) throws(EventLogError) -> Value {
            guard index + MemoryLayout<Value>.size <= bytes.count else { throw damaged(at: index) }
            return Value(littleEndian: bytes.loadUnaligned(fromByteOffset: index, as: Value.self))
        }

        private func damaged(at index: Int) -> EventLogError {
            EventLogError(
                .damaged, doing: "read the events of partition \(row.partition) from offset \(row.baseOffset)",
                detail: "byte \(index) of \(bytes.count) is not what was written there")
        }
    }
}
