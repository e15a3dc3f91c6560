internal import Outbox
internal import Primitives
internal import Telemetry

/// Rows that the hub has acknowledged and that the file still has, and declarations that it has heard.
struct PendingAcknowledgements {
    /// From here on they are written by themselves.
    static let rowsMax = 256
    /// Plain fragments in them, at most; the same.
    static let bytesMax = 2 * 1024 * 1024
    /// From here on the next commit puts them into table `sent`: several large rows at once, because each such commit
    /// writes pages that they share.
    static let filedBytes = 8 * OutboxLimits.rowBytesMax
    static let filedRows = 128

    private(set) var rows: [UInt64]
    private(set) var plainBytes = 0
    private(set) var declared: [Run] = []
    /// When the first of them came; `nil` when there are none, or when the file knows them all already.
    private(set) var since: MonotonicInstant?
    private var known: Set<UInt64>

    /// - Parameter rows: those that an earlier run has left.
    init(rows: [UInt64] = []) {
        self.rows = rows
        known = Set(rows)
    }

    var isEmpty: Bool { rows.isEmpty && declared.isEmpty }
    var isFull: Bool { rows.count >= Self.rowsMax || plainBytes >= Self.bytesMax }
    var isWorthFiling: Bool { rows.count >= Self.filedRows || plainBytes >= Self.filedBytes }

    func contains(_ first: UInt64) -> Bool { known.contains(first) }

    mutating func add(_ head: RowHead, now: MonotonicInstant) {
        guard known.insert(head.first).inserted else { return }
        let place = rows.firstIndex { $0 > head.first } ?? rows.count
        rows.insert(head.first, at: place)
        plainBytes += head.plainBytes
        since = since ?? now
    }

    mutating func add(declared runs: [Run], now: MonotonicInstant) {
        guard !runs.isEmpty else { return }
        declared += runs
        since = since ?? now
    }

    mutating func forgetDeclared() { declared = [] }
    /// The file has the list.
    mutating func wereNoted() { since = nil }
    mutating func forgetRows() { self = PendingAcknowledgements(keeping: declared, since: since) }

    private init(keeping declared: [Run], since: MonotonicInstant?) {
        self.init()
        self.declared = declared
        self.since = declared.isEmpty ? nil : since
    }
}
