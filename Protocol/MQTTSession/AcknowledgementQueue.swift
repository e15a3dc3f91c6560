public import MQTTCodec

/// Names one received PUBLISH of QoS 1 or 2 within its connection; later ones are larger.
public struct PublishTicket: Hashable, Comparable, Sendable {
    public let number: UInt64

    public static func < (left: Self, right: Self) -> Bool { left.number < right.number }

    init(number: UInt64) { self.number = number }
}

/// What a durable PUBLISH is answered with.
public enum Acknowledgement: Equatable, Sendable {
    case pubAck(PacketID)
    case pubRec(PacketID)
}

/// Holds acknowledgements back until their message is durable, and lets them go in the order in which the messages came.
/// Source: MQTT 3.1.1 section 4.6, [MQTT-4.6.0-2] and [MQTT-4.6.0-3].
///
/// A ring: entries `head ..< head + count` (modulo its size, a power of two); the front one has the ticket `frontNumber`.
struct AcknowledgementQueue {
    private struct Entry {
        var id: PacketID
        var isExactlyOnce: Bool
        var isCommitted: Bool
        /// Only its own commit settles it, not that of a later message.
        var isSettledAlone = false
    }

    private var ring: [Entry] = []
    private var head = 0
    private(set) var count = 0
    private var frontNumber: UInt64 = 0
    private let countMax: Int

    init(countMax: Int) { self.countMax = countMax }

    var isFull: Bool { count >= countMax }
    var isFrontCommitted: Bool { count > 0 && ring[head].isCommitted }

    /// Appends a message that is not durable yet. The caller checks `isFull` first.
    mutating func publishReceived(_ id: PacketID, isExactlyOnce: Bool) -> PublishTicket {
        precondition(!isFull, "a full acknowledgement queue is checked before")
        let entry = Entry(id: id, isExactlyOnce: isExactlyOnce, isCommitted: false)
        if count == ring.count { grow(filler: entry) }
        ring[(head + count) & (ring.count - 1)] = entry
        defer { count += 1 }
        return PublishTicket(number: frontNumber + UInt64(count))
    }

    /// Marks one message durable. One that is answered already stays answered.
    mutating func committed(_ ticket: PublishTicket) {
        guard ticket.number >= frontNumber else { return }
        ring[slot(of: ticket)].isCommitted = true
    }

    /// Exempts one message from `committed(through:)`: it is stored elsewhere than those around it.
    mutating func settlesAlone(_ ticket: PublishTicket) {
        guard ticket.number >= frontNumber else { return }
        ring[slot(of: ticket)].isSettledAlone = true
    }

    /// Marks this message and all before it durable, but for those that settle alone.
    mutating func committed(through ticket: PublishTicket) {
        guard ticket.number >= frontNumber else { return }
        _ = slot(of: ticket)
        for position in 0...Int(ticket.number - frontNumber) {
            let index = (head + position) & (ring.count - 1)
            if !ring[index].isSettledAlone { ring[index].isCommitted = true }
        }
    }

    /// Takes the oldest message's answer if it is durable.
    mutating func next() -> Acknowledgement? {
        guard isFrontCommitted else { return nil }
        let entry = ring[head]
        head = (head + 1) & (ring.count - 1)
        count -= 1
        frontNumber += 1
        return entry.isExactlyOnce ? .pubRec(entry.id) : .pubAck(entry.id)
    }

    private func slot(of ticket: PublishTicket) -> Int {
        let position = ticket.number - frontNumber
        precondition(position < UInt64(count), "ticket \(ticket.number) was not given out by this connection")
        return (head + Int(position)) & (ring.count - 1)
    }

    private mutating func grow(filler: Entry) {
        var larger: [Entry] = []
        larger.reserveCapacity(max(16, ring.count * 2))
        for position in 0..<count { larger.append(ring[(head + position) & (ring.count - 1)]) }
        while larger.count < max(16, ring.count * 2) { larger.append(filler) }
        ring = larger
        head = 0
    }
}
