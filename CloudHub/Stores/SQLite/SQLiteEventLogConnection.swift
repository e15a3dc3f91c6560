import EventLog
import GRDBSQLite

/// One SQLite connection of the event log, without a layer between: the append path binds the loops' buffers as they
/// are, so that an event is copied once into the database's page. Used by one thread at a time.
final class LogConnection {
    private let handle: OpaquePointer
    /// Pages in the write-ahead log after the last commit. Its file says nothing: it keeps its size and is written over.
    private let walPages: UnsafeMutablePointer<Int32>

    init(path: String, isReadOnly: Bool) throws(EventLogError) {
        var opened: OpaquePointer?
        let access = isReadOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
        let status = sqlite3_open_v2(path, &opened, access | SQLITE_OPEN_NOMUTEX, nil)
        guard status == SQLITE_OK, let opened else {
            sqlite3_close_v2(opened)
            throw EventLogError(.storage, doing: "open the event log", detail: String(cString: sqlite3_errstr(status)))
        }
        handle = opened
        walPages = .allocate(capacity: 1)
        walPages.initialize(to: 0)
        sqlite3_busy_timeout(handle, 5000)
        sqlite3_extended_result_codes(handle, 1)
    }

    deinit {
        sqlite3_close_v2(handle)
        walPages.deallocate()
    }

    /// From now on `walPageCount` is kept; SQLite no longer checkpoints by itself.
    func countWALPages() {
        let record: @convention(c) (UnsafeMutableRawPointer?, OpaquePointer?, UnsafePointer<CChar>?, Int32) -> Int32 = {
            context, _, _, pages in
            context?.storeBytes(of: pages, as: Int32.self)
            return SQLITE_OK
        }
        sqlite3_wal_hook(handle, record, walPages)
    }

    var walPageCount: Int { Int(walPages.pointee) }

    func execute(_ sql: String, doing: String) throws(EventLogError) {
        guard sqlite3_exec(handle, sql, nil, nil, nil) == SQLITE_OK else { throw error(doing: doing) }
    }

    func prepare(_ sql: String) throws(EventLogError) -> LogStatement {
        var statement: OpaquePointer?
        let status = sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil)
        guard status == SQLITE_OK, let statement else { throw error(doing: "prepare a statement of the event log") }
        return LogStatement(statement)
    }

    /// The statement in `slot`, prepared when it is first needed.
    func prepare(_ sql: String, keptIn slot: inout LogStatement?) throws(EventLogError) -> LogStatement {
        if let kept = slot { return kept }
        let statement = try prepare(sql)
        slot = statement
        return statement
    }

    /// The first column of the first row.
    func integer(_ sql: String) throws(EventLogError) -> Int64 {
        let statement = try prepare(sql)
        guard try step(statement, doing: "read a setting of the event log") else { return 0 }
        return statement.integer(0)
    }

    /// - Returns: whether there is a row.
    func step(_ statement: LogStatement, doing: String) throws(EventLogError) -> Bool {
        switch sqlite3_step(statement.pointer) {
        case SQLITE_ROW: return true
        case SQLITE_DONE: return false
        default: throw error(doing: doing)
        }
    }

    /// Runs a statement that gives no row, and readies it for the next time.
    func run(_ statement: LogStatement, doing: String) throws(EventLogError) {
        defer { statement.reset() }
        _ = try step(statement, doing: doing)
    }

    var isInTransaction: Bool { sqlite3_get_autocommit(handle) == 0 }
    var changeCount: Int { Int(sqlite3_changes(handle)) }

    enum Checkpoint { case passive, truncate }

    /// Moves what readers allow from the write-ahead log into the database.
    /// - Returns: frames in the write-ahead log, and how many of them are in the database now.
    func checkpoint(_ kind: Checkpoint) throws(EventLogError) -> (frames: Int, moved: Int) {
        var frames: Int32 = 0
        var moved: Int32 = 0
        let mode = kind == .passive ? SQLITE_CHECKPOINT_PASSIVE : SQLITE_CHECKPOINT_TRUNCATE
        let status = sqlite3_wal_checkpoint_v2(handle, nil, mode, &frames, &moved)
        guard status == SQLITE_OK || status == SQLITE_BUSY else { throw error(doing: "checkpoint the event log") }
        if moved == frames { walPages.pointee = 0 }
        return (Int(frames), Int(moved))
    }

    private func error(doing: String) -> EventLogError {
        let code = sqlite3_extended_errcode(handle)
        let problem: EventLogError.Problem =
            switch code & 0xFF {
            case SQLITE_FULL: .full
            case SQLITE_CORRUPT, SQLITE_NOTADB: .damaged
            default: .storage
            }
        let text = String(cString: sqlite3_errmsg(handle))
        return EventLogError(problem, doing: doing, detail: "\(text) (SQLite \(code))")
    }
}

/// A prepared statement. Blobs are bound without a copy: they must stay in place until `reset`.
final class LogStatement {
    let pointer: OpaquePointer

    init(_ pointer: OpaquePointer) { self.pointer = pointer }

    deinit { sqlite3_finalize(pointer) }

    func bind(_ value: Int64, _ index: Int32) { sqlite3_bind_int64(pointer, index, value) }

    func bind(_ value: Int64?, _ index: Int32) {
        if let value { bind(value, index) } else { sqlite3_bind_null(pointer, index) }
    }

    func bind(_ text: String, _ index: Int32) {
        let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
        sqlite3_bind_text(pointer, index, text, -1, transient)
    }

    func bind(copying bytes: [UInt8], _ index: Int32) {
        let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
        if bytes.isEmpty {
            sqlite3_bind_zeroblob(pointer, index, 0)
        } else {
            bytes.withUnsafeBytes {
                _ = sqlite3_bind_blob64(pointer, index, $0.baseAddress, UInt64($0.count), transient)
            }
        }
    }

    func bind(inPlace bytes: UnsafeRawBufferPointer, _ index: Int32) {
        sqlite3_bind_blob64(pointer, index, bytes.baseAddress, UInt64(bytes.count), nil)
    }

    func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(pointer, column) }

    func optionalInteger(_ column: Int32) -> Int64? {
        sqlite3_column_type(pointer, column) == SQLITE_NULL ? nil : integer(column)
    }

    func text(_ column: Int32) -> String {
        sqlite3_column_text(pointer, column).map { String(cString: $0) } ?? ""
    }

    /// Valid until the next step or reset.
    func blob(_ column: Int32) -> UnsafeRawBufferPointer {
        let bytes = sqlite3_column_blob(pointer, column)
        return UnsafeRawBufferPointer(start: bytes, count: Int(sqlite3_column_bytes(pointer, column)))
    }

    func reset() { sqlite3_reset(pointer) }
}
