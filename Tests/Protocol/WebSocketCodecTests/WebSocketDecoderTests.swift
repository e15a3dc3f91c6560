import NIOCore
import Primitives
import Testing

@testable import WebSocketCodec

/// A frame as a client writes it, right or wrong.
struct ClientFrame {
    var first: UInt8
    var payload: [UInt8] = []
    var key: [UInt8]? = [0x37, 0xFA, 0x21, 0x3D]
    /// The bytes after the first two that say how long it is; `nil` for as few as are needed.
    var lengthBytes: (short: UInt8, more: [UInt8])?

    var bytes: [UInt8] {
        let count = payload.count
        let length =
            lengthBytes
            ?? (count < 126
                ? (UInt8(count), [])
                : count < 65_536
                    ? (126, [UInt8(count >> 8), UInt8(count & 0xFF)])
                    : (127, (0..<8).reversed().map { UInt8(truncatingIfNeeded: count >> (8 * $0)) }))
        let masked = key.map { key in payload.enumerated().map { $1 ^ key[$0 % 4] } } ?? payload
        return [first, length.short | (key == nil ? 0 : 0x80)] + length.more + (key ?? []) + masked
    }
}

/// What came out of a decoder that was fed in pieces.
struct Decoded: Equatable {
    var data: [UInt8] = []
    var events: [WebSocketDecoder.Event] = []
    var error: WebSocketError?

    /// `cuts` are the lengths of the pieces but the last.
    init(_ bytes: [UInt8], max: Int = 1 << 20, cuts: [Int] = []) {
        var decoder = WebSocketDecoder(frameBytesMax: max)
        var output = ByteBuffer()
        var rest = bytes[...]
        for length in cuts + [bytes.count] where error == nil {
            var input = ByteBuffer(bytes: rest.prefix(length))
            rest = rest.dropFirst(length)
            do {
                while let event = try decoder.next(from: &input, into: &output) { events.append(event) }
            } catch {
                self.error = error
            }
        }
        data = Array(output.readableBytesView)
    }
}

@Suite struct WebSocketDecoderTests {
    struct Row: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let bytes: [UInt8]
        var data: [UInt8] = []
        var events: [WebSocketDecoder.Event] = []
        var problem: WebSocketError.Problem?

