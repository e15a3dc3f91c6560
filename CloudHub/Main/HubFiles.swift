import AsyncHTTPClient
import BlobStore
import Certificates
import FileUpload
import HubClock
import HubConfig
import HubContract
import Logging
import NIOCore
import NIOSSL
import Primitives
import Registry
import S3Store
import SQLiteHubStore

extension HubConfig.Files {
    /// Where whole files are, in words; empty for the data directory.
    var elsewhere: String {
        if let s3 { return "the bucket \(s3.bucket) of \(s3.endpoint)" }
        return azure.map { "the container \($0.container) of the storage account \($0.account)" } ?? ""
    }
}

/// Makes what file upload needs, from the configuration.
struct HubFiles: Sendable {
    let uploads: FileUploads
    /// The hub's own endpoint; `nil` with a store elsewhere.
    let endpoint: BlobEndpoint?
    /// Of the store behind the endpoint.
    private let client: HTTPClient?

    static func make(
        _ settings: ServeSettings, stores: HubStores, group: any EventLoopGroup
    ) async throws -> HubFiles {
        let config = settings.config.files
        var limits = FileUploads.Limits()
        limits.lifetime = config.lifetime
        limits.activeMax = config.uploadsMax
        let store = SQLiteUploadStore(stores.database)
        if let azure = config.azure {
            let access = SharedAccess(
                account: azure.account, container: azure.container, key: try key(settings, azure.keyFile))
            let client = try httpClient(S3Bucket.httpConfiguration, azure.caFile, "files.azure.ca_file", group)
            let account = AzureAccount(
                host: azure.host, container: azure.container, access: access, http: client, clock: SystemTime.wall)
            let target = UploadTarget(
                host: azure.host, container: azure.container, access: access, blobs: nil, azure: account)
            let uploads = FileUploads(target: target, store: store, limits: limits, clock: SystemTime.wall)
            return HubFiles(uploads: uploads, endpoint: nil, client: client)
        }
        let index = SQLiteBlobIndex(stores.database)
        let bucket = try config.s3.map { try makeBucket(settings, $0, group) }
        let blobs = try await Blobs(
            path: settings.directory.files, index: index, limits: blobLimits(config), names: FolderSafety.names,
            store: bucket?.bucket, clock: SystemTime.wall)
        let access = try await access(index)
        let registry = stores.registry
        let endpoint = BlobEndpoint(blobs, access: access) { blob in
            DeviceID(blob.owner).flatMap { registry.device($0) }?.status == .enabled
        }
        let target = UploadTarget(host: nil, container: BlobEndpoint.container, access: access, blobs: blobs)
        let uploads = FileUploads(target: target, store: store, limits: limits, clock: SystemTime.wall)
        return HubFiles(uploads: uploads, endpoint: endpoint, client: bucket?.client)
    }

    func close() async { try? await client?.shutdown() }

    /// What is wrong with a store behind the hub; `nil` without one.
    var trouble: (@Sendable () -> String)? {
        if let azure = uploads.target.azure { return { azure.trouble } }
        guard client != nil, let blobs = uploads.target.blobs else { return nil }
        return { blobs.storeTrouble }
    }

    private static func httpClient(
        _ base: HTTPClient.Configuration, _ caFile: String?, _ key: String, _ group: any EventLoopGroup
    ) throws -> HTTPClient {
        var configuration = base
        if let caFile {
            var tls = TLSConfiguration.makeClientConfiguration()
            do {
                tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(caFile))
            } catch {
                throw CommandFailure.failed(
                    "the file \(caFile) (\(key)) holds no certificates that can be read; check its path, its "
                        + "permissions, and that it is PEM text")
            }
            configuration.tlsConfiguration = tls
        }
        return HTTPClient(eventLoopGroupProvider: .shared(group.any()), configuration: configuration)
    }

    /// A bucket, and the client that it is reached by.
    private static func makeBucket(
        _ settings: ServeSettings, _ config: HubConfig.S3Container, _ group: any EventLoopGroup
    ) throws -> (bucket: S3Bucket, client: HTTPClient) {
        let lines = try settings.secretLines(in: config.keyFile, key: "files.s3.key_file")
        guard lines.count >= 2, let id = String(validating: lines[0].bytes, as: UTF8.self), !id.isEmpty,
            !lines[1].bytes.isEmpty
        else {
            throw CommandFailure.failed(
                "the file \(config.keyFile) (files.s3.key_file) does not hold two lines; put the access key into the "
                    + "first and the secret into the second")
        }
        let location = S3Location(
            endpoint: config.endpoint, region: config.region, bucket: config.bucket, prefix: config.prefix,
            addressing: config.isVirtualHost ? .virtualHost : .path)
        let client = try httpClient(S3Bucket.httpConfiguration, config.caFile, "files.s3.ca_file", group)
        let key = S3Key(id: id, secret: lines[1])
        return (S3Bucket(location, key: key, http: client, clock: SystemTime.wall), client)
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
        // What is on its way to a store when its signature ends may arrive.
        limits.stagedAge = config.s3 == nil ? config.lifetime : config.lifetime * 2
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
