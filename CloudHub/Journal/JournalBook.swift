public import Primitives

/// Something that happened to a device, or to somebody who called himself so.
public struct JournalEntry: Hashable, Sendable {
    /// The raw value is what people read.
    public enum Kind: String, Sendable, CaseIterable {
        /// It could not prove who it is.
        case refused
        /// Its connection ended.
        case disconnected
        /// The same identity connected again.
        case takenOver = "taken-over"
        /// It did something too often.
        case throttled
        /// Something of it was acknowledged and set aside.
        case quarantined
        /// It asked for something that it does not get.
        case denied
    }

    /// Rises from entry to entry over all devices.
    public internal(set) var number: UInt64
    /// When it happened last.
    public internal(set) var at: WallInstant
    /// The id, as far as somebody gave one.
    public let name: String
    public let kind: Kind
    /// What is wrong and what to do.
    public let sentence: String
    public let address: String?
    /// Whether whoever did it had shown that the name is its own. Anybody may say a name.
    public let isProven: Bool
    /// How often it happened in a row.
    public internal(set) var times: Int
}

/// The newest events of devices, as far as memory allows. Pure.
///
/// Registered devices and strangers are kept apart, so that somebody with ever new ids pushes out other strangers only.
/// The same event in a row is one entry with a count.
struct JournalBook {
    struct Limits {
        /// Entries of one device; the oldest goes.
        var perName = 64
        /// Of them, those that anybody may have caused; the oldest of these goes, so that strangers do not push out what the
        /// device itself did.
        var unprovenPerName = 16
        /// Devices; those that were quiet for the longest go.
        var names = 16_384
        /// Entries of all devices together.
        var entries = 65_536
    }

    static let strangerLimits = Limits(perName: 16, names: 256, entries: 1024)
    /// What anybody may have caused is news so often in a `repeatInterval`, over all names: a stranger with ever new ones
    /// does not fill a log.
    static let unprovenNewsMax = 256
    /// Characters of a sentence or a name.
    static let textMax = 512
    /// An event that repeats is news again after this time.
    static let repeatInterval = Duration.seconds(10)

    private struct Subject {
        var entries: [JournalEntry] = []
        var lastUse: UInt64 = 0
        /// When its newest entry was last told as news.
        var toldAt = WallInstant.never
    }

    private struct Pool {
        let limits: Limits
        var subjects: [String: Subject] = [:]
        var entryCount = 0

        /// Takes out the quietest eighth, or more of them, until the limits hold with some room.
        mutating func makeRoom() {
            guard subjects.count > limits.names || entryCount > limits.entries else { return }
            let namesMax = limits.names - limits.names / 8
            let entriesMax = limits.entries - limits.entries / 8
            for (name, subject) in subjects.sorted(by: { $0.value.lastUse < $1.value.lastUse }) {
                guard subjects.count > namesMax || entryCount > entriesMax else { return }
                entryCount -= subject.entries.count
                subjects[name] = nil
            }
        }
    }

    private var registered: Pool
    private var strangers: Pool
    private var lastNumber: UInt64 = 0
    private var unprovenNews = (since: WallInstant.never, count: 0)

    init(registered: Limits = Limits(), strangers: Limits = strangerLimits) {
        self.registered = Pool(limits: registered)
        self.strangers = Pool(limits: strangers)
    }

    /// - Returns: the entry when it is news: new, or repeated after some time.
    mutating func note(
        _ kind: JournalEntry.Kind, of name: String, isRegistered: Bool, isProven: Bool = true, _ sentence: String,
        address: String?, at now: WallInstant
    ) -> JournalEntry? {
        lastNumber += 1
        let entry = JournalEntry(
            number: lastNumber, at: now, name: String(name.prefix(Self.textMax)), kind: kind,
            sentence: String(sentence.prefix(Self.textMax)), address: address, isProven: isProven, times: 1)
        let news = isRegistered ? Self.note(entry, in: &registered) : Self.note(entry, in: &strangers)
        guard let news, !isProven else { return news }
        if now - unprovenNews.since >= Self.repeatInterval || now < unprovenNews.since { unprovenNews = (now, 0) }
        unprovenNews.count += 1
        return unprovenNews.count <= Self.unprovenNewsMax ? news : nil
    }

    private static func note(_ entry: JournalEntry, in pool: inout Pool) -> JournalEntry? {
        var subject = pool.subjects[entry.name] ?? Subject()
        subject.lastUse = entry.number
        var kept = entry
        var isNews = true
        if let last = subject.entries.last, last.isRepeated(by: entry) {
            kept.times = last.times + 1
            subject.entries[subject.entries.count - 1] = kept
            isNews = entry.at - subject.toldAt >= repeatInterval || entry.at < subject.toldAt
        } else {
            subject.entries.append(kept)
            pool.entryCount += 1
            if !kept.isProven, subject.entries.count(where: { !$0.isProven }) > pool.limits.unprovenPerName,
                let oldest = subject.entries.firstIndex(where: { !$0.isProven })
            {
                subject.entries.remove(at: oldest)
                pool.entryCount -= 1
            }
            if subject.entries.count > pool.limits.perName {
                subject.entries.removeFirst()
                pool.entryCount -= 1
            }
        }
        if isNews { subject.toldAt = entry.at }
        pool.subjects[entry.name] = subject
        pool.makeRoom()
        return isNews ? kept : nil
    }

    /// Oldest first. Somebody who was a stranger and is registered now has both.
    func entries(of name: String) -> [JournalEntry] {
        let own = (strangers.subjects[name]?.entries ?? []) + (registered.subjects[name]?.entries ?? [])
        return own.sorted { $0.number < $1.number }
    }

    /// Oldest first; of everybody.
    func newest(_ most: Int) -> [JournalEntry] {
        let all = registered.subjects.values.flatMap(\.entries) + strangers.subjects.values.flatMap(\.entries)
        return all.sorted { $0.number < $1.number }.suffix(most)
    }

    var counts: (names: Int, entries: Int, strangers: Int, strangerEntries: Int) {
        (registered.subjects.count, registered.entryCount, strangers.subjects.count, strangers.entryCount)
    }
}

extension JournalEntry {
    fileprivate func isRepeated(by other: JournalEntry) -> Bool {
        kind == other.kind && sentence == other.sentence && address == other.address && isProven == other.isProven
    }
}
