import BlobStore
public import FileUpload
import GRDB
public import Primitives

/// File uploads and their notifications in `hub.sqlite`. Times are milliseconds since 1970.
public struct SQLiteUploadStore: UploadStore {
    static let migration = Migration(
        "file uploads",
        sql: """
            CREATE TABLE file_upload (
                correlation TEXT PRIMARY KEY NOT NULL,
                device TEXT NOT NULL REFERENCES device(id) ON DELETE CASCADE,
                blob TEXT NOT NULL,
                host TEXT NOT NULL,
                started INTEGER NOT NULL,
                expires INTEGER NOT NULL,
                ended INTEGER
            ) STRICT, WITHOUT ROWID;
            CREATE INDEX file_upload_of_device ON file_upload (device, started);
            CREATE INDEX file_upload_by_expiry ON file_upload (expires);
            CREATE TABLE file_notification (
                sequence INTEGER PRIMARY KEY AUTOINCREMENT,
                device TEXT NOT NULL,
                uri TEXT NOT NULL,
                blob TEXT NOT NULL,
                bytes INTEGER,
                updated INTEGER NOT NULL,
                enqueued INTEGER NOT NULL
            ) STRICT;
            """)

    /// Uploads of one device that are remembered, with those that are over.
    private static let rememberedMax = 200

    private let database: HubDatabase

    /// - Parameter database: opened with `HubSchema.hub`.
    public init(_ database: HubDatabase) { self.database = database }

    public func begin(_ upload: UploadRecord, activeMax: Int) async throws -> Bool {
        try await database.write { database in
            let active = try Int.fetchOne(
                database, sql: "SELECT count(*) FROM file_upload WHERE device = ? AND ended IS NULL AND expires > ?",
                arguments: [upload.device.text, upload.startedAt.milliseconds])
            guard active ?? 0 < activeMax else { return false }
            try database.execute(
                sql: """
                    DELETE FROM file_upload WHERE (ended IS NOT NULL OR expires <= ?) AND correlation IN (
                        SELECT correlation FROM file_upload WHERE device = ? ORDER BY started DESC LIMIT -1 OFFSET ?)
                    """, arguments: [upload.startedAt.milliseconds, upload.device.text, Self.rememberedMax])
            try database.execute(
                sql:
                    """
                    INSERT INTO file_upload (correlation, device, blob, host, started, expires)
                    VALUES (?, ?, ?, ?, ?, ?)
                    """,
                arguments: [
                    upload.correlation.description, upload.device.text, upload.blob.text, upload.host,
                    upload.startedAt.milliseconds, upload.expiresAt.milliseconds,
                ])
            return true
        }
    }

    public func upload(_ correlation: UniqueID) async throws -> UploadRecord? {
        try await withCheckedThrowingContinuation { continuation in
            database.read({ try Self.upload(correlation, in: $0) }, completion: { continuation.resume(with: $0) })
        }
    }

    public func end(
        _ correlation: UniqueID, at now: WallInstant, notification: FileNotification?, queueMax: Int
    ) async throws -> Int? {
        try await database.write { database in
            try database.execute(
                sql: "UPDATE file_upload SET ended = ? WHERE correlation = ? AND ended IS NULL",
                arguments: [now.milliseconds, correlation.description])
            guard database.changesCount == 1 else { return nil }
            guard let notification else { return 0 }
            try database.execute(
                sql:
                    """
                    INSERT INTO file_notification (device, uri, blob, bytes, updated, enqueued)
                    VALUES (?, ?, ?, ?, ?, ?)
                    """,
                arguments: [
                    notification.device.text, notification.blobURI, notification.blob.text, notification.bytes,
                    notification.updatedAt.milliseconds, notification.enqueuedAt.milliseconds,
                ])
            try database.execute(
                sql: """
                    DELETE FROM file_notification WHERE sequence IN (
                        SELECT sequence FROM file_notification ORDER BY sequence DESC LIMIT -1 OFFSET ?)
                    """, arguments: [queueMax])
            return database.changesCount
        }
    }

    public func notifications(most: Int) async throws -> [QueuedNotification] {
        try await withCheckedThrowingContinuation { continuation in
            database.read(
                { database in
                    try Row.fetchAll(
                        database, sql: "SELECT * FROM file_notification ORDER BY sequence LIMIT ?", arguments: [most]
                    ).compactMap(Self.notification)
                }, completion: { continuation.resume(with: $0) })
        }
    }

    public func removeNotifications(_ sequences: [Int64]) async throws {
        try await database.write { database in
            for sequence in sequences {
                try database.execute(sql: "DELETE FROM file_notification WHERE sequence = ?", arguments: [sequence])
            }
        }
    }

    public func removeOld(uploadsBefore: WallInstant, notificationsBefore: WallInstant) async throws {
        try await database.write { database in
            try database.execute(
                sql: "DELETE FROM file_upload WHERE expires < ?", arguments: [uploadsBefore.milliseconds])
            try database.execute(
                sql: "DELETE FROM file_notification WHERE enqueued < ?", arguments: [notificationsBefore.milliseconds])
        }
    }

    private static func upload(_ correlation: UniqueID, in database: Database) throws -> UploadRecord? {
        let row = try Row.fetchOne(
            database, sql: "SELECT * FROM file_upload WHERE correlation = ?", arguments: [correlation.description])
        guard let row, let device = DeviceID(row["device"] as String), let blob = BlobName(row["blob"] as String) else {
            return nil
        }
        return UploadRecord(
            correlation: correlation, device: device, blob: blob, host: row["host"],
            startedAt: WallInstant(milliseconds: row["started"]), expiresAt: WallInstant(milliseconds: row["expires"]),
            endedAt: (row["ended"] as Int64?).map { WallInstant(milliseconds: $0) })
    }

    private static func notification(_ row: Row) -> QueuedNotification? {
        guard let device = DeviceID(row["device"] as String), let blob = BlobName(row["blob"] as String) else {
            return nil
        }
        return QueuedNotification(
            sequence: row["sequence"],
            notification: FileNotification(
                device: device, blobURI: row["uri"], blob: blob, bytes: row["bytes"],
                updatedAt: WallInstant(milliseconds: row["updated"]),
                enqueuedAt: WallInstant(milliseconds: row["enqueued"])))
    }
}
