import JSON
import Primitives
import Testing

@Suite("JSON under random input")
struct RandomTests {
    @Test("what is written is read back the same", arguments: 0..<20 as Range<UInt64>)
    func roundTrip(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        for _ in 0..<50 {
            let value = Self.value(depth: 5, &random)
            #expect(try JSONValue(parsing: value.serialized()) == value, "seed \(seed)")
        }
    }

    @Test("random bytes and damaged texts never trap", arguments: 0..<20 as Range<UInt64>)
    func garbage(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let alphabet =
            Array(#"{}[]",:\u0123456789abcdefDdntrulse+-.E /"#.utf8) + [0, 0x1F, 0x80, 0xC3, 0xED, 0xF0, 0xFF]
        for _ in 0..<300 {
            let soup = (0..<Int.random(in: 0...40, using: &random)).map { _ in
                alphabet.randomElement(using: &random) ?? 0
            }
            Self.feed(soup)
            var damaged = Self.value(depth: 4, &random).serialized()
            for _ in 0..<Int.random(in: 1...3, using: &random) where !damaged.isEmpty {
                let place = Int.random(in: 0..<damaged.count, using: &random)
                switch Int.random(in: 0...2, using: &random) {
                case 0: damaged[place] = UInt8.random(in: 0...255, using: &random)
                case 1: damaged.remove(at: place)
                default: damaged.removeSubrange(place...)
                }
            }
            Self.feed(damaged)
        }
    }

    @Test(
        "the scanner accepts exactly what the parser accepts, and sees the same numbers",
        arguments: 0..<10 as Range<UInt64>)
    func scannerAgrees(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        for _ in 0..<50 {
            let value = Self.value(depth: 4, &random)
            var expected: [String] = []
            Self.paths(value, "", &expected)
            var seen: [String] = []
            try JSONScanner.numbers(in: value.serialized()) { seen.append("\($0)=\($1)") }
            #expect(seen == expected, "seed \(seed)")
        }
    }

    private static func feed(_ bytes: [UInt8]) {
        let parsed = try? JSONValue(parsing: bytes)
        let scanned: Void? = try? JSONScanner.numbers(in: bytes) { _, _ in }
        #expect((parsed == nil) == (scanned == nil), "\(bytes)")
        let shape = Result { () throws(JSONError) in try JSONScanner.shape(of: bytes) }
        if case .success = shape { #expect(parsed != nil, "\(bytes)") } else { #expect(parsed == nil, "\(bytes)") }
        #expect((parsed?.objectValue == nil) == ((try? shape.get()) == nil), "\(bytes)")
        let found = try? JSONScanner.scalar(at: "/a/0", in: bytes)
        if let parsed {
            switch parsed["/a/0" as JSONPointer] {
            case nil, .array, .object: #expect(found == nil, "\(bytes)")
            case let scalar: #expect(found == scalar, "\(bytes)")
            }
        }
    }

    private static func paths(_ value: JSONValue, _ here: String, _ out: inout [String]) {
        let prefix = here.isEmpty ? "" : here + "."
        switch value {
        case .number(let number): if number.double.isFinite { out.append("\(here)=\(number.double)") }
        case .array(let elements): for (i, e) in elements.enumerated() { paths(e, prefix + String(i), &out) }
        case .object(let object): for m in object.members { paths(m.value, prefix + m.key, &out) }
        default: break
        }
    }

    private static func value(depth: Int, _ random: inout SeededRandom) -> JSONValue {
        switch Int.random(in: 0...(depth > 0 ? 7 : 5), using: &random) {
        case 0: return .null
        case 1: return .bool(Bool.random(using: &random))
        case 2: return .number(JSONNumber(Int64(bitPattern: random.next())))
        case 3: return JSONNumber(Double(bitPattern: random.next())).map(JSONValue.number) ?? 1.5
        case 4:
            return .number(
                JSONNumber(Double(Int64.random(in: -99_999...99_999, using: &random)) / 1000) ?? JSONNumber(0))
        case 5: return .string(text(&random))
        case 6: return .array((0..<Int.random(in: 0...4, using: &random)).map { _ in value(depth: depth - 1, &random) })
        default:
            let size = Bool.random(using: &random) ? 4 : 20
            return .object(
                JSONObject(
                    (0..<Int.random(in: 0...size, using: &random)).map { _ in
                        (text(&random), value(depth: depth - 1, &random))
                    }))
        }
    }

    private static func text(_ random: inout SeededRandom) -> String {
        let scalars: [Unicode.Scalar] = [
            "a", "b", "0", " ", "\"", "\\", "/", "\n", "\u{0}", "é", "€", "😀", "\u{2028}", "~",
        ]
        var text = ""
        for _ in 0..<Int.random(in: 1...6, using: &random) {
            text.unicodeScalars.append(scalars.randomElement(using: &random) ?? "x")
        }
        return text
    }
}
