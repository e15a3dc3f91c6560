import BlobStore
import Control
import HubClock
import JSON
import Primitives
import SQLiteHubStore

/// Files that devices uploaded.
extension Verbs {
    static let filesMax = 10_000
    private static let linkTime = Duration.seconds(3600)

    /// Newest first; a device need not be registered any more.
    func listFiles(_ request: ControlRequest) async throws -> JSONValue {
        let owner = request.text("id") == nil ? nil : try deviceID(request).text
        let found = try await SQLiteBlobIndex(database).list(owner: owner, most: Self.filesMax)
        return .array(
            found.map { facts in
                [
                    "time": .string(facts.modifiedAt.description), "device": .string(facts.name.owner),
                    "bytes": .number(JSONNumber(facts.bytes)), "name": .string(facts.name.path),
                ]
            })
    }

    /// An address that any HTTP client can read the file at, for an hour.
    func makeFileLink(_ request: ControlRequest) async throws -> JSONValue {
        _ = try hub(request)
        let index = SQLiteBlobIndex(database)
        let name = try blobName(request)
        guard try await index.blob(name) != nil else { throw noFile(name) }
        let token = try await HubFiles.access(index).token(for: name, .read, until: SystemTime.wall() + Self.linkTime)
        let path = name.text.split(separator: "/").map { PercentEncoding.encode($0) }.joined(separator: "/")
        return .string("https://\(address.serviceHost)/\(BlobEndpoint.container)/\(path)\(token)")
    }

    func deleteFile(_ request: ControlRequest) async throws -> JSONValue {
        let name = try blobName(request)
        guard let blobs = try hub(request).blobs, try await blobs.remove(name) else { throw noFile(name) }
        return .string(name.path)
    }

    private func blobName(_ request: ControlRequest) throws(ControlError) -> BlobName {
        let id = try deviceID(request)
        let path = request.text("name") ?? ""
        guard let name = BlobName("\(id)/\(path)") else {
            throw ControlError("'\(path)' is no name of a file; take one of: cloud-hub device files \(id)", .wrongCall)
        }
        return name
    }

    private func noFile(_ name: BlobName) -> ControlError {
        ControlError(
            "the hub has no file '\(name.path)' of device \(name.owner); see: cloud-hub device files \(name.owner)")
    }
}
