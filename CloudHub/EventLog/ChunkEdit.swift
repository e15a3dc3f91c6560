public import NIOCore

extension AppendGroup.Chunk {
    /// What becomes of one batch of the chunk.
    public enum BatchEdit: Sendable {
        case keep
        /// The event goes; nothing of it is new.
        case drop
        /// The event stays with this body.
        case replaceBody([UInt8])
    }

    /// The body of a batch's event.
    public func body(of batch: BatchMark) -> [UInt8] {
        guard let start = bodyStart(of: batch) else { return [] }
        return bytes.getBytes(at: start, length: batch.entry.upperBound - start) ?? []
    }

    /// The chunk as it will be stored: with one edit for each of its batches, in order.
    ///
    /// Copies the chunk unless every edit is `.keep`.
    public func applying(_ edits: [BatchEdit]) -> (bytes: ByteBuffer, eventCount: Int) {
        precondition(edits.count == batches.count, "one edit for each batch")
        var result = ByteBuffer()
        var count = eventCount
        var cursor = bytes.readerIndex
        var isChanged = false
        for (batch, edit) in zip(batches, edits) where !batch.entry.isEmpty {
            switch edit {
            case .keep: continue
            case .drop: count -= 1
            case .replaceBody: break
            }
            isChanged = true
            copy(cursor..<batch.entry.lowerBound, to: &result)
            if case .replaceBody(let body) = edit { copyHead(of: batch, body: body, to: &result) }
            cursor = batch.entry.upperBound
        }
        guard isChanged else { return (bytes, eventCount) }
        copy(cursor..<bytes.writerIndex, to: &result)
        return (result, count)
    }

    private func copy(_ range: Range<Int>, to result: inout ByteBuffer) {
        guard var slice = bytes.getSlice(at: range.lowerBound, length: range.count) else { return }
        result.writeBuffer(&slice)
    }

    private func copyHead(of batch: BatchMark, body: [UInt8], to result: inout ByteBuffer) {
        guard let start = bodyStart(of: batch) else { return }
        let head = batch.entry.lowerBound + 4..<start
        result.writeInteger(UInt32(head.count + body.count), endianness: .little)
        copy(head, to: &result)
        result.writeBytes(body)
    }

    private func bodyStart(of batch: BatchMark) -> Int? {
        let bagLengthIndex = batch.entry.lowerBound + EventChunk.eventOverhead - 2
        guard let bag = bytes.getInteger(at: bagLengthIndex, endianness: .little, as: UInt16.self) else { return nil }
        return bagLengthIndex + 2 + Int(bag)
    }
}
