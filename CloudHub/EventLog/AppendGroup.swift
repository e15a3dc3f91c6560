public import NIOCore

/// What one event loop collected since its last append: goes into one transaction as a whole.
public struct AppendGroup: Sendable {
    /// Events of one partition, in the order in which they came.
    public struct Chunk: Sendable {
        public let partition: Int
        public internal(set) var eventCount: Int
        /// Entries of an `EventChunk`.
        public internal(set) var bytes: ByteBuffer
        /// The batches among the events, in order.
        public internal(set) var batches: [BatchMark]
    }

    public internal(set) var chunks: [Chunk]
    /// Publishes quarantined whole: nothing of them became an event.
    public internal(set) var quarantined: [QuarantinedRecord]

    public var eventCount: Int { chunks.reduce(0) { $0 + $1.eventCount } }
    public var byteCount: Int { chunks.reduce(0) { $0 + $1.bytes.readableBytes } }
    public var isEmpty: Bool { chunks.isEmpty && quarantined.isEmpty }
}
