import Primitives
import S3Store

/// What a store behind the hub changes: a blob counts as written when the store has confirmed it.
extension Blobs {
    /// What is wrong with the store and what to do; empty when it is well, or when there is none.
    public var storeTrouble: String { bucket?.trouble ?? "" }

    /// Whether a blob of this name can be stored.
    public func fits(_ name: BlobName) -> Bool { bucket?.store.location.fits(name.text) ?? true }

    /// Puts a whole blob whose bytes are in the folder.
    func put(_ blob: StoredBlob, if condition: BlobCondition) async throws -> BlobChange {
        guard let bucket else { return try await index.put(blob, if: condition) }
        return try await bucket.alone(with: blob.facts.name) {
            let old = try await index.blob(blob.facts.name)
            if let problem = condition.problem(etag: old?.facts.etag) { return .refused(problem) }
            try await bucket.carry(blob.facts, try bytes(of: blob))
            var carried = blob
            carried.isInBucket = true
            let change = try await index.put(carried, if: condition)
            guard case .done(let freed) = change else { return change }
            return .done(freed: freed + blob.parts)
        }
    }

    /// Makes a blob of blocks.
    func commit(
        _ facts: BlobFacts, of list: [BlockChoice], if condition: BlobCondition
    ) async throws -> BlobChange {
        let most = limits.blobBytesMax
        guard let bucket else {
            return try await index.commit(facts, of: list, if: condition, bytesMax: most, carried: nil)
        }
        return try await bucket.alone(with: facts.name) {
            let old = try await index.blob(facts.name)
            if let problem = condition.problem(etag: old?.facts.etag) { return .refused(problem) }
            guard let chosen = try await index.choose(list, of: facts.name) else { return .refused(.invalidBlockList) }
            guard chosen.reduce(0, { $0 + $1.part.bytes }) <= most else { return .refused(.requestBodyTooLarge) }
            try await bucket.carry(facts, try bytes(of: facts.name, chosen))
            return try await index.commit(facts, of: list, if: condition, bytesMax: most, carried: chosen)
        }
    }

    // MARK: - Reading

    /// Of a blob in the folder.
    func bytes(of blob: StoredBlob) throws -> BlobBytes {
        try bytes(of: blob.facts.name, blob.parts.map { ChosenBlock($0, offset: nil) })
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

    private func bytes(of name: BlobName, _ blocks: [ChosenBlock]) throws -> BlobBytes {
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
