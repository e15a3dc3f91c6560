import GRDB
import HubTestSupport
import SQLiteHubStore
import Testing

@Suite struct HubSchemaTests {
    @Test func aliasesOfAnOlderHubCountAsTheNewestOfTheirFault() async throws {
        let folder = try TemporaryFolder()
        let path = folder.file("hub.sqlite")
        let older = try HubDatabase(path: path, schema: Array(HubSchema.hub.prefix(5)))
        try await older.write { database in
            try database.execute(
                sql: """
                    INSERT INTO "fault" ("id", "device", "rule", "origin", "phase", "severity", "message", "repeats", "clock",
                        "storedAt") VALUES ('f', 'd', 'r', 'edge', 'open', 'info', '', 3000, 'synchronised', 0);
                    INSERT INTO "faultAlias" VALUES ('a', 'f'), ('orphan', 'gone');
                    """)
        }
        try older.close()
        let hub = try HubDatabase(path: path, schema: HubSchema.hub)
        let numbers = try hub.read { database in
            try Int.fetchAll(database, sql: "SELECT \"number\" FROM \"faultAlias\" ORDER BY \"id\"")
        }
        #expect(numbers == [3000, 0])
        try hub.close()
    }
}
