extension HubSchema {
    /// Devices, modules and the numbers that name gateway scopes.
    static let registryMigration = Migration(
        "registry",
        sql: """
            CREATE TABLE device (
                id TEXT PRIMARY KEY NOT NULL,
                document TEXT NOT NULL
            ) STRICT, WITHOUT ROWID;
            CREATE TABLE module (
                device TEXT NOT NULL REFERENCES device(id) ON DELETE CASCADE,
                id TEXT NOT NULL,
                document TEXT NOT NULL,
                PRIMARY KEY (device, id)
            ) STRICT, WITHOUT ROWID;
            """)
}
