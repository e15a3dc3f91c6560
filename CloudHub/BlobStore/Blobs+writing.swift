import Crypto
import NIOCore
import Primitives
import S3Store

/// What a client said of a body before it came.
struct BodyClaim: Sendable {
    let bytes: Int64
    var md5: [UInt8]?
    var crc64: [UInt8]?
}

/// A body on the disk that nothing points to yet.
struct ReceivedBody: Sendable {
    let file: UniqueID
    let bytes: Int64
    let md5: [UInt8]

    func part(block: String = "") -> BlobPart { BlobPart(block: block, file: file, bytes: bytes) }
}

extension Blobs {
    /// Bytes that are gathered before they are written: what one upload needs of memory.
    private static let chunkBytes = 256 << 10

    /// Streams a body to the disk, hands it to `use`, and keeps it if `use` says so.
    ///
    /// - Throws: `BlobError`; then no file is left.
    func receive<Body: AsyncSequence & Sendable, Value: Sendable>(
        _ body: Body, _ claim: BodyClaim, for owner: String, _ use: (ReceivedBody) async throws -> (Value, BlobChange)
    ) async throws(BlobError) -> Value where Body.Element == ByteBuffer {
        guard claim.bytes <= limits.blobBytesMax else { throw tooLarge() }
        try reserve(claim.bytes, for: owner)
        let received: ReceivedBody
        do throws(BlobError) {
            received = try await stored(body, claim)
        } catch {
            release(claim.bytes, for: owner, isKept: false)
            throw error
        }
        do {
            let (value, change) = try await use(received)
            switch change {
            case .done(let freed):
                release(claim.bytes, for: owner, isKept: true)
                await free(freed)
                return value
            case .refused(let problem): throw Self.refusal(problem)
            }
        } catch let failure as CarryFailure {
            release(claim.bytes, for: owner, isKept: true)
            throw failure.error
        } catch {
            await folder.remove([received.file])
            release(claim.bytes, for: owner, isKept: false)
            throw Self.wrapped(error)
        }
    }

    func tooLarge() -> BlobError {
        BlobError(
            .requestBodyTooLarge,
            "a file may have \(ByteCount(bytes: Int(limits.blobBytesMax))) at most; the hub's operator can raise "
                + "files.file_bytes_max")
    }

    private func stored<Body: AsyncSequence & Sendable>(
        _ body: Body, _ claim: BodyClaim
    ) async throws(BlobError) -> ReceivedBody where Body.Element == ByteBuffer {
        var random = SystemRandomNumberGenerator()
        let file = UniqueID.random(using: &random)
        let descriptor: Int32
        do throws(BlobFolderError) { descriptor = try await folder.create(file) } catch { throw Self.wrapped(error) }
        let digest: [UInt8]
        do { digest = try await write(body, claim, to: descriptor) } catch {
            await folder.abandon(descriptor, file)
            throw Self.wrapped(error)
        }
        do throws(BlobFolderError) { try await folder.finish(descriptor) } catch {
            await folder.remove([file])
            throw Self.wrapped(error)
        }
        return ReceivedBody(file: file, bytes: claim.bytes, md5: digest)
    }

    private func write<Body: AsyncSequence & Sendable>(
        _ body: Body, _ claim: BodyClaim, to descriptor: Int32
    ) async throws -> [UInt8] where Body.Element == ByteBuffer {
        var md5 = Insecure.MD5()
        var crc = claim.crc64 == nil ? nil : CRC64()
        var pending = ByteBuffer()
        var count: Int64 = 0
        let deadline = ContinuousClock.now + limits.writeTimeMax
        do {
            for try await chunk in body {
                count += Int64(chunk.readableBytes)
                guard count <= claim.bytes else {
                    throw BlobError(.incompleteBody, "the body is longer than it was said to be")
                }
                guard ContinuousClock.now < deadline else {
                    throw BlobError(.operationTimedOut, "the body took too long; send smaller blocks")
                }
                chunk.withUnsafeReadableBytes { md5.update(bufferPointer: $0) }
                crc?.update(chunk.readableBytesView)
                pending.writeImmutableBuffer(chunk)
                guard pending.readableBytes >= Self.chunkBytes else { continue }
                try await folder.write(pending, to: descriptor)
                pending.clear()
            }
        } catch let error where !(error is BlobError || error is BlobFolderError) {
            throw BlobError(.incompleteBody, "the connection broke in the middle of the body", underlying: error)
        }
        try await folder.write(pending, to: descriptor)
        guard count == claim.bytes else {
            throw BlobError(.incompleteBody, "the body is shorter than it was said to be")
        }
        let digest = Array(md5.finalize())
        if let wanted = claim.md5, wanted != digest {
            throw BlobError(.md5Mismatch, "the body's MD5 is not the one in its header; send it again")
        }
        if let wanted = claim.crc64, wanted != crc?.bytes {
            throw BlobError(.crc64Mismatch, "the body's CRC64 is not the one in its header; send it again")
        }
        return digest
    }

    // MARK: - Sentences

    static func sentence(_ problem: BlobError.Problem) -> String {
        switch problem {
        case .blobAlreadyExists: "the blob is there already; overwrite it, or use another name"
        case .conditionNotMet: "the blob is not in the state that the request's condition demands"
        case .invalidBlockList: "the list names a block that the hub does not have; send that block again"
        case .blockCountExceedsLimit: "a blob has at most \(blocksMax) blocks; send larger ones"
        case .serverBusy: "a block was replaced while the list was at work; send the list again"
        case .requestBodyTooLarge: "the blocks together are larger than a file may be"
        default: problem.rawValue
        }
    }

    static func wrapped(_ error: any Error) -> BlobError {
        switch error {
        case let error as BlobError: error
        case let error as S3Error where error.problem == .objectMissing:
            BlobError(.blobNotFound, "the store behind the hub has no such file any more", underlying: error)
        case let error as S3Error:
            BlobError(.serverBusy, "the store behind the hub is in trouble; try again in a while", underlying: error)
        case let error as BlobFolderError where error.isFull:
            BlobError(.serverBusy, "the hub's disk is full; try again later", underlying: error)
        default: BlobError(.internalError, "the hub could not store this; try again", underlying: error)
        }
    }
}