        init(
            _ claim: String, _ frames: [ClientFrame], data: [UInt8] = [], events: [WebSocketDecoder.Event] = [],
            problem: WebSocketError.Problem? = nil
        ) {
            testDescription = claim
            bytes = frames.flatMap(\.bytes)
            (self.data, self.events, self.problem) = (data, events, problem)
        }
    }

    static let long = [UInt8](repeating: 7, count: 70_000)
    static let rows: [Row] = [
        Row("one binary frame is its payload", [.init(first: 0x82, payload: [1, 2, 3])], data: [1, 2, 3]),
        Row("an empty frame is nothing", [.init(first: 0x82), .init(first: 0x82, payload: [9])], data: [9]),
        Row("a 16-bit length", [.init(first: 0x82, payload: Array(long.prefix(300)))], data: Array(long.prefix(300))),
        Row("a 64-bit length", [.init(first: 0x82, payload: long)], data: long),
        Row(
            "fragments are joined",
            [.init(first: 0x02, payload: [1]), .init(first: 0x00, payload: [2]), .init(first: 0x80, payload: [3])],
            data: [1, 2, 3]),
        Row(
            "a ping between fragments",
            [.init(first: 0x02, payload: [1]), .init(first: 0x89, payload: [5, 6]), .init(first: 0x80, payload: [2])],
            data: [1, 2], events: [.ping(ByteBuffer(bytes: [5, 6]))]),
        Row(
            "the longest ping", [.init(first: 0x89, payload: Array(long.prefix(125)))],
            events: [.ping(ByteBuffer(bytes: long.prefix(125)))]),
        Row("a pong", [.init(first: 0x8A, payload: [1])], events: [.pong]),
        Row("a close without a code", [.init(first: 0x88)], events: [.close(nil)]),
        Row(
            "nothing after a close is looked at",
            [.init(first: 0x88, payload: [3, 0xE8] + Array("bye".utf8)), .init(first: 0xFF, payload: [1])],
            events: [.close(1000)]),
        Row("a text frame", [.init(first: 0x82, payload: [1]), .init(first: 0x81)], data: [1], problem: .text),
        Row("no mask", [.init(first: 0x82, payload: [1], key: nil)], problem: .unmasked),
        Row("no mask on a ping", [.init(first: 0x89, key: nil)], problem: .unmasked),
        Row("reserved bit 1, compression", [.init(first: 0xC2, payload: [1])], problem: .reservedBits),
        Row("reserved bit 3", [.init(first: 0x92)], problem: .reservedBits),
        Row("opcode 3", [.init(first: 0x83)], problem: .unknownOpcode),
        Row("opcode 11", [.init(first: 0x8B)], problem: .unknownOpcode),
        Row("a continuation of nothing", [.init(first: 0x80, payload: [1])], problem: .continuesNothing),
        Row(
            "a continuation after the last fragment",
            [.init(first: 0x02), .init(first: 0x80), .init(first: 0x80)], problem: .continuesNothing),
        Row(
            "a message inside a message", [.init(first: 0x02, payload: [1]), .init(first: 0x82)], data: [1],
            problem: .messageInMessage),
        Row("half a ping", [.init(first: 0x09)], problem: .fragmentedControl),
        Row("a ping of 126 bytes", [.init(first: 0x89, payload: Array(long.prefix(126)))], problem: .longControl),
        Row("125 written with 16 bits", [.init(first: 0x82, lengthBytes: (126, [0, 125]))], problem: .lengthEncoding),
        Row(
            "65,535 written with 64 bits",
            [.init(first: 0x82, lengthBytes: (127, [0, 0, 0, 0, 0, 0, 0xFF, 0xFF]))], problem: .lengthEncoding),
        Row(
            "a length of 2⁶³", [.init(first: 0x82, lengthBytes: (127, [0x80, 0, 0, 0, 0, 0, 0, 0]))],
            problem: .lengthEncoding),
        Row(
            "one byte more than the limit", [.init(first: 0x82, lengthBytes: (127, [0, 0, 0, 0, 0, 0x10, 0, 1]))],
            problem: .tooLong),
        Row("a close code of one byte", [.init(first: 0x88, payload: [3])], problem: .closeCode),
        Row("close code 1005", [.init(first: 0x88, payload: [3, 0xED])], problem: .closeCode),
        Row("close code 999", [.init(first: 0x88, payload: [3, 0xE7])], problem: .closeCode),
        Row("close code 5000", [.init(first: 0x88, payload: [0x13, 0x88])], problem: .closeCode),
        Row("a close reason that is no text", [.init(first: 0x88, payload: [3, 0xE8, 0xFF])], problem: .closeReason),
    ]

    @Test(arguments: rows) func framesAreTakenApart(_ row: Row) {
        let decoded = Decoded(row.bytes)
        #expect(decoded.data == row.data)
        #expect(decoded.events == row.events)
        #expect(decoded.error?.problem == row.problem)
    }

    @Test(arguments: rows.filter { $0.bytes.count < 1000 }) func howTheBytesAreCutDoesNotMatter(_ row: Row) {
        let whole = Decoded(row.bytes)
        #expect(Decoded(row.bytes, cuts: [Int](repeating: 1, count: row.bytes.count)) == whole)
        for cut in 0...row.bytes.count { #expect(Decoded(row.bytes, cuts: [cut]) == whole, "cut at \(cut)") }
    }

    @Test func aFrameOfExactlyTheLimitIsTakenAndOneMoreIsTold1009() {
        #expect(Decoded(ClientFrame(first: 0x82, payload: [1, 2, 3, 4]).bytes, max: 4).data == [1, 2, 3, 4])
        let long = Decoded(ClientFrame(first: 0x82, payload: [1, 2, 3, 4, 5]).bytes, max: 4)
        #expect(long.data == [] && long.error?.closeCode == 1009)
    }

    @Test func anOversizeFrameIsRefusedBeforeItsPayloadComes() {
        let header = ClientFrame(first: 0x82, lengthBytes: (127, [0, 0, 0, 1, 0, 0, 0, 0])).bytes
        #expect(Decoded(header).error?.problem == .tooLong)
    }

    @Test func everyProblemHasACodeThatMayBeSentAndASentence() {
        for problem in WebSocketError.Problem.allCases {
            let error = WebSocketError(problem)
            #expect([1002, 1003, 1007, 1009].contains(error.closeCode))
            #expect(!error.description.isEmpty && !error.isRetryable)
        }
    }

    @Test func randomMessagesInRandomPiecesComeOutWhole() {
        for seed in UInt64(0)..<300 {
            var random = SeededRandom(seed: seed)
            var frames: [UInt8] = []
            var expected: [UInt8] = []
            for _ in 0..<Int.random(in: 1...5, using: &random) {
                let payload = (0..<Int.random(in: 0...400, using: &random)).map { _ in
                    UInt8.random(in: 0...255, using: &random)
                }
                let key = (0..<4).map { _ in UInt8.random(in: 0...255, using: &random) }
                frames += ClientFrame(first: 0x82, payload: payload, key: key).bytes
                expected += payload
            }
            let cuts = (0..<20).map { _ in Int.random(in: 0...60, using: &random) }
            let decoded = Decoded(frames, cuts: cuts)
            #expect(decoded.data == expected && decoded.error == nil, "seed \(seed)")
        }
    }

    @Test func randomBytesNeverTrap() {
        for seed in UInt64(0)..<2000 {
            var random = SeededRandom(seed: seed)
            let bytes = (0..<Int.random(in: 1...64, using: &random)).map { _ in
                // Half of them with the bits of a masked final frame, so that some get far.
                UInt8.random(in: 0...255, using: &random) | (Bool.random(using: &random) ? 0x80 : 0)
            }
            let decoded = Decoded(bytes, max: 32)
            #expect(decoded.data.count <= bytes.count, "seed \(seed)")
        }
    }
}

@Suite struct WebSocketFrameTests {
    static let headers: [(length: Int, bytes: [UInt8])] = [
        (0, [0x82, 0]), (125, [0x82, 125]), (126, [0x82, 126, 0, 126]), (65_535, [0x82, 126, 0xFF, 0xFF]),
        (65_536, [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ]

    @Test(arguments: headers) func lengthsAreWrittenWithAsFewBytesAsTheyNeed(length: Int, bytes: [UInt8]) {
        var buffer = ByteBuffer()
        WebSocketFrame.writeHeader(.binary, length: length, into: &buffer)
        #expect(Array(buffer.readableBytesView) == bytes)
        #expect(bytes.count <= WebSocketFrame.headerBytesMax)
    }

    @Test func aCloseFrameCarriesItsCode() {
        var buffer = ByteBuffer()
        WebSocketFrame.writeClose(1009, into: &buffer)
        WebSocketFrame.writeClose(nil, into: &buffer)
        #expect(Array(buffer.readableBytesView) == [0x88, 2, 0x03, 0xF1, 0x88, 0])
    }
}
