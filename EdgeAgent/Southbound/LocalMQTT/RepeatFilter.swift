/// Knows which QoS 1 messages the broker may send again although they are already kept: those whose acknowledgements may
/// not have reached the broker.
///
/// The broker repeats unacknowledged messages first, in their order, under their packet identifiers (MQTT 3.1.1
/// section 4.4 and 4.6). So after a reconnect into the same session the longest prefix of messages that match what was
/// kept is dropped; the first other QoS 1 message ends it. Identifier and digest must both match.
struct RepeatFilter: Equatable {
    /// Entries in a mark. No more messages than these are read before the first of them is acknowledged.
    static let entriesMax = 1024
    private static let entryBytes = 6
    private static let version: UInt8 = 1

    private struct Entry: Equatable {
        let packetID: UInt16
        let digest: UInt32
    }

    /// Read on this connection and not kept yet.
    private var pending: [Entry] = []
    /// Kept, and the acknowledgement perhaps not written.
    private var kept: [Entry] = []
    /// What the broker may repeat at the head of this connection, in order; empty once the prefix has ended.
    private var repeatable: ArraySlice<Entry> = []

    init() {}

    /// From the mark of an earlier run; an unreadable mark is as good as none.
    init(mark: [UInt8]) {
        guard mark.first == Self.version, (mark.count - 1) % Self.entryBytes == 0 else { return }
        for start in stride(from: 1, to: mark.count, by: Self.entryBytes) {
            let packetID = UInt16(mark[start]) << 8 | UInt16(mark[start + 1])
            let digest = mark[(start + 2)..<(start + 6)].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            kept.append(Entry(packetID: packetID, digest: digest))
        }
    }

    /// A connection was accepted. Only into the same session can anything be repeated.
    mutating func connected(sessionPresent: Bool) {
        pending = []
        if !sessionPresent { kept = [] }
        repeatable = kept[...]
    }

    /// A QoS 1 message came. True when it is a repeat of one that is kept already.
    mutating func isRepeat(packetID: UInt16, digest: UInt32) -> Bool {
        let entry = Entry(packetID: packetID, digest: digest)
        pending.append(entry)
        guard let index = repeatable.firstIndex(of: entry) else {
            repeatable = []
            return false
        }
        repeatable = repeatable[(index + 1)...]
        return true
    }

    /// So many of the messages that were read and not kept are kept now, the ones that came first.
    mutating func kept(_ count: Int) {
        kept += pending.prefix(count)
        if kept.count > Self.entriesMax { kept.removeFirst(kept.count - Self.entriesMax) }
        pending.removeFirst(min(count, pending.count))
    }

    /// The acknowledgements of everything kept on this connection are on the wire.
    mutating func acknowledgementsWritten() { kept = Array(repeatable) }

    /// For the next delivery: what the broker may repeat once this delivery, and with it all before it, is kept.
    var mark: [UInt8] {
        var bytes: [UInt8] = [Self.version]
        let entries = (kept + pending).suffix(Self.entriesMax)
        bytes.reserveCapacity(1 + entries.count * Self.entryBytes)
        for entry in entries {
            bytes.append(UInt8(entry.packetID >> 8))
            bytes.append(UInt8(truncatingIfNeeded: entry.packetID))
            for shift in [24, 16, 8, 0] { bytes.append(UInt8(truncatingIfNeeded: entry.digest >> UInt32(shift))) }
        }
        return bytes
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
