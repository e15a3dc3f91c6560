extension HubSchema {
    /// Devices with their modules, a JSON document each (format in `DeviceDocument`), and the shared access policies.
    static let registryMigration = Migration(
        "registry",
        sql: """
            CREATE TABLE device (
                id TEXT PRIMARY KEY NOT NULL,
                document TEXT NOT NULL
            ) STRICT, WITHOUT ROWID;
            CREATE TABLE policy (
                name TEXT PRIMARY KEY NOT NULL,
                place INTEGER NOT NULL,
                rights TEXT NOT NULL,
                primaryKey BLOB NOT NULL,
                secondaryKey BLOB NOT NULL
            ) STRICT, WITHOUT ROWID;
            """)
}
