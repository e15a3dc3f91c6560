internal import CSQLite
internal import Glibc
internal import Outbox

/// One open database file. Not thread-safe: its owner holds a lock around every use.
final class SQLiteConnection {
    let path: String
    /// `nil` once it is closed.
    private var handle: OpaquePointer?
    private var statements: [String: OpaquePointer] = [:]

    enum Mode {
        /// Makes the file when it is missing.
        case create
        case existing
        /// Looks without taking part; the file must exist.
        case readOnly
    }

    init(path: String, mode: Mode = .create) throws(OutboxError) {
        var opened: OpaquePointer?
        let flags =
            switch mode {
            case .create: SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
            case .existing: SQLITE_OPEN_READWRITE
            case .readOnly: SQLITE_OPEN_READONLY
            }
        let code = sqlite3_open_v2(path, &opened, flags | SQLITE_OPEN_NOMUTEX, nil)
        guard code == SQLITE_OK, let opened else {
            let detail = opened.map { String(cString: sqlite3_errmsg($0)) } ?? "no memory"
            sqlite3_close_v2(opened)
            throw OutboxError(Self.problem(of: code), doing: "open the file", which: path, detail: detail)
        }
        handle = opened
        self.path = path
        sqlite3_extended_result_codes(handle, 1)
        sqlite3_busy_timeout(handle, 250)
    }

    deinit {
        for statement in statements.values { sqlite3_finalize(statement) }
        sqlite3_close_v2(handle)
    }

    /// Ends it before its time; every later use throws. By itself the library would delete the log at the path when it has
    /// folded it in, and that may be the log of another file by now: so it is left there.
    func close() {
        guard let handle else { return }
        self.handle = nil
        for statement in statements.values { sqlite3_finalize(statement) }
        statements = [:]
        var isKept: Int32 = 1
        sqlite3_file_control(handle, "main", SQLITE_FCNTL_PERSIST_WAL, &isKept)
        sqlite3_close_v2(handle)
    }

    private func open(doing: String) throws(OutboxError) -> OpaquePointer {
        guard let handle else {
            throw OutboxError(.diskFailed, doing: doing, which: path, detail: "it is closed after a failure")
        }
        return handle
    }

    var changeCount: Int { Int(sqlite3_changes(handle)) }

    /// Runs statements that bind and return nothing.
    func execute(_ sql: String, doing: String) throws(OutboxError) {
        let code = sqlite3_exec(try open(doing: doing), sql, nil, nil, nil)
        guard code == SQLITE_OK else { throw error(code, doing: doing) }
    }

    /// Runs one statement to its end, calling `row` for each row.
    func run(
        _ sql: String, _ values: [SQLiteValue] = [], doing: String, row: (SQLiteRow) -> Void = { _ in }
    ) throws(OutboxError) {
        try scan(sql, values, doing: doing) { next in
            row(next)
            return true
        }
    }

    /// The first column of the only row; 0 without one.
    func number(_ sql: String) throws(OutboxError) -> Int {
        var number = 0
        try run(sql, doing: "ask the file about itself") { number = $0.int(0) }
        return number
    }

    /// Runs one statement until its end or until `row` says `false`.
    func scan(
        _ sql: String, _ values: [SQLiteValue] = [], doing: String, row: (SQLiteRow) -> Bool
    ) throws(OutboxError) {
        let statement = try prepared(sql, doing: doing)
        defer {
            sqlite3_reset(statement)
            sqlite3_clear_bindings(statement)
        }
        for (index, value) in values.enumerated() {
            let code = value.bind(to: statement, at: Int32(index + 1))
            guard code == SQLITE_OK else { throw error(code, doing: doing) }
        }
        while true {
            let code = sqlite3_step(statement)
            switch code {
            case SQLITE_ROW: if !row(SQLiteRow(statement: statement)) { return }
            case SQLITE_DONE: return
            default: throw error(code, doing: doing)
            }
        }
    }

