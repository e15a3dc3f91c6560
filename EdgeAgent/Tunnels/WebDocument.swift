internal import Primitives

/// The answer to a GET, as it arrives: a head with status 200, and a body of bounded size. Source: RFC 9112 sections 6
/// and 7.
///
///     head ─► sized by Content-Length ───────────────► whole
///          ─► chunked: size ─► data ─► … ─► trailer ─►
///          ─► neither: until the server's goodbye ───►
///
/// What a body's end is must be clear: a document that was cut off is never taken for a whole one.
public struct WebDocument: Sendable {
    /// A line with a chunk's size.
    private static let lineBytesMax = 1024

    private enum Phase: Sendable {
        case head
        /// Bytes that are still to come.
        case sized(Int)
        case untilClose
        case chunkSize
        case chunkData(Int)
        /// The line end behind a chunk's data.
        case chunkEnd
        case trailer
        case whole
    }

    private let bytesMax: Int
    private var phase = Phase.head
    private var waiting = ByteQueue()
    private var receivedCount = 0
    private var contents: [UInt8] = []

    /// - Parameter bytesMax: a longer body is refused; so is one that comes in so many small pieces that they are longer.
    public init(bytesMax: Int) { self.bytesMax = bytesMax }

    /// The whole document; `nil` while it is not.
    public var body: [UInt8]? { if case .whole = phase { contents } else { nil } }

    /// - Throws: `.refused` for another status than 200, `.malformed` for what cannot be a document of ours.
    public mutating func received(_ bytes: some Collection<UInt8>) throws(TunnelError) {
        receivedCount += bytes.count
        guard receivedCount <= 4 * bytesMax + 4 * ResponseHead.bytesMax else {
            throw .malformed("the answer is longer than any that is allowed")
        }
        if case .whole = phase { return }
        waiting.append(contentsOf: Array(bytes))
        var isMoving = true
        while isMoving { isMoving = try step() }
    }

    /// The server has said goodbye.
    public mutating func ended() throws(TunnelError) {
        switch phase {
        case .whole: return
        case .untilClose: phase = .whole
        case .head: throw .malformed("the server closed the connection without an answer")
        case .sized, .chunkSize, .chunkData, .chunkEnd, .trailer:
            throw .malformed("the document was cut off")
        }
    }

    /// - Returns: whether there may be more to do with what has come.
    private mutating func step() throws(TunnelError) -> Bool {
        switch phase {
        case .whole: return false
        case .head: return try readHead()
        case .sized(let left):
            let taken = try take(left)
            phase = taken == left ? .whole : .sized(left - taken)
            return false
        case .untilClose:
            _ = try take(waiting.count)
            return false
        case .chunkSize:
            guard let line = try line() else { return false }
            phase = try Self.chunk(line)
            return true
        case .chunkData(let left):
            let taken = try take(left)
            phase = taken == left ? .chunkEnd : .chunkData(left - taken)
            return taken == left
        case .chunkEnd:
            guard let line = try line() else { return false }
            guard line.isEmpty else { throw .malformed("a chunk is longer than it says") }
            phase = .chunkSize
            return true
        case .trailer:
            guard let line = try line() else { return false }
            if line.isEmpty { phase = .whole }
            return true
        }
    }

    private mutating func readHead() throws(TunnelError) -> Bool {
        let found = try waiting.withBytes { (bytes) throws(TunnelError) in try ResponseHead.read(bytes) }
        guard let (head, count) = found else { return false }
        waiting.removeFirst(count)
        // An interim answer: the real one follows.
        if (100..<200).contains(head.status), head.status != 101 { return true }
        guard head.status == 200 else { throw .refused(status: head.status) }
        phase = try framing(head)
        if case .sized(0) = phase { phase = .whole }
        return true
    }

    private func framing(_ head: ResponseHead) throws(TunnelError) -> Phase {
        if let encoding = head.value("content-encoding")?.lowercased(), encoding != "identity" {
            throw .malformed("the document is encoded as \(encoding.prefix(32)), which was not asked for")
        }
        let lengths = head.values("content-length")
        let codings = head.values("transfer-encoding")
        guard codings.isEmpty else {
            guard lengths.isEmpty, codings.count == 1, codings[0].lowercased() == "chunked" else {
                throw .malformed("how long the document is cannot be told from its head")
            }
            return .chunkSize
        }
        guard let first = lengths.first else { return .untilClose }
        guard lengths.allSatisfy({ $0 == first }), !first.isEmpty, first.utf8.allSatisfy({ (0x30...0x39).contains($0) })
        else { throw .malformed("how long the document is cannot be told from its head") }
        guard let length = Int(first), length <= bytesMax else { throw tooLong }
        return .sized(length)
    }

    /// Moves at most so many bytes of what waits into the document.
    private mutating func take(_ most: Int) throws(TunnelError) -> Int {
        let count = min(most, waiting.count)
        guard contents.count + count <= bytesMax else { throw tooLong }
        waiting.withBytes { contents += $0.prefix(count) }
        waiting.removeFirst(count)
        return count
    }

    private var tooLong: TunnelError { .malformed("the document is longer than \(bytesMax) bytes") }

    /// Without its end; `nil` while that has not come.
    private mutating func line() throws(TunnelError) -> [UInt8]? {
        let (end, line) = waiting.withBytes { (bytes) -> (Int?, [UInt8]) in
            let end = bytes.prefix(Self.lineBytesMax + 1).firstIndex(of: UInt8(ascii: "\n"))
            return (end, end.map { Array(bytes[..<$0]) } ?? [])
        }
        guard let end else {
            guard waiting.count <= Self.lineBytesMax else { throw .malformed("a line of the answer is too long") }
            return nil
        }
        guard line.last == UInt8(ascii: "\r") else { throw .malformed("a line of the answer has no proper end") }
        waiting.removeFirst(end + 1)
        return line.dropLast()
    }

    /// What follows the size in hexadecimal digits, and perhaps extensions, which mean nothing to us.
    private static func chunk(_ line: [UInt8]) throws(TunnelError) -> Phase {
        let digits = line.prefix { $0 != UInt8(ascii: ";") && $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\t") }
        guard (1...8).contains(digits.count), digits.first != UInt8(ascii: "+"), digits.first != UInt8(ascii: "-"),
            let size = Int(String(decoding: digits, as: UTF8.self), radix: 16)
        else { throw .malformed("a chunk does not say how long it is") }
        return size == 0 ? .trailer : .chunkData(size)
    }
}
