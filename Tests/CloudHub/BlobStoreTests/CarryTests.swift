import Foundation
import HubTestSupport
import NIOCore
import Primitives
import SQLiteHubStore
import Synchronization
import Testing

@testable import BlobStore

/// What a store behind the hub needs of the hub; that files arrive there is proved against a real one, in
/// Tests/Compatibility/test_file_upload_s3.py.
struct CarryTests {
    @Test(
        "parts are few enough and large enough, whatever a file's size",
        arguments: [0, 16 << 20, 17 << 20, 1 << 30, 160 << 30, 1 << 40] as [Int64])
    func partSizes(total: Int64) {
        let size = BlobBucket.partBytes(of: total)
        #expect(size >= 16 << 20 && size % (1 << 20) == 0 && size <= 5 << 30)
        #expect((total + size - 1) / size <= 10_000)
    }

    @Test("who waits is told how it ended, before the end and after it")
    func waiting() async throws {
        let carry = Carry(.body(md5: nil, bytes: 0, headers: [:]))
        let early = Task { try await carry.wait(most: .seconds(60)) }
        carry.end(nil)
        try await early.value
        try await carry.wait(most: .seconds(60))
        let failed = Carry(.body(md5: nil, bytes: 0, headers: [:]))
        failed.end(BlobError(.serverBusy, "no"))
        let error = await #expect(throws: BlobError.self) { try await failed.wait(most: .seconds(60)) }
        #expect(error?.problem == .serverBusy)
    }

    @Test("who waits too long is answered so that its client asks again")
    func waitingTooLong() async {
        let carry = Carry(.body(md5: nil, bytes: 0, headers: [:]))
        let error = await #expect(throws: BlobError.self) { try await carry.wait(most: .milliseconds(1)) }
        #expect(error?.problem == .operationTimedOut && error?.isRetryable == true)
    }

    // MARK: - Bytes in pieces

    private func pieces(_ fixture: HubFixture) async throws -> BlobBytes {
        let folder = try BlobFolder(path: fixture.folder.file("files"))
        var pieces: [BlobBytes.Piece] = []
        var random = SystemRandomNumberGenerator()
        for text in ["abc", "", "defgh", "i"] {
            let file = UniqueID.random(using: &random)
            let descriptor = try await folder.create(file)
            try await folder.write(ByteBuffer(string: text), to: descriptor)
            try await folder.finish(descriptor)
            pieces.append(.file(file, 0..<Int64(text.utf8.count)))
        }
        return BlobBytes(pieces: pieces, folder: folder) { _ in throw BlobError(.internalError, "no store") }
    }

    private func text(_ bytes: BlobBytes) async throws -> String {
        var all = ByteBuffer()
        for try await chunk in bytes { all.writeImmutableBuffer(chunk) }
        return String(buffer: all)
    }