    /// All or nothing; when the commit itself fails, the transaction is rolled back.
    func transaction<Result>(doing: String, _ body: () throws(OutboxError) -> Result) throws(OutboxError) -> Result {
        try execute("BEGIN IMMEDIATE", doing: doing)
        do throws(OutboxError) {
            let result = try body()
            try execute("COMMIT", doing: doing)
            return result
        } catch {
            // After SQLITE_FULL or IOERR the library may have rolled back already; then this says so and does nothing.
            if let handle, sqlite3_get_autocommit(handle) == 0 { sqlite3_exec(handle, "ROLLBACK", nil, nil, nil) }
            throw error
        }
    }

    private func prepared(_ sql: String, doing: String) throws(OutboxError) -> OpaquePointer {
        if let statement = statements[sql] { return statement }
        var made: OpaquePointer?
        let code = sqlite3_prepare_v3(try open(doing: doing), sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &made, nil)
        guard code == SQLITE_OK, let made else { throw error(code, doing: doing) }
        statements[sql] = made
        return made
    }

    private func error(_ code: Int32, doing: String) -> OutboxError {
        // The message of the library names tables and columns, never bound values.
        OutboxError(
            Self.problem(of: code), doing: doing, which: path, detail: String(cString: sqlite3_errmsg(handle)))
    }

    private static func problem(of code: Int32) -> OutboxError.Problem {
        switch code & 0xFF {
        case SQLITE_FULL: .full
        case SQLITE_BUSY, SQLITE_LOCKED: .busy
        // SQLite reports a full disk as FULL for data pages, but as IOERR where it sizes its shared memory.
        case SQLITE_IOERR where errno == EROFS: .readOnly
        case SQLITE_IOERR: errno == ENOSPC || errno == EDQUOT || code == SQLITE_IOERR_SHMSIZE_CODE ? .full : .diskFailed
        case SQLITE_CORRUPT, SQLITE_NOTADB: .damaged
        case SQLITE_READONLY: .readOnly
        case SQLITE_CANTOPEN, SQLITE_PERM, SQLITE_AUTH: errno == EROFS ? .readOnly : .cannotOpen
        case SQLITE_CONSTRAINT: .wrongRecords
        default: .diskFailed
        }
    }
}

/// SQLITE_IOERR | (19 << 8): the shared memory file could not be made larger.
private let SQLITE_IOERR_SHMSIZE_CODE: Int32 = 10 | (19 << 8)

/// A value for a parameter.
enum SQLiteValue {
    case integer(Int64)
    case text(String)
    case blob([UInt8])
    case null

    static func sequence(_ value: UInt64) -> SQLiteValue { .integer(Int64(clamping: value)) }
    static func count(_ value: Int) -> SQLiteValue { .integer(Int64(value)) }

    func bind(to statement: OpaquePointer, at index: Int32) -> Int32 {
        // SQLITE_TRANSIENT: the library copies before the call returns.
        let copy = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
        switch self {
        case .integer(let value): return sqlite3_bind_int64(statement, index, value)
        case .text(let value): return sqlite3_bind_text(statement, index, value, Int32(value.utf8.count), copy)
        case .blob(let value) where value.isEmpty: return sqlite3_bind_zeroblob(statement, index, 0)
        case .blob(let value): return sqlite3_bind_blob(statement, index, value, Int32(value.count), copy)
        case .null: return sqlite3_bind_null(statement, index)
        }
    }
}

/// One result row, valid inside the closure that is given it.
struct SQLiteRow {
    let statement: OpaquePointer

    func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(statement, column) }
    func int(_ column: Int32) -> Int { Int(sqlite3_column_int64(statement, column)) }
    func sequence(_ column: Int32) -> UInt64 { UInt64(bitPattern: sqlite3_column_int64(statement, column)) }
    func isNull(_ column: Int32) -> Bool { sqlite3_column_type(statement, column) == SQLITE_NULL }

    func text(_ column: Int32) -> String {
        sqlite3_column_text(statement, column).map { String(cString: $0) } ?? ""
    }

    func blob(_ column: Int32) -> [UInt8] {
        guard let start = sqlite3_column_blob(statement, column) else { return [] }
        let count = Int(sqlite3_column_bytes(statement, column))
        return Array(UnsafeRawBufferPointer(start: start, count: count))
    }
}
