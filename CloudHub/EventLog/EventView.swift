import Glibc
public import Primitives

/// An event as it lies in the log, before anything of it is copied. Valid only inside the closure that is given it.
///
/// A consumer that wants few events decides by this which are made into a `StoredEvent`.
public struct EventView {
    public let offset: Int64
    public let enqueuedAt: WallInstant
    public let source: EventSource
    public let isBatch: Bool
    /// The property bag as the device sent it.
    public let bag: UnsafeRawBufferPointer
    public let body: UnsafeRawBufferPointer
    let originIndex: Int
    /// The fields of an `EventChunk` origin.
    let origin: UnsafeRawBufferPointer

    /// Whom the event is of; `nil` when the row is damaged.
    public var device: DeviceID? {
        guard let length = origin.first, origin.count > length else { return nil }
        return DeviceID(String(decoding: origin[1...Int(length)], as: UTF8.self))
    }

    /// Whether it is of a module of the device and not of the device itself.
    public var isOfModule: Bool {
        guard let length = origin.first, origin.count > Int(length) + 1 else { return false }
        return origin[Int(length) + 1] > 0
    }
}

extension EventView {
    /// Whether the bytes stand anywhere in the body: tells most events that need not be parsed.
    public func holds(_ text: [UInt8]) -> Bool {
        guard let first = text.first else { return true }
        var rest = body
        while let start = rest.baseAddress, let found = memchr(start, Int32(first), rest.count) {
            let left = rest.count - (UnsafeRawPointer(found) - start)
            guard left >= text.count else { return false }
            if memcmp(found, text, text.count) == 0 { return true }
            rest = UnsafeRawBufferPointer(start: UnsafeRawPointer(found) + 1, count: left - 1)
        }
        return false
    }
}

/// What a read has found.
public struct EventRun: Sendable, Equatable {
    /// Those that were wanted, oldest first.
    public var events: [StoredEvent] = []
    /// Of the first event that was looked at; `nil` when there was none.
    public var firstOffset: Int64?
    /// Where to go on.
    public var nextOffset: Int64
    /// Bytes of bodies and bags that were looked at.
    var bytesSeen = 0

    /// A run that has not begun.
    public init(from offset: Int64) { nextOffset = offset }
}
