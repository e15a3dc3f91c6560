public import Logging
public import Primitives
public import S3Store
import Synchronization

/// The blobs of the hub: files in a folder with a quota, and the index that says what they are.
///
/// A blob is there when the index says so: bytes are on the disk before the index is, and the index before the answer.
/// Files that the index does not know are removed at the next start.
public final class Blobs: Sendable {
    public struct Limits: Sendable, Hashable {
        /// Disk that all files may take together. Unit: bytes; a file counts in steps of 4096.
        public var quota: Int64 = 10_000_000_000
        /// Bytes of one blob.
        public var blobBytesMax: Int64 = 1 << 30
        /// Blobs that were last written longer ago are removed.
        public var retentionAge = Duration.seconds(30 * 86_400)
        /// Blocks that were staged longer ago are removed: the lifetime of a signature.
        public var stagedAge = Duration.seconds(3600)
        /// Bodies that are received at a time, in all and for one device: a slow one must not keep the others out.
        public var writesMax = 256
        public var deviceWritesMax = 16
        /// How long one body may take.
        public var writeTimeMax = Duration.seconds(3600)

        public init() {}
    }

    /// Blocks of one blob.
    public static let blocksMax = 10_000
    private static let unit: Int64 = 4096

    private struct State {
        /// Files and reservations.
        var used: Int64 = 0
        var writes = 0
        /// By device; only those above zero.
        var writesOf: [String: Int] = [:]
        /// Who wants no file to go, and what has to go after that.
        var keepers = 0
        var kept: [BlobPart] = []
    }

    let folder: BlobFolder
    let index: any BlobIndex
    /// Where whole blobs go; `nil`: they stay in the folder.
    let bucket: BlobBucket?
    public let limits: Limits
    let clock: @Sendable () -> WallInstant
    let logger: Logger
    private let state: Mutex<State>

    /// Opens the folder, and makes folder and index agree: after a crash there are files that nothing points to, after
    /// a restored backup entries without a file.
    ///
    /// - Parameters:
    ///   - names: what is in a folder.
    ///   - store: where whole blobs go; the folder has only what is not whole yet.
    /// - Throws: `BlobFolderError`, or the index's error.
    public init(
        path: String, index: any BlobIndex, limits: Limits, names: @Sendable (String) -> [String],
        store: S3Bucket? = nil, clock: @escaping @Sendable () -> WallInstant, logger: Logger = Logger(label: "files")
    ) async throws {
        folder = try BlobFolder(path: path)
        self.index = index
        bucket = store.map { BlobBucket($0, index: index, logger: logger) }
        self.limits = limits
        self.clock = clock
        self.logger = logger
        var parts = Dictionary(uniqueKeysWithValues: try await index.parts().map { ($0.file, $0) })
        let found = Set(names(path).compactMap { UniqueID($0) })
        let missing = parts.keys.filter { !found.contains($0) }
        if !missing.isEmpty {
            let gone = try await index.forget(missing: missing)
            for part in gone { parts[part.file] = nil }
            for file in missing { parts[file] = nil }
            logger.warning(
                "files of uploads are missing; they are taken off the list", metadata: ["files": "\(missing.count)"])
        }
        await folder.remove(found.filter { parts[$0] == nil })
        state = Mutex(State(used: parts.values.reduce(0) { $0 + Self.cost($1.bytes) }))
    }

    /// Disk that files take, with those that are being received. Unit: bytes.
    public var bytesUsed: Int64 { state.withLock { $0.used } }

    /// Whether another file of this many bytes finds room.
    public func hasRoom(for bytes: Int64 = 0) -> Bool {
        state.withLock { $0.used + Self.cost(bytes) <= limits.quota }
    }

    static func cost(_ bytes: Int64) -> Int64 { max(1, (bytes + unit - 1) / unit) * unit }

    // MARK: - Reservations

