public import Primitives

/// One file on the disk: a whole blob, or one block of it.
public struct BlobPart: Sendable, Hashable {
    /// The block's id as the client chose it; empty for a blob that was written at once.
    public let block: String
    /// The file's name.
    public let file: UniqueID
    public let bytes: Int64

    public init(block: String, file: UniqueID, bytes: Int64) {
        self.block = block
        self.file = file
        self.bytes = bytes
    }
}

/// What is known of a blob without its bytes.
public struct BlobFacts: Sendable, Hashable {
    public var name: BlobName
    public var bytes: Int64
    /// Without quotes.
    public var etag: String
    public var md5: [UInt8]?
    /// Headers that are given back with the bytes, lower-case names: `content-type`, `x-ms-meta-…`.
    public var headers: [String: String]
    public var createdAt: WallInstant
    public var modifiedAt: WallInstant

    public init(
        name: BlobName, bytes: Int64, etag: String, md5: [UInt8]?, headers: [String: String], createdAt: WallInstant,
        modifiedAt: WallInstant
    ) {
        self.name = name
        self.bytes = bytes
        self.etag = etag
        self.md5 = md5
        self.headers = headers
        self.createdAt = createdAt
        self.modifiedAt = modifiedAt
    }
}

/// A blob and where its bytes are, in order.
public struct StoredBlob: Sendable, Hashable {
    public var facts: BlobFacts
    /// With a blob in the bucket they say where its blocks begin and end; no files belong to them.
    public var parts: [BlobPart]
    /// Whether the bytes are an object of the bucket, named as the blob, and not files of the folder.
    public var isInBucket: Bool

    public init(facts: BlobFacts, parts: [BlobPart], isInBucket: Bool = false) {
        self.facts = facts
        self.parts = parts
        self.isInBucket = isInBucket
    }
}

/// A block that a list chose.
public struct ChosenBlock: Sendable, Hashable {
    public let part: BlobPart
    /// Where it begins in the object of the bucket; `nil` for a file of the folder. Unit: bytes.
    public let offset: Int64?

    public init(_ part: BlobPart, offset: Int64?) {
        self.part = part
        self.offset = offset
    }
}

/// An upload in parts that the hub began at the store.
public struct OpenCarry: Sendable, Hashable {
    /// As the store calls it.
    public let upload: String
    public let blob: BlobName

    public init(upload: String, blob: BlobName) {
        self.upload = upload
        self.blob = blob
    }
}

/// Under which circumstances a write may replace what is there. Source: RFC 9110 section 13.1.
public struct BlobCondition: Sendable, Hashable {
    /// `*`, or an ETag without quotes that must be the blob's.
    public var ifMatch: String?
    /// `*`, or an ETag without quotes that must not be the blob's.
    public var ifNoneMatch: String?

    public init(ifMatch: String? = nil, ifNoneMatch: String? = nil) {
        self.ifMatch = ifMatch
        self.ifNoneMatch = ifNoneMatch
    }

    /// - Parameter etag: of the blob that is there; `nil` when there is none.
    public func problem(etag: String?) -> BlobError.Problem? {
        if let ifMatch, etag == nil || ifMatch != "*" && ifMatch != etag { return .conditionNotMet }
        guard let ifNoneMatch, let etag, ifNoneMatch == "*" || ifNoneMatch == etag else { return nil }
        return ifNoneMatch == "*" ? .blobAlreadyExists : .conditionNotMet
    }
}

/// One line of a block list.
public struct BlockChoice: Sendable, Hashable {
    public enum Place: String, Sendable, CaseIterable {
        case committed = "Committed", uncommitted = "Uncommitted", latest = "Latest"
    }

    public let place: Place
    public let block: String

    public init(_ place: Place, _ block: String) {
        self.place = place
        self.block = block
    }
}

/// How a change of the index ended.
public enum BlobChange: Sendable {
    /// It is on the disk. `freed` is what nothing points to any more; all of it are files of the folder.
    case done(freed: [BlobPart])
    /// Nothing was changed.
    case refused(BlobError.Problem)
}

/// The durable list of blobs and staged blocks; what it points to counts, any other file is rubbish.
///
/// Every change is one transaction, on the disk when it returns.
public protocol BlobIndex: Sendable {
    /// The key that the hub's own endpoint signs with: 32 bytes, made at the first call.
    func signingKey() async throws -> Secret
    /// Every file of the folder that the index points to.
    func parts() async throws -> [BlobPart]
    /// Drops all blobs and blocks that need one of these files; returns what else they had.
    func forget(missing: [UniqueID]) async throws -> [BlobPart]

    func blob(_ name: BlobName) async throws -> StoredBlob?
    /// Newest first. `owner` `nil`: of all devices.
    func list(owner: String?, most: Int) async throws -> [BlobFacts]
    /// Puts a whole blob, and drops its staged blocks.
    func put(_ blob: StoredBlob, if condition: BlobCondition) async throws -> BlobChange
    /// Adds a block that waits for its list; one of the same id is replaced.
    func stage(_ part: BlobPart, of blob: BlobName, at now: WallInstant) async throws -> BlobChange
    /// Blocks in their order, and those that wait.
    func blocks(of blob: BlobName) async throws -> (committed: [BlobPart], staged: [BlobPart])
    /// What a list chooses; `nil` when it names a block that is not there, or one twice.
    func choose(_ list: [BlockChoice], of blob: BlobName) async throws -> [ChosenBlock]?
    /// Makes a blob of blocks; `facts.bytes` and `createdAt` are set by the index. Blocks that are not chosen go.
    ///
    /// - Parameters:
    ///   - bytesMax: of all blocks together.
    ///   - carried: what was taken to the bucket; refused with `.serverBusy` when the list chooses something else by
    ///     now. `nil`: the blob stays in the folder.
    func commit(
        _ facts: BlobFacts, of list: [BlockChoice], if condition: BlobCondition, bytesMax: Int64,
        carried: [ChosenBlock]?
    ) async throws -> BlobChange
    /// `nil` when there is no such blob.
    func remove(_ name: BlobName) async throws -> [BlobPart]?
    func removeStaged(of name: BlobName) async throws -> [BlobPart]
    /// Blobs of the folder last written, and blocks staged, before these times; at most `most` files.
    func removeOld(blobsBefore: WallInstant, stagedBefore: WallInstant, most: Int) async throws -> [BlobPart]
    /// Blobs of the bucket last written before this time, oldest first.
    func oldInBucket(before: WallInstant, most: Int) async throws -> [BlobName]

    /// Remembers an upload in parts, so that it can be dropped after a crash.
    func begin(_ carry: OpenCarry) async throws
    func end(_ carry: OpenCarry) async throws
    /// Those that were begun and not ended.
    func openCarries() async throws -> [OpenCarry]
}
