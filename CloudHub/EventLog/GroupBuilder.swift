import NIOCore

/// Collects the events of one event loop into an `AppendGroup`: written once, straight from the received bytes.
///
/// An event costs one copy of its bag and body and no allocation while the chunk has room. Buffers given back with
/// `recycle` are used again. Belongs to its loop.
public struct GroupBuilder: ~Copyable {
    /// The chunk that a partition is filling.
    private struct Open {
        var chunk: AppendGroup.Chunk
        var serial: UInt64
        var originCount: UInt16
    }

    private var open: [Open?]
    private var closed: [AppendGroup.Chunk] = []
    private var quarantined: [QuarantinedRecord] = []
    private var spare: [ByteBuffer] = []
    private var lastSerial: UInt64 = 0
    private let allocator = ByteBufferAllocator()
    /// Buffers kept for use again: enough for two groups of every partition.
    private let spareMax: Int

    /// What waits in the builder.
    public private(set) var byteCount = 0
    public private(set) var eventCount = 0

    public init(partitionCount: Int) {
        open = Array(repeating: nil, count: partitionCount)
        spareMax = partitionCount * 2
    }

    public var isEmpty: Bool { eventCount == 0 && quarantined.isEmpty }

    /// Appends an event of the stamp's connection.
    ///
    /// - Parameters:
    ///   - bag: at most 65,535 bytes of UTF-8; a topic name cannot be longer.
    ///   - body: read during the call only, as is `bag`.
    ///   - batch: for a telemetry batch, what the writer needs to drop its repeats.
    public mutating func append(
        _ stamp: inout EventStamp, source: EventSource, bag: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer,
        batch: BatchMark? = nil
    ) {
        let partition = stamp.partition
        prepareChunk(partition, for: EventChunk.eventOverhead + bag.count + body.count)
        placeOrigin(of: &stamp)
        let flags = source.rawValue | (batch == nil ? 0 : EventChunk.batchFlag)
        let size = EventChunk.eventOverhead + bag.count + body.count
        let originIndex = stamp.originIndex
        let start = open[partition].unsafelyUnwrapped.chunk.bytes.writerIndex
        open[partition]?.chunk.bytes.writeWithUnsafeMutableBytes(minimumWritableBytes: size) { target in
            target.storeBytes(of: UInt32(size - 4).littleEndian, toByteOffset: 0, as: UInt32.self)
            target.storeBytes(of: EventChunk.eventKind, toByteOffset: 4, as: UInt8.self)
            target.storeBytes(of: flags, toByteOffset: 5, as: UInt8.self)
            target.storeBytes(of: originIndex.littleEndian, toByteOffset: 6, as: UInt16.self)
            target.storeBytes(of: UInt16(bag.count).littleEndian, toByteOffset: 8, as: UInt16.self)
            let rest = UnsafeMutableRawBufferPointer(rebasing: target[EventChunk.eventOverhead...])
            rest.copyMemory(from: bag)
            UnsafeMutableRawBufferPointer(rebasing: rest[bag.count...]).copyMemory(from: body)
            return size
        }
        open[partition]?.chunk.eventCount += 1
        if var batch {
            batch.entry = start..<start + size
            open[partition]?.chunk.batches.append(batch)
        }
        byteCount += size
        eventCount += 1
    }

    /// Settles a batch of which no record was left to become an event.
    public mutating func appendEmptyBatch(_ stamp: EventStamp, batch: BatchMark) {
        prepareChunk(stamp.partition, for: 0)
        open[stamp.partition]?.chunk.batches.append(batch)
    }

    /// Quarantines a publish that is no batch envelope.
    public mutating func quarantine(_ record: QuarantinedRecord) {
        quarantined.append(record)
        byteCount += record.body.count
    }

    /// Takes everything collected. The builder is empty afterwards.
    public mutating func seal() -> AppendGroup {
        var chunks = closed
        closed.removeAll(keepingCapacity: true)
        for partition in open.indices {
            if let last = open[partition] { chunks.append(last.chunk) }
            open[partition] = nil
        }
        let group = AppendGroup(chunks: chunks, quarantined: quarantined)
        quarantined = []
        byteCount = 0
        eventCount = 0
        return group
    }

    /// Takes the buffers of a group that is stored, to fill them again.
    public mutating func recycle(_ group: consuming AppendGroup) {
        for chunk in group.chunks where spare.count < spareMax && chunk.bytes.capacity <= 2 * EventChunk.bytesSoftMax {
            spare.append(chunk.bytes)
        }
    }

    private mutating func prepareChunk(_ partition: Int, for size: Int) {
        if let current = open[partition] {
            let used = current.chunk.bytes.readableBytes
            // The next event may bring an origin with it: leave room in the index for one more.
            if used == 0 || (used + size <= EventChunk.bytesSoftMax && current.originCount < .max) { return }
            closed.append(current.chunk)
        }
        var bytes = spare.popLast() ?? allocator.buffer(capacity: 4096)
        bytes.clear()
        lastSerial += 1
        let chunk = AppendGroup.Chunk(partition: partition, eventCount: 0, bytes: bytes, batches: [])
        open[partition] = Open(chunk: chunk, serial: lastSerial, originCount: 0)
    }

    private mutating func placeOrigin(of stamp: inout EventStamp) {
        guard let current = open[stamp.partition], stamp.chunkSerial != current.serial else { return }
        stamp.chunkSerial = current.serial
        stamp.originIndex = current.originCount
        // As raw bytes: the generic way copies byte by byte.
        stamp.originEntry.withUnsafeBytes { _ = open[stamp.partition]?.chunk.bytes.writeBytes($0) }
        open[stamp.partition]?.originCount += 1
        byteCount += stamp.originEntry.count
    }
}
