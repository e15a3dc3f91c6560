@testable import BlobStore
import Primitives
import Testing

@Suite struct SharedAccessTests {
    static let blob = BlobName("dev-1/a b/ü.log")
    static let expiry = WallInstant(milliseconds: 1_795_255_200_000)  // 2026-11-21T10:00:00Z

    static func access(key: String = "foobarfoobarfoobarfoobarfoobar01") -> SharedAccess {
        SharedAccess(account: "contoso", container: "device-files", key: Secret(Array(key.utf8)))
    }

    static func fields(_ token: String) -> [String: String] {
        var fields: [String: String] = [:]
        for pair in token.dropFirst().split(separator: "&") {
            let halves = pair.split(separator: "=", maxSplits: 1)
            fields[String(halves[0])] = PercentEncoding.decode(halves[1])
        }
        return fields
    }

    /// Made with `generate_blob_sas` of azure-storage-blob 12.31.1 for the same account, key, blob, version and times.
    @Test func theSignatureIsTheOneOfTheAzureClient() throws {
        let token = Self.access().token(for: try #require(Self.blob), [.read, .write], until: Self.expiry)
        let fields = Self.fields(token)
        #expect(fields["sig"] == "xd37nSJ+CjCXp7L7WzZCel/M9z3+IL7DUr1z/rmlrDo=")
        #expect(fields["se"] == "2026-11-21T10:00:00Z" && fields["sp"] == "rw" && fields["sr"] == "b")
        #expect(token.hasPrefix("?"))
    }

    struct Row: CustomTestStringConvertible, Sendable {
        let testDescription: String
        var blob = "dev-1/a b/ü.log"
        var key = "foobarfoobarfoobarfoobarfoobar01"
        var changes: [String: String] = [:]
        var without: String?
        var late = Duration.seconds(-1)
        let problem: BlobError.Problem?
    }

    static let rows = [
        Row(testDescription: "unchanged and in time", problem: nil),
        Row(testDescription: "at the very end", late: .zero, problem: .authenticationFailed),
        Row(testDescription: "another blob's", blob: "dev-1/a b/u.log", problem: .authenticationFailed),
        Row(testDescription: "another device's", blob: "dev-2/a b/ü.log", problem: .authenticationFailed),
        Row(testDescription: "by another key", key: "x", problem: .authenticationFailed),
        Row(
            testDescription: "longer than signed", changes: ["se": "2027-11-21T10:00:00Z"],
            problem: .authenticationFailed),
        Row(testDescription: "more than signed", changes: ["sp": "rwd"], problem: .authenticationFailed),
        Row(testDescription: "for a container", changes: ["sr": "c"], problem: .authenticationFailed),
        Row(testDescription: "with a start", changes: ["st": "2026-11-21T08:00:00Z"], problem: .authenticationFailed),
        Row(testDescription: "no base64", changes: ["sig": "%%%"], problem: .authenticationFailed),
        Row(testDescription: "empty", changes: ["sig": ""], problem: .authenticationFailed),
        Row(
            testDescription: "without a signature", without: "sig", problem: .noAuthenticationInformation),
    ]

    @Test(arguments: rows) func aSignatureIsGoodForWhatItWasMadeForAndNothingElse(_ row: Row) throws {
        var fields = Self.fields(Self.access().token(for: try #require(Self.blob), .write, until: Self.expiry))
        for (name, value) in row.changes { fields[name] = value }
        if let name = row.without { fields[name] = nil }
        let given = fields
        let blob = try #require(BlobName(row.blob))
        do throws(BlobError) {
            let granted = try Self.access(key: row.key).permissions(
                { given[$0] }, for: blob, now: Self.expiry + row.late)
            #expect(row.problem == nil && granted == .write)
        } catch {
            #expect(error.problem == row.problem)
        }
    }
}

@Suite struct BlobPartsTests {
    @Test(arguments: [
        ("dev-1/log.txt", true), ("dev-1/a/b/c", true), ("ü", true), (String(repeating: "x", count: 1024), true),
        ("", false), (String(repeating: "x", count: 1025), false), ("dev-1/../other/x", false), ("dev-1/./x", false),
        ("dev-1//x", false), ("/x", false), ("x/", false), ("a\\b", false), ("a\u{0}b", false), ("a\nb", false),
        ("..", false), (String(repeating: "x/", count: 254) + "x", false),
    ]) func namesThatClientsOrSystemsWouldChangeAreNone(_ text: String, _ isName: Bool) {
        #expect((BlobName(text) != nil) == isName)
    }

    @Test func aNameIsItsOwnersAndAPath() {
        #expect(BlobName("dev-1/a/b")?.owner == "dev-1" && BlobName("dev-1/a/b")?.path == "a/b")
    }

    /// The check value of CRC-64/NVME.
    @Test func theChecksumIsCRC64NVME() {
        var crc = CRC64()
        crc.update(Array("1234".utf8))
        crc.update(Array("56789".utf8))
        #expect(crc.value == 0xAE8B_1486_0A79_9888)
    }

    @Test func aBlockListIsReadInItsOrder() throws {
        let text =
            "<?xml version='1.0' encoding='utf-8'?>\n<BlockList><Latest>QQ==</Latest>\n<Committed>Qg==</Committed>"
            + "<Uncommitted>Qw==</Uncommitted></BlockList>"
        let list = try BlockListReader.read(text, most: 3)
        #expect(
            list == [BlockChoice(.latest, "QQ=="), BlockChoice(.committed, "Qg=="), BlockChoice(.uncommitted, "Qw==")])
        #expect(try BlockListReader.read("<BlockList />", most: 3).isEmpty)
    }

    @Test(arguments: [
        "", "<BlockList>", "<BlockList><Latest>QQ==</BlockList>", "<BlockList><Last>QQ==</Last></BlockList>",
        "<BlockList></BlockList>more", "<BlockList><Latest>QQ==</Committed></BlockList>",
        "<!DOCTYPE x><BlockList></BlockList>", "<?xml", "<BlockList><Latest>", "<BlockList></BlockList",
    ]) func anythingElseIsRefused(_ text: String) {
        #expect(throws: BlobError.self) { try BlockListReader.read(text, most: 10) }
    }

    @Test func aListBeyondTheLimitIsRefused() {
        let text = "<BlockList>" + String(repeating: "<Latest>QQ==</Latest>", count: 4) + "</BlockList>"
        #expect(throws: BlobError.self) { try BlockListReader.read(text, most: 3) }
    }
}
