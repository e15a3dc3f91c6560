/// Bytes on their way: appended at the end, taken from the front. Whoever fills it bounds it.
public struct ByteQueue: Sendable {
    /// What an empty queue keeps allocated at the most: enough for a stream of large pieces to need no memory anew.
    private static let capacityKept = 768 * 1024
    /// Fewer bytes than these at the front are not worth a move of the rest.
    private static let headBytesMax = 64 * 1024

    private var bytes: [UInt8] = []
    private var head = 0

    public init() {}

    public var count: Int { bytes.count - head }
    public var isEmpty: Bool { count == 0 }

    public mutating func append(_ byte: UInt8) { bytes.append(byte) }
    public mutating func append(contentsOf more: [UInt8]) { bytes.append(contentsOf: more) }
    public mutating func append(contentsOf more: UnsafeRawBufferPointer) { bytes.append(contentsOf: more) }
    public mutating func append(utf8 text: String) { bytes.append(contentsOf: text.utf8) }

    /// Looks at all bytes in place; the pointer does not outlive the call.
    public func withBytes<Result, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let head = head
        return try bytes.withUnsafeBufferPointer { (all) throws(Failure) -> Result in
            try body(UnsafeRawBufferPointer(UnsafeBufferPointer(rebasing: all[head...])))
        }
    }

    /// Takes bytes off the front. `countTaken` is 0 … `count`.
    public mutating func removeFirst(_ countTaken: Int) {
        precondition((0...count).contains(countTaken), "only bytes that are there can be taken")
        head += countTaken
        if head == bytes.count {
            bytes.removeAll(keepingCapacity: bytes.capacity <= Self.capacityKept)
            head = 0
        } else if head > Self.headBytesMax, head > bytes.count / 2 {
            bytes.removeFirst(head)
            head = 0
        }
    }
}