    @Test("every range of a blob in pieces is what it is of the whole, as often as it is read")
    func ranges() async throws {
        let fixture = try await HubFixture()
        let bytes = try await pieces(fixture)
        let whole = "abcdefghi"
        for first in 0...9 {
            for last in first...9 {
                let wanted = String(whole.dropFirst(first).prefix(last - first))
                let part = bytes[Int64(first)..<Int64(last)]
                #expect(part.bytes == Int64(last - first))
                for _ in 0..<2 { #expect(try await text(part) == wanted) }
            }
        }
        #expect(try await text(bytes[2..<8][1..<4]) == "def")
    }

    @Test("a file that is shorter than its entry is an error and no shorter blob")
    func shortFile() async throws {
        let fixture = try await HubFixture()
        var bytes = try await pieces(fixture)
        guard case .file(let file, _) = bytes.pieces[0] else { return }
        bytes = BlobBytes(pieces: [.file(file, 0..<4)], folder: bytes.folder, object: bytes.object)
        await #expect(throws: BlobError.self) { try await text(bytes) }
    }

    // MARK: - The list

    private func facts(_ name: BlobName, at now: WallInstant) -> BlobFacts {
        BlobFacts(name: name, bytes: 3, etag: "0x1", md5: nil, headers: [:], createdAt: now, modifiedAt: now)
    }

    @Test("a blob in the bucket has no files: none is missed, freed or swept")
    func inBucket() async throws {
        let fixture = try await HubFixture()
        let index = SQLiteBlobIndex(fixture.database)
        let name = try #require(BlobName("d/a"))
        let now = fixture.clock.now
        var random = SystemRandomNumberGenerator()
        let part = { (block: String) in BlobPart(block: block, file: UniqueID.random(using: &random), bytes: 3) }
        let object = StoredBlob(facts: facts(name, at: now), parts: [part("old")], isInBucket: true)
        _ = try await index.put(object, if: BlobCondition())
        let staged = part("new")
        _ = try await index.stage(staged, of: name, at: now)
        #expect(try await index.parts() == [staged])
        #expect(try await index.blob(name)?.isInBucket == true)
        let list = [BlockChoice(.committed, "old"), BlockChoice(.latest, "new")]
        let chosen = try #require(try await index.choose(list, of: name))
        #expect(chosen.map(\.offset) == [0, nil])
        let day = Duration.seconds(86_400)
        #expect(try await index.oldInBucket(before: now, most: 9) == [])
        #expect(try await index.oldInBucket(before: now + day, most: 9) == [name])
        let swept = try await index.removeOld(blobsBefore: now + day, stagedBefore: now + .zero, most: 9)
        #expect(swept.isEmpty)
        // Without the store nobody can join what is there with what is here.
        let refused = try await index.commit(
            facts(name, at: now), of: list, if: BlobCondition(), bytesMax: 100, carried: nil)
        guard case .refused(.invalidBlockList) = refused else { return #expect(Bool(false), "\(refused)") }
        // What was carried is not what the list chooses by now.
        let late = try await index.commit(
            facts(name, at: now), of: list, if: BlobCondition(), bytesMax: 100, carried: [chosen[0]])
        guard case .refused(.serverBusy) = late else { return #expect(Bool(false), "\(late)") }
        let done = try await index.commit(
            facts(name, at: now), of: list, if: BlobCondition(), bytesMax: 100, carried: chosen)
        guard case .done(let freed) = done else { return #expect(Bool(false), "\(done)") }
        #expect(freed == [staged])
        #expect(try await index.parts() == [])
        #expect(try await index.blob(name)?.parts.map(\.block) == ["old", "new"])
        #expect(try await index.remove(name) == [])
    }

    @Test("a carry that was begun is remembered until it ends")
    func openCarries() async throws {
        let fixture = try await HubFixture()
        let index = SQLiteBlobIndex(fixture.database)
        let carry = OpenCarry(upload: "u+/=1", blob: try #require(BlobName("d/a")))
        try await index.begin(carry)
        #expect(try await index.openCarries() == [carry])
        try await index.end(carry)
        #expect(try await index.openCarries() == [])
    }

    @Test("while files are kept, what is removed stays on the disk and counts; then it goes")
    func keepingFiles() async throws {
        let fixture = try await HubFixture()
        let index = SQLiteBlobIndex(fixture.database)
        let clock = fixture.clock
        let path = fixture.folder.file("files")
        let onDisk = { (try? FileManager.default.contentsOfDirectory(atPath: path).count) ?? -1 }
        let blobs = try await Blobs(
            path: path, index: index, limits: Blobs.Limits(), names: { _ in [] }, clock: { clock.now })
        let name = try #require(BlobName("d/a"))
        let body = AsyncStream<ByteBuffer> { continuation in
            continuation.yield(ByteBuffer(string: "abc"))
            continuation.finish()
        }
        let blob = facts(name, at: clock.now)
        try await blobs.receive(body, BodyClaim(bytes: 3), for: "d") { received in
            ((), try await blobs.put(StoredBlob(facts: blob, parts: [received.part()]), if: BlobCondition()))
        }
        let used = blobs.bytesUsed
        try await blobs.keepingFiles {
            let isRemoved = try await blobs.keepingFiles { try await blobs.remove(name) }
            #expect(isRemoved)
            #expect(onDisk() == 1 && blobs.bytesUsed == used)
        }
        #expect(onDisk() == 0 && blobs.bytesUsed == 0)
    }
}
