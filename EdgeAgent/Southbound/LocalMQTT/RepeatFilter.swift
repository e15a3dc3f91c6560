/// Knows which QoS 1 messages the broker may send again although they are already kept: those whose acknowledgements may
/// not have reached the broker.
///
/// An acknowledgement that is on the wire has not reached the broker yet: when this process dies with bytes unread, the
/// kernel resets the connection, and the broker throws away what it has not read. So the last `writtenMax` messages stay
/// known. A message under the identifier of an earlier one says that the broker has heard of that one and of all before.
///
/// The broker repeats unacknowledged messages first, in their order, under their packet identifiers (MQTT 3.1.1
/// section 4.4 and 4.6). So after a reconnect into the same session the longest prefix of messages that match what was
/// kept is dropped; the first other QoS 1 message ends it. Identifier and digest must both match, and the message must be
/// marked as sent before: a broker may give a new message a free identifier, and a sensor often says the same twice.
struct RepeatFilter: Equatable {
    /// Entries in a mark. No more messages than these are read before the first of them is acknowledged.
    static let entriesMax = 1024
    /// Messages that are remembered after their acknowledgements were written, unless the broker is told to have more under
    /// way at a time: more than mosquitto has by default (20), and few enough for one page of the outbox.
    static let writtenMax = 32
    private static let version: UInt8 = 2
    /// Digests have 24 bits.
    private static let digestMask: UInt32 = 0xFF_FFFF

    private struct Entry: Equatable {
        let packetID: UInt16
        let digest: UInt32
    }

    private struct Pending: Equatable {
        let entry: Entry
        let isRepeat: Bool
    }

    private let writtenMax: Int
    /// Read on this connection and not kept yet.
    private var pending: [Pending] = []
    /// Kept, and the acknowledgement perhaps not heard by the broker; in order, every identifier once.
    private var kept: [Entry] = []
    /// What the broker may repeat at the head of this connection, in order; empty once the prefix has ended. Until then
    /// nothing is added to `kept`, so this is always its end.
    private var repeatable: ArraySlice<Entry> = []

    /// - Parameter inflightMax: messages that the broker has under way at a time.
    init(inflightMax: Int = writtenMax) { writtenMax = min(max(Self.writtenMax, inflightMax), Self.entriesMax) }

    /// From the mark of an earlier run; an unreadable mark is as good as none.
    init(mark: [UInt8], inflightMax: Int = writtenMax) {
        self.init(inflightMax: inflightMax)
        guard let entries = mark.first == Self.version ? Self.entries(mark) : Self.entriesOfVersion1(mark) else {
            return
        }
        kept = entries
    }

    /// A connection was accepted. Only into the same session can anything be repeated.
    mutating func connected(sessionPresent: Bool) {
        pending = []
        if !sessionPresent { kept = [] }
        repeatable = kept[...]
    }

    /// A QoS 1 message came. True when it is a repeat of one that is kept already.
    mutating func isRepeat(packetID: UInt16, digest: UInt32, isMarked: Bool) -> Bool {
        let entry = Entry(packetID: packetID, digest: digest & Self.digestMask)
        guard isMarked, let index = repeatable.firstIndex(of: entry) else {
            repeatable = []
            pending.append(Pending(entry: entry, isRepeat: false))
            return false
        }
        repeatable = repeatable[(index + 1)...]
        pending.append(Pending(entry: entry, isRepeat: true))
        return true
    }

    /// So many of the messages that were read and not kept are kept now, the ones that came first.
    mutating func kept(_ count: Int) {
        kept = Self.joined(kept, pending.prefix(count))
        pending.removeFirst(min(count, pending.count))
    }

    /// The acknowledgements of everything kept on this connection are on the wire.
    mutating func acknowledgementsWritten() {
        // What the broker may still repeat here has no acknowledgement on this connection.
        guard kept.count > repeatable.count + writtenMax else { return }
        kept = Array(kept.dropLast(repeatable.count).suffix(writtenMax)) + repeatable
    }

    /// A repeat has its place already.
    private static func joined(_ kept: [Entry], _ pending: ArraySlice<Pending>) -> [Entry] {
        var all = kept
        var known = Set(kept.lazy.map(\.packetID))
        for item in pending where !item.isRepeat {
            let id = item.entry.packetID
            if known.contains(id), let heard = all.firstIndex(where: { $0.packetID == id }) {
                for entry in all[...heard] { known.remove(entry.packetID) }
                all.removeSubrange(...heard)
            }
            all.append(item.entry)
            known.insert(id)
        }
        if all.count > entriesMax { all.removeFirst(all.count - entriesMax) }
        return all
    }

    // MARK: Marks

    /// For the next delivery: what the broker may repeat once this delivery, and with it all before it, is kept.
    ///
    /// Layout: `02`, then for each entry how far its identifier is from the one before, less one, and three bytes of
    /// digest. Brokers count identifiers up, so the distance is nearly always one byte: below 255 it is that byte, else
    /// `FF` and the identifier's two bytes. A mark is in every commit: what it has less, the flash is spared.
    var mark: [UInt8] {
        var bytes: [UInt8] = [Self.version]
        let entries = Self.joined(kept, pending[...])
        bytes.reserveCapacity(1 + entries.count * 4 + 2)
        var before: UInt16?
        for entry in entries {
            let distance = before.map { entry.packetID &- $0 &- 1 } ?? .max
            if distance < 255 {
                bytes.append(UInt8(distance))
            } else {
                bytes += [255, UInt8(entry.packetID >> 8), UInt8(truncatingIfNeeded: entry.packetID)]
            }
            for shift in [16, 8, 0] { bytes.append(UInt8(truncatingIfNeeded: entry.digest >> UInt32(shift))) }
            before = entry.packetID
        }
        return bytes
    }

    private static func entries(_ mark: [UInt8]) -> [Entry]? {
        var rest = mark.dropFirst()
        var entries: [Entry] = []
        while let distance = rest.popFirst() {
            var packetID = (entries.last?.packetID ?? 0) &+ UInt16(distance) &+ 1
            if distance == 255 {
                guard let high = rest.popFirst(), let low = rest.popFirst() else { return nil }
                packetID = UInt16(high) << 8 | UInt16(low)
            }
            guard rest.count >= 3, entries.count < entriesMax else { return nil }
            entries.append(Entry(packetID: packetID, digest: rest.prefix(3).reduce(0) { $0 << 8 | UInt32($1) }))
            rest = rest.dropFirst(3)
        }
        return entries
    }

    /// Of an older agent: identifiers of two bytes, digests of four.
    private static func entriesOfVersion1(_ mark: [UInt8]) -> [Entry]? {
        guard mark.first == 1, (mark.count - 1) % 6 == 0 else { return nil }
        return stride(from: 1, to: mark.count, by: 6).map { start in
            let packetID = UInt16(mark[start]) << 8 | UInt16(mark[start + 1])
            let digest = mark[(start + 2)..<(start + 6)].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            return Entry(packetID: packetID, digest: digest & digestMask)
        }
    }

    /// FNV-1a over topic, a zero, and payload. It only has to tell one message from the next under the same identifier.
    static func digest(topic: String.UTF8View, payload: [UInt8]) -> UInt32 {
        var hash: UInt32 = 2_166_136_261
        for byte in topic { hash = (hash ^ UInt32(byte)) &* 16_777_619 }
        hash = hash &* 16_777_619
        for byte in payload { hash = (hash ^ UInt32(byte)) &* 16_777_619 }
        return hash
    }
}
