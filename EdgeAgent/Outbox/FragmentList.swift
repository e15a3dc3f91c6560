internal import Primitives
public import Telemetry

/// Encoded records joined with commas, taken apart again without reading them as JSON.
///
/// The outbox stores what `Batch.encodeFragment` wrote, and nothing else: every record begins with `{"seq":"`, and that
/// text cannot stand anywhere inside one, because a quotation mark inside a string is always escaped.
public struct FragmentList: Sequence, Sendable {
    /// One record in the list.
    public struct Record: Sendable, Equatable {
        public let sequence: UInt64
        /// Where it stands in the list's bytes.
        public let range: Range<Int>
    }

    public let bytes: [UInt8]

    public init(_ bytes: [UInt8]) { self.bytes = bytes }

    public func makeIterator() -> Iterator { Iterator(bytes: bytes) }

    public struct Iterator: IteratorProtocol {
        let bytes: [UInt8]
        private var position = 0

        init(bytes: [UInt8]) { self.bytes = bytes }

        /// Ends early at bytes that are no fragments; a store checks what it reads against its row count.
        public mutating func next() -> Record? {
            bytes.withUnsafeBufferPointer { bytes in
                let head = FragmentList.head
                guard FragmentList.matches(head, bytes, at: position) else { return nil }
                let start = position
                var sequence: UInt64 = 0
                position += head.utf8CodeUnitCount
                while position < bytes.count, (0x30...0x39).contains(bytes[position]) {
                    sequence = sequence &* 10 &+ UInt64(bytes[position] - 0x30)
                    position += 1
                }
                // Up to the comma before the next head; a comma is the rarest thing to look at twice.
                while position < bytes.count {
                    if bytes[position] == UInt8(ascii: ","), FragmentList.matches(head, bytes, at: position + 1) {
                        let end = position
                        position += 1
                        return Record(sequence: sequence, range: start..<end)
                    }
                    position += 1
                }
                return Record(sequence: sequence, range: start..<position)
            }
        }
    }

    /// The sequences in it, rising; neighbours joined.
    public var runs: [Run] { Run.joining(lazy.map(\.sequence)) }

    /// Device and metric, or device and rule, as they stand in the record; `nil` when it is not one of ours.
    ///
    /// A metric with characters that JSON escapes keeps its escapes.
    public func name(of record: Record) -> SensorName? {
        guard let device = text(after: "\"device\":\"", in: record.range) else { return nil }
        let rest = device.end..<record.range.upperBound
        let isFault = bytes.withUnsafeBufferPointer { Self.matches("\",\"fault\":{", $0, at: device.end) }
        guard let metric = text(after: isFault ? "\"rule\":\"" : "\"metric\":\"", in: rest) else { return nil }
        return SensorName(device: device.text, metric: metric.text)
    }

    /// The number of a record whose value is one.
    public func number(of record: Record) -> UInt64? {
        text(after: "\"value\":\"", in: record.range).flatMap { UInt64($0.text) }
    }

    private func text(after key: StaticString, in range: Range<Int>) -> (text: String, end: Int)? {
        bytes.withUnsafeBufferPointer { bytes in
            var position = range.lowerBound
            while position < range.upperBound, !Self.matches(key, bytes, at: position) { position += 1 }
            let start = position + key.utf8CodeUnitCount
            guard start <= range.upperBound else { return nil }
            position = start
            while position < range.upperBound, bytes[position] != UInt8(ascii: "\"") {
                position += bytes[position] == UInt8(ascii: "\\") ? 2 : 1
            }
            guard position < range.upperBound else { return nil }
            return (String(decoding: bytes[start..<position], as: UTF8.self), position)
        }
    }

    private static let head: StaticString = "{\"seq\":\""

    private static func matches(_ text: StaticString, _ bytes: UnsafeBufferPointer<UInt8>, at position: Int) -> Bool {
        let count = text.utf8CodeUnitCount
        guard position + count <= bytes.count else { return false }
        for offset in 0..<count where bytes[position + offset] != text.utf8Start[offset] { return false }
        return true
    }
}

/// Whose records were counted: a sensor is a metric of a device; a fault counts for its rule.
public struct SensorName: Hashable, Sendable, Comparable {
    public let device: String
    public let metric: String

    public init(device: String, metric: String) {
        self.device = device
        self.metric = metric
    }

    public static func < (left: Self, right: Self) -> Bool {
        (left.device, left.metric) < (right.device, right.metric)
    }
}
