import BlobStore
import Certificates
import FileUpload
import HubClock
import HubConfig
import HubContract
import Logging
import Primitives
import Registry
import SQLiteHubStore

/// Makes what file upload needs, from the configuration.
struct HubFiles: Sendable {
    let uploads: FileUploads
    /// The hub's own endpoint; `nil` with a store elsewhere.
    let endpoint: BlobEndpoint?

    static func make(_ settings: ServeSettings, stores: HubStores) async throws -> HubFiles {
        let config = settings.config.files
        var limits = FileUploads.Limits()
        limits.lifetime = config.lifetime
        limits.activeMax = config.uploadsMax
        let store = SQLiteUploadStore(stores.database)
        if let azure = config.azure {
            let access = SharedAccess(
                account: azure.account, container: azure.container, key: try key(settings, azure.keyFile))
            let target = UploadTarget(host: azure.host, container: azure.container, access: access, blobs: nil)
            let uploads = FileUploads(target: target, store: store, limits: limits, clock: SystemTime.wall)
            return HubFiles(uploads: uploads, endpoint: nil)
        }
        let index = SQLiteBlobIndex(stores.database)
        let blobs = try await Blobs(
            path: settings.directory.files, index: index, limits: blobLimits(config), names: FolderSafety.names,
            clock: SystemTime.wall)
        let access = try await access(index)
        let registry = stores.registry
        let endpoint = BlobEndpoint(blobs, access: access) { blob in
            DeviceID(blob.owner).flatMap { registry.device($0) }?.status == .enabled
        }
        let target = UploadTarget(host: nil, container: BlobEndpoint.container, access: access, blobs: blobs)
        let uploads = FileUploads(target: target, store: store, limits: limits, clock: SystemTime.wall)
        return HubFiles(uploads: uploads, endpoint: endpoint)
    }

    /// The signatures of the hub's own endpoint.
    static func access(_ index: SQLiteBlobIndex) async throws -> SharedAccess {
        SharedAccess(
            account: BlobEndpoint.account, container: BlobEndpoint.container, key: try await index.signingKey())
    }

    private static func blobLimits(_ config: HubConfig.Files) -> Blobs.Limits {
        var limits = Blobs.Limits()
        limits.quota = Int64(config.quota.bytes)
        limits.blobBytesMax = Int64(config.fileBytesMax.bytes)
        limits.retentionAge = config.retentionAge
        limits.stagedAge = config.lifetime
        limits.writeTimeMax = config.lifetime
        return limits
    }

    private static func key(_ settings: ServeSettings, _ path: String) throws(CommandFailure) -> Secret {
        let line = try settings.secret(in: path, key: "files.azure.key_file")
        guard let key = Base64.decode(String(decoding: line.bytes, as: UTF8.self)), !key.isEmpty else {
            throw .failed("the file \(path) holds no storage account key; put the base64 text of the portal in it")
        }
        return Secret(key)
    }
}
