public import Outbox

extension OutboxInspection {
    /// What was kept last under a key, also while an agent runs on the file; `nil` when there is nothing.
    ///
    /// - Throws: `.cannotOpen`, `.damaged`, `.busy`.
    public static func kept(_ key: String, path: String) throws(OutboxError) -> [UInt8]? {
        let connection = try SQLiteConnection(path: path, mode: .readOnly)
        return try OutboxTables.kept(key, connection)
    }
}
