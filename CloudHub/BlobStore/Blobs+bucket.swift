import Primitives
import S3Store

/// What a store behind the hub changes: a blob counts as written when the store has confirmed it.
extension Blobs {
    /// What is wrong with the store and what to do; empty when it is well, or when there is none.
    public var storeTrouble: String { bucket?.trouble ?? "" }

    /// Whether a blob of this name can be stored.
    public func fits(_ name: BlobName) -> Bool { bucket?.store.location.fits(name.text) ?? true }

    /// Puts a whole blob whose bytes are in the folder.
    ///
    /// - Throws: `CarryFailure` when the file is no longer the caller's to remove.
    func put(_ blob: StoredBlob, if condition: BlobCondition) async throws -> BlobChange {
        guard let bucket else { return try await index.put(blob, if: condition) }
        let facts = blob.facts
        let content = Carry.Content.body(md5: facts.md5, bytes: facts.bytes, headers: facts.headers)
        let (carry, isNew) = try bucket.begin(content, of: facts.name) { [self] in
            do {
                try await check(condition, facts.name)
                try await bucket.carry(facts, bytes(of: blob))
                var carried = blob
                carried.isInBucket = true
                try await apply(try await index.put(carried, if: condition))
            } catch {
                await free(blob.parts)
                throw error
            }
            await free(blob.parts)
        }
        guard isNew else {
            try await carry.wait(most: Self.answerTimeMax)
            return .done(freed: blob.parts)
        }
        do throws(BlobError) {
            try await carry.wait(most: Self.answerTimeMax)
            return .done(freed: [])
        } catch { throw CarryFailure(error: error) }
    }

    /// Makes a blob of blocks.
    func commit(_ facts: BlobFacts, of list: [BlockChoice], if condition: BlobCondition) async throws {
        let most = limits.blobBytesMax
        guard let bucket else {
            return try await apply(
                try await index.commit(facts, of: list, if: condition, bytesMax: most, carried: nil))
        }
        guard let chosen = try await index.choose(list, of: facts.name) else { throw Self.refusal(.invalidBlockList) }
        guard chosen.reduce(0, { $0 + $1.part.bytes }) <= most else { throw Self.refusal(.requestBodyTooLarge) }
        let content = Carry.Content.blocks(chosen, headers: facts.headers)
        let (carry, _) = try bucket.begin(content, of: facts.name) { [self] in
            try await check(condition, facts.name)
            if try await !isThere(chosen, facts) {
                try await bucket.carry(facts, bytes(of: facts.name, chosen))
            }
            try await apply(
                try await index.commit(facts, of: list, if: condition, bytesMax: most, carried: chosen))
        }
        try await carry.wait(most: Self.answerTimeMax)
    }

    /// Clients wait for 60 s by default.
    private static let answerTimeMax = Duration.seconds(45)

    private func check(_ condition: BlobCondition, _ name: BlobName) async throws {
        let old = try await index.blob(name)
        if let problem = condition.problem(etag: old?.facts.etag) { throw Self.refusal(problem) }
    }

    private func apply(_ change: BlobChange) async throws {
        switch change {
        case .done(let freed): await free(freed)
        case .refused(let problem): throw Self.refusal(problem)
        }
    }

    static func refusal(_ problem: BlobError.Problem) -> BlobError { BlobError(problem, sentence(problem)) }

    /// Whether a list chooses just what the object is: a client repeats a list whose answer it did not get.
    private func isThere(_ chosen: [ChosenBlock], _ facts: BlobFacts) async throws -> Bool {
        guard let blob = try await index.blob(facts.name), blob.isInBucket, blob.facts.headers == facts.headers else {
            return false
        }
        return chosen.allSatisfy { $0.offset != nil } && chosen.map(\.part) == blob.parts
    }

    // MARK: - Reading

    /// Of a blob in the folder.
    func bytes(of blob: StoredBlob) -> BlobBytes {
        bytes(of: blob.facts.name, blob.parts.map { ChosenBlock($0, offset: nil) })
    }

    /// Of a blob in the bucket; the store has begun to send when it returns.
    func content(of blob: StoredBlob, _ range: Range<Int64>) async throws -> S3Content {
        try await demandBucket(for: blob.facts.name).read(blob.facts.name, range)
    }

    func demandBucket(for name: BlobName) throws(BlobError) -> BlobBucket {
        guard let bucket else {
            throw BlobError(
                .serverBusy, "\(name) is in a store that this hub is no longer configured for; set files.store to it")
        }
        return bucket
    }

    private func bytes(of name: BlobName, _ blocks: [ChosenBlock]) -> BlobBytes {
        let pieces = blocks.map { block in
            block.offset.map { .object($0..<$0 + block.part.bytes) }
                ?? BlobBytes.Piece.file(block.part.file, 0..<block.part.bytes)
        }
        let bucket = self.bucket
        return BlobBytes(pieces: pieces, folder: folder) { range in
            guard let bucket else { throw BlobError(.internalError, "no store is configured") }
            return try await bucket.read(name, range)
        }
    }
}
