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
    public var parts: [BlobPart]

    public init(facts: BlobFacts, parts: [BlobPart]) {
        self.facts = facts
        self.parts = parts
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
    /// It is on the disk. `freed` is what nothing points to any more.
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
    /// Every file that the index points to.
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
    /// Makes a blob of blocks; `facts.bytes` and `createdAt` are set by the index. Blocks that are not chosen go.
    ///
    /// - Parameter bytesMax: of all blocks together.
    func commit(
        _ facts: BlobFacts, of list: [BlockChoice], if condition: BlobCondition, bytesMax: Int64
    ) async throws -> BlobChange
    /// `nil` when there is no such blob.
    func remove(_ name: BlobName) async throws -> [BlobPart]?
    func removeStaged(of name: BlobName) async throws -> [BlobPart]
    /// Blobs last written, and blocks staged, before these times; at most `most` files.
    func removeOld(blobsBefore: WallInstant, stagedBefore: WallInstant, most: Int) async throws -> [BlobPart]
}
