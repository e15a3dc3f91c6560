import Logging
import Primitives
import S3Store
import Synchronization

/// The bucket that whole blobs are taken to: each is one object, named as the blob.
final class BlobBucket: Sendable {
    /// Blobs that are carried at a time; each needs some hundred KiB of memory and a connection.
    private static let carriesMax = 32
    /// What is larger goes in parts of this size, so that a broken connection costs no more. Unit: bytes.
    private static let partBytes: Int64 = 16 << 20

    private struct State {
        /// One change of a blob at a time: object and list have to say the same.
        var busy: Set<BlobName> = []
        var carries: [BlobName: (carry: Carry, task: Task<Void, Never>)] = [:]
        var trouble: S3Error?
        var isStopping = false
    }

    let store: S3Bucket
    private let index: any BlobIndex
    private let logger: Logger
    private let state = Mutex(State())

    init(_ store: S3Bucket, index: any BlobIndex, logger: Logger) {
        self.store = store
        self.index = index
        self.logger = logger
    }

    /// Empty when the store did what it was asked for the last time; else what is wrong and what to do.
    var trouble: String { state.withLock { $0.trouble?.advice } ?? "" }

    /// Does something with a blob while nothing else does.
    ///
    /// - Throws: `.serverBusy` when something else does, or too much is done already.
    func alone<Value>(with blob: BlobName, _ body: () async throws -> Value) async throws -> Value {
        try state.withLock { state throws(BlobError) in try Self.enter(blob, &state) }
        defer { state.withLock { _ = $0.busy.remove(blob) } }
        return try await body()
    }

    private static func enter(_ blob: BlobName, _ state: inout State) throws(BlobError) {
        guard !state.isStopping, state.busy.count < carriesMax else {
            throw BlobError(.serverBusy, "\(carriesMax) files are on their way to the store; try again in a while")
        }
        guard state.busy.insert(blob).inserted else {
            throw BlobError(.serverBusy, "this file is on its way to the store already; try again in a while")
        }
    }

    /// Begins a change of a blob that goes on when nobody waits for it any more; or finds the same one at work.
    ///
    /// - Parameter work: called once, if this begins it.
    /// - Throws: `.serverBusy` when another change of this blob is at work, or too much is done already.
    func begin(
        _ content: Carry.Content, of blob: BlobName, _ work: @escaping @Sendable () async throws -> Void
    ) throws(BlobError) -> (carry: Carry, isNew: Bool) {
        try state.withLock { state throws(BlobError) in
            if let running = state.carries[blob]?.carry, running.content == content { return (running, false) }
            try Self.enter(blob, &state)
            let carry = Carry(content)
            let task = Task {
                var problem: BlobError?
                do { try await work() } catch { problem = Blobs.wrapped(error) }
                self.state.withLock { state in
                    state.carries[blob] = nil
                    state.busy.remove(blob)
                }
                carry.end(problem)
            }
            state.carries[blob] = (carry, task)
            return (carry, true)
        }
    }

    // MARK: - Objects

    /// Takes a blob to the bucket. When it returns, the store has confirmed the whole of it.
    func carry(_ facts: BlobFacts, _ bytes: BlobBytes) async throws {
        let headers = facts.headers.filter { !$0.key.hasPrefix("x-ms-") }
        try await noted {
            guard bytes.bytes > Self.partBytes else {
                return try await store.put(facts.name.text, try await S3Body(bytes), headers: headers)
            }
            let upload = try await store.startUpload(facts.name.text, headers: headers)
            let carry = OpenCarry(upload: upload, blob: facts.name)
            do {
                try await index.begin(carry)
                try await self.parts(of: bytes, to: carry)
            } catch {
                // When this fails too, the next sweep does it.
                if (try? await store.dropUpload(upload, facts.name.text)) != nil { try? await index.end(carry) }
                throw error
            }
            try await index.end(carry)
        }
    }

    /// Size of the parts of a file: whole MiB, and few enough of them.
    static func partBytes(of total: Int64) -> Int64 {
        let step: Int64 = 1 << 20
        return max(partBytes, (total / Int64(S3Bucket.partsMax) / step + 1) * step)
    }

    private func parts(of bytes: BlobBytes, to carry: OpenCarry) async throws {
        let total = bytes.bytes
        let size = Self.partBytes(of: total)
        var tags: [String] = []
        for start in stride(from: 0, to: total, by: Int64.Stride(size)) {
            let body = try await S3Body(bytes[start..<min(start + size, total)])
            tags.append(try await store.putPart(tags.count + 1, of: carry.upload, carry.blob.text, body))
        }
        try await store.finishUpload(carry.upload, carry.blob.text, tags: tags)
    }

    func read(_ blob: BlobName, _ range: Range<Int64>) async throws -> S3Content {
        try await noted { try await store.read(blob.text, range) }
    }

    func delete(_ blob: BlobName) async throws { try await noted { try await store.delete(blob.text) } }

    // MARK: - Upkeep

    /// Tries the store at the start, and while it is in trouble. When it is cancelled, what is on its way breaks off.
    func run() async {
        try? await noted { try await store.check() }
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(15))
            if !trouble.isEmpty { try? await noted { try await store.check() } }
        }
        let tasks = state.withLock { state in
            state.isStopping = true
            return state.carries.values.map(\.task)
        }
        for task in tasks { task.cancel() }
        for task in tasks { await task.value }
    }

    /// Drops what carries that broke off left at the store.
    func dropOpenCarries() async throws {
        for carry in try await index.openCarries() {
            guard !state.withLock({ $0.busy.contains(carry.blob) }) else { continue }
            try await noted { try await store.dropUpload(carry.upload, carry.blob.text) }
            try await index.end(carry)
        }
    }

    /// Remembers whether the store is well, and tells when that changes.
    private func noted<Value>(_ body: () async throws -> Value) async throws -> Value {
        do {
            let value = try await body()
            if state.withLock({ $0.trouble.take() }) != nil { logger.info("the store for files is well again") }
            return value
        } catch let error as S3Error {
            guard error.isStoresFault else { throw error }
            let before = state.withLock { state in
                defer { state.trouble = error }
                return state.trouble
            }
            if !error.repeats(before) {
                logger.log(
                    level: error.isRetryable ? .warning : .error, "the store for files is in trouble",
                    metadata: ["error": "\(error)"])
            }
            throw error
        }
    }
}