    /// Takes room and a place among the writers, until `release`.
    func reserve(_ bytes: Int64, for owner: String) throws(BlobError) {
        let problem: BlobError? = state.withLock { state in
            let own = state.writesOf[owner, default: 0]
            guard own < limits.deviceWritesMax else {
                return BlobError(
                    .serverBusy, "\(own) files and blocks of this device are being received; send fewer at a time")
            }
            guard state.writes < limits.writesMax else {
                return BlobError(.serverBusy, "\(limits.writesMax) files are being received; try again in a while")
            }
            guard state.used + Self.cost(bytes) <= limits.quota else {
                return BlobError(
                    .quotaExceeded,
                    "the hub's room for files is full (\(ByteCount(bytes: Int(limits.quota)))); its operator has to "
                        + "raise files.quota or lower files.retention_age")
            }
            state.used += Self.cost(bytes)
            state.writes += 1
            state.writesOf[owner] = own + 1
            return nil
        }
        if let problem { throw problem }
    }

    /// - Parameter isKept: whether the file stays, and with it the room that it takes.
    func release(_ bytes: Int64, for owner: String, isKept: Bool) {
        state.withLock { state in
            state.writes -= 1
            let own = state.writesOf[owner, default: 1] - 1
            state.writesOf[owner] = own > 0 ? own : nil
            if !isKept { state.used -= Self.cost(bytes) }
        }
    }

    func free(_ parts: [BlobPart]) async {
        let isKept = state.withLock { state in
            if state.keepers > 0 { state.kept += parts }
            return state.keepers > 0
        }
        guard !parts.isEmpty, !isKept else { return }
        await folder.remove(parts.map(\.file))
        state.withLock { state in for part in parts { state.used -= Self.cost(part.bytes) } }
    }

    /// Does something while files that are replaced or removed stay on the disk, and count, until it is done.
    public func keepingFiles<Value: Sendable>(_ body: () async throws -> Value) async throws -> Value {
        state.withLock { $0.keepers += 1 }
        let result: Result<Value, any Error>
        do { result = .success(try await body()) } catch { result = .failure(error) }
        let freed = state.withLock { state in
            state.keepers -= 1
            guard state.keepers == 0 else { return [BlobPart]() }
            defer { state.kept = [] }
            return state.kept
        }
        await free(freed)
        return try result.get()
    }

    // MARK: - For the operator

    public func list(owner: String?, most: Int) async throws -> [BlobFacts] {
        try await index.list(owner: owner, most: most)
    }

    public func facts(of name: BlobName) async throws -> BlobFacts? { try await index.blob(name)?.facts }

    /// `false` when there is no such blob.
    public func remove(_ name: BlobName) async throws -> Bool {
        guard let blob = try await index.blob(name) else { return false }
        guard blob.isInBucket else { return try await drop(name) }
        let bucket = try demandBucket(for: name)
        return try await bucket.alone(with: name) {
            // The object first: an entry that stays behind is removed again, an object would be lost sight of.
            try await bucket.delete(name)
            return try await drop(name)
        }
    }

    private func drop(_ name: BlobName) async throws -> Bool {
        guard let parts = try await index.remove(name) else { return false }
        await free(parts)
        return true
    }

    /// The upload is over: blocks that wait for a list will never get one.
    public func removeStaged(of name: BlobName) async throws { await free(try await index.removeStaged(of: name)) }

    /// Removes what is too old, now and every minute, and looks after the store, until the task is cancelled.
    public func run() async {
        await withDiscardingTaskGroup { group in
            if let bucket { group.addTask { await bucket.run() } }
            group.addTask { await self.sweep() }
        }
    }

    private func sweep() async {
        while !Task.isCancelled {
            do {
                try await removeOld()
            } catch {
                logger.warning("old files cannot be removed; trying again in a minute", metadata: ["error": "\(error)"])
            }
            try? await Task.sleep(for: .seconds(60))
        }
    }

    /// One sweep.
    public func removeOld() async throws {
        let now = clock()
        while true {
            let parts = try await index.removeOld(
                blobsBefore: now - limits.retentionAge, stagedBefore: now - limits.stagedAge, most: 500)
            guard !parts.isEmpty else { break }
            await free(parts)
            logger.info("old files are removed", metadata: ["files": "\(parts.count)"])
        }
        guard let bucket else { return }
        try await bucket.dropOpenCarries()
        let names = try await index.oldInBucket(before: now - limits.retentionAge, most: 500)
        for name in names { _ = try await remove(name) }
        if !names.isEmpty { logger.info("old files are removed", metadata: ["files": "\(names.count)"]) }
    }
}

extension WallInstant {
    fileprivate static func - (instant: WallInstant, duration: Duration) -> WallInstant { instant + (.zero - duration) }
}
