import Compression
import Foundation
import Primitives
import Telemetry
import Testing

@Suite struct CompressionTests {
    let compressor: BatchCompressor
    let decompressor = BatchDecompressor()
    let encoding = TelemetryDictionary.first.encoding

    init() throws { compressor = try #require(BatchCompressor()) }

    private func batch(_ count: UInt64, seed: UInt64 = 1) throws -> [UInt8] {
        var random = SeededRandom(seed: seed)
        let device = try #require(DeviceID("freezer-7"))
        let records = (1...count).map { sequence in
            let reading = Reading(
                device: device, metric: "temperature",
                value: DecimalText(Double(Int.random(in: -3000...9000, using: &random)) / 100).map(ReadingValue.number)
                    ?? .boolean(true), unit: "Cel",
                time: WallInstant(milliseconds: 1_795_251_600_000 + Int64(sequence) * 997))
            return SequencedRecord(sequence: 4000 + sequence, record: .reading(reading))
        }
        return Batch(epoch: Epoch(value: random.next()), records: records).encoded()
    }

    @Test(arguments: [(UInt64(1), 0.42), (10, 0.30), (100, 0.22), (1000, 0.20)])
    func aBatchComesBackAndIsThisSmall(count: UInt64, share: Double) throws {
        let whole = try batch(count)
        let frame = try #require(compressor.compress(whole))
        #expect(try decompressor.decompress(frame, encoding: encoding, bytesMax: whole.count) == whole)
        #expect(Double(frame.count) <= Double(whole.count) * share, "\(frame.count) of \(whole.count)")
    }

    @Test func aFrameOfTheDictionarysReleaseIsReadForEver() throws {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appending(path: "../../Golden/telemetry/compressed.txt").standardizedFileURL
        let lines = try String(contentsOf: file, encoding: .utf8).split(separator: "\n").dropFirst().map(String.init)
        let frame = stride(from: 0, to: lines[1].count, by: 2).compactMap { place in
            UInt8(lines[1].dropFirst(place).prefix(2), radix: 16)
        }
        let read = try decompressor.decompress(frame, encoding: encoding, bytesMax: 4096)
        #expect(String(decoding: read, as: UTF8.self) == lines[0])
        #expect(try Batch(parsing: read).records.isEmpty == false)
    }

    @Test func whatIsNoFrameIsRefused() throws {
        let frame = try #require(compressor.compress(try batch(20)))
        for broken in [[], [1, 2, 3], Array(frame.dropLast(3)), Array(frame.dropFirst())] {
            #expect(throws: CompressionError.self) {
                try decompressor.decompress(broken, encoding: encoding, bytesMax: 1 << 20)
            }
        }
        #expect(throws: CompressionError.unknownEncoding("zstd-fieldline-9")) {
            try decompressor.decompress(frame, encoding: "zstd-fieldline-9", bytesMax: 1 << 20)
        }
        // Without its dictionary.
        #expect(throws: CompressionError.self) {
            try decompressor.decompress(frame, encoding: "zstd", bytesMax: 1 << 20)
        }
    }

    @Test func aBombEndsAtTheLimit() throws {
        let zeros = [UInt8](repeating: 48, count: 50 << 20)
        let frame = try #require(compressor.compress(zeros))
        #expect(frame.count < 20_000)
        #expect(throws: CompressionError.tooLarge(bytesMax: 256 * 1024)) {
            try decompressor.decompress(frame, encoding: encoding, bytesMax: 256 * 1024)
        }
    }

    @Test func damagedFramesNeverTrap() throws {
        var random = SeededRandom(seed: 5)
        let frame = try #require(compressor.compress(try batch(50)))
        for _ in 0..<20_000 {
            var damaged = frame
            for _ in 0...Int.random(in: 0..<4, using: &random) {
                damaged[Int.random(in: damaged.indices, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            if let read = try? decompressor.decompress(damaged, encoding: encoding, bytesMax: 64 * 1024) {
                #expect(read.count <= 64 * 1024)
            }
        }
    }

    @Test func whatDoesNotShrinkIsNotCompressed() {
        var random = SeededRandom(seed: 3)
        #expect(compressor.compress((0..<64).map { _ in UInt8.random(in: 0...255, using: &random) }) == nil)
        #expect(compressor.compress([]) == nil)
    }
}
