import BlobStore
import FileUpload
import Foundation
import HubContract
import HubTestSupport
import NIOCore
import Primitives
import SQLiteHubStore
import Testing

@Suite struct FileUploadsTests {
    let fixture: HubFixture
    let blobs: Blobs
    let index: SQLiteBlobIndex
    let device: DeviceID

    init() async throws {
        fixture = try await HubFixture()
        index = SQLiteBlobIndex(fixture.database)
        let clock = fixture.clock
        blobs = try await Blobs(
            path: fixture.folder.file("files"), index: index, limits: Blobs.Limits(), names: { _ in [] },
            clock: { clock.now })
        for id in ["dev-1", "dev-2"] { try await fixture.makeDevice(id) }
        device = try HubFixture.id("dev-1")
    }

    private func uploads(_ change: (inout FileUploads.Limits) -> Void = { _ in }) async throws -> FileUploads {
        var limits = FileUploads.Limits()
        change(&limits)
        let access = SharedAccess(account: "a", container: "c", key: try await index.signingKey())
        let clock = fixture.clock
        return FileUploads(
            target: UploadTarget(host: nil, container: BlobEndpoint.container, access: access, blobs: blobs),
            store: SQLiteUploadStore(fixture.database), limits: limits, clock: { clock.now })
    }

    /// As if the device had put the file.
    private func place(_ name: BlobName, bytes: Int64 = 5) async throws {
        let now = fixture.clock.now
        let facts = BlobFacts(
            name: name, bytes: bytes, etag: "0x1", md5: nil, headers: [:], createdAt: now, modifiedAt: now)
        _ = try await index.put(StoredBlob(facts: facts, parts: []), if: BlobCondition())
    }

    private func code(_ body: () async throws(HubError) -> Void) async -> HubErrorCode? {
        do throws(HubError) { try await body() } catch { return error.code }
        return nil
    }

    @Test func anUploadIsBegunPutAndTold() async throws {
        let uploads = try await uploads()
        let ticket = try await uploads.start(device, path: "logs/a b.txt", host: "hub.example:8443")
        #expect(ticket.blob.text == "dev-1/logs/a b.txt" && ticket.host == "hub.example:8443")
        #expect(ticket.sasToken.hasPrefix("?sv=") && ticket.container == "device-files")
        try await place(ticket.blob, bytes: 17)
        try await uploads.end(device, UploadReport(correlation: ticket.correlation, isSuccess: true))
        let queued = try await uploads.notifications(most: 10)
        #expect(queued.count == 1)
        let notification = try #require(queued.first?.notification)
        #expect(notification.blobURI == "https://hub.example:8443/device-files/dev-1/logs/a%20b.txt")
        #expect(notification.bytes == 17 && notification.device == device)
        try await uploads.notificationsHandled(queued.map(\.sequence))
        #expect(try await uploads.notifications(most: 10).isEmpty)
    }

    @Test func aCorrelationIDIsGoodForOneReportOfItsDeviceInTime() async throws {
        let uploads = try await uploads()
        let first = try await uploads.start(device, path: "a", host: "h")
        let report = UploadReport(correlation: first.correlation, isSuccess: true)
        let other = try HubFixture.id("dev-2")
        var random = SystemRandomNumberGenerator()
        let unknown = UploadReport(correlation: .random(using: &random), isSuccess: true)
        #expect(
            await code { () throws(HubError) in try await uploads.end(device, unknown) }
                == .invalidFileUploadCorrelationID)
        #expect(
            await code { () throws(HubError) in try await uploads.end(other, report) }
                == .invalidFileUploadCorrelationID)
        #expect(
            await code { () throws(HubError) in try await uploads.end(device, report) } == .invalidStorageEndpointOrBlob
        )
        try await place(first.blob)
        #expect(await code { () throws(HubError) in try await uploads.end(device, report) } == nil)
        #expect(
            await code { () throws(HubError) in try await uploads.end(device, report) }
                == .invalidFileUploadCorrelationID)
        let second = try await uploads.start(device, path: "a", host: "h")
        fixture.clock.advance(by: .seconds(3600))
        let late = UploadReport(correlation: second.correlation, isSuccess: true)
        #expect(
            await code { () throws(HubError) in try await uploads.end(device, late) } == .expiredFileUploadCorrelationID
        )
    }

    @Test func aDeviceHasOnlySoManyUploadsUnderWayAndOthersTheirOwn() async throws {
        let uploads = try await uploads { $0.activeMax = 2 }
        let first = try await uploads.start(device, path: "1", host: "h")
        _ = try await uploads.start(device, path: "2", host: "h")
        let start = { (id: DeviceID) async in
            await code { () throws(HubError) in _ = try await uploads.start(id, path: "3", host: "h") }
        }
        #expect(await start(device) == .deviceMaximumActiveFileUploadLimitExceeded)
        #expect(await start(try HubFixture.id("dev-2")) == nil)
        try await uploads.end(device, UploadReport(correlation: first.correlation, isSuccess: false, status: 500))
        #expect(await start(device) == nil, "a failure ends an upload too")
        #expect(await start(device) == .deviceMaximumActiveFileUploadLimitExceeded)
        fixture.clock.advance(by: .seconds(3600))
        #expect(await start(device) == nil, "an expired one does not count")
        #expect(try await uploads.notifications(most: 10).isEmpty, "a failed upload is no news")
    }

    @Test func aRestartInBetweenChangesNothing() async throws {
        let ticket = try await uploads().start(device, path: "a", host: "h")
        try await place(ticket.blob)
        try await uploads().end(device, UploadReport(correlation: ticket.correlation, isSuccess: true))
        #expect(try await uploads().notifications(most: 10).count == 1)
    }

    @Test func aNameThatIsNoneIsRefused() async throws {
        let uploads = try await uploads()
        for path in ["", "../dev-2/a", "a//b", "a/", "/a", "a\u{7}", String(repeating: "x", count: 1019)] {
            let found = await code { () throws(HubError) in _ = try await uploads.start(device, path: path, host: "h") }
            #expect(found == .argumentInvalid, "\(path.prefix(20))")
        }
    }

    @Test func theOldestNotificationGoesForANewOne() async throws {
        let uploads = try await uploads { $0.notificationsMax = 2 }
        for path in ["1", "2", "3"] {
            let ticket = try await uploads.start(device, path: path, host: "h")
            try await place(ticket.blob)
            try await uploads.end(device, UploadReport(correlation: ticket.correlation, isSuccess: true))
        }
        #expect(try await uploads.notifications(most: 10).map(\.notification.blob.path) == ["2", "3"])
    }
}
