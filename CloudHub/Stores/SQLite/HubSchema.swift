/// The ordered lists of schema steps, one list a database file. A room adds its step at the end of the list of the file
/// that its tables live in; a released step is never changed, moved or taken out.
public enum HubSchema {
    /// Steps of `hub.sqlite`.
    public static let hub: [Migration] = [
        registryMigration,
        devicesMigration,
        SQLiteFaultStore.migration,
        SQLiteConnectorStore.migration,
        deliveriesMigration,
        SQLiteFaultStore.aliasMigration,
        queueMigration,
        authorityMigration,
        SQLiteBlobIndex.migration,
        SQLiteUploadStore.migration,
        SQLiteFaultStore.deviceMigration,
        SQLiteBlobIndex.bucketMigration,
        ruleSetMigration,
    ]
}
