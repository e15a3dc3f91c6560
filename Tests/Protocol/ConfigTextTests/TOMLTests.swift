import ConfigText
import Testing

import class TOMLKit.TOMLArray
import class TOMLKit.TOMLTable
import struct TOMLKit.TOMLValue

@Suite("TOML")
struct TOMLTests {
    static let accepted: [String] = [
        "", "# only a comment", "a = 1", "a=1\n", "a = 1 # comment\r\nb = 2\r\n", "  a  =  \"x\"  ",
        "a = \"\"", "a = 'C:\\x'", "a = \"\\u00E9\\U0001F600\\n\\t\\\"\\\\\"", "a = \"é€😀\"",
        "a = \"\"\"\nfirst\nsecond\"\"\"", "a = \"\"\"one \\\n    two\"\"\"", "a = \"\"\"\"quoted\"\"\"\"",
        "a = '''\n'x' \\n'''",
        "a = 0", "a = +7", "a = -17", "a = 1_000", "a = 0xDEAD_beef", "a = 0o755", "a = 0b1010",
        "a = 9223372036854775807", "a = -9223372036854775808",
        "a = 1.5", "a = -0.01", "a = 5e+22", "a = 1e06", "a = 6.626e-34", "a = 9_224.617_445", "a = inf", "a = -inf",
        "a = true\nb = false",
        "a = []", "a = [1, 2, 3]", "a = [ [1], [\"x\"], ]", "a = [\n  1, # one\n  2,\n]", "a = [{b = 1}, {b = 2}]",
        "a = {}", "a = { b = 1, c.d = 2 }", "a = { \"x y\" = 1 }",
        "a.b.c = 1\na.b.d = 2", "\"a.b\" = 1", "'k' = 1", "1234 = 1", "a-b_c = 1", "\"\" = 1", "a . b = 1",
        "[a]\nb = 1\n[c]\nd = 2", "[a.b.c]\nd = 1\n[a]\nx = 2", "[ a . \"b c\" ]\nd = 1", "[a]\n[a.b]",
        "[[r]]\nx = 1\n[[r]]\nx = 2\n[r.s]\ny = 3\n[[r.t]]\nz = 4", "[[a.b]]\nc = 1",
        "[f]\na.c = 1\n[f.a.t]\ns = true", "true = 1", "inf = 1",
    ]

    @Test("a good document reads as the other reader reads it", arguments: accepted)
    func agrees(text: String) throws {
        let ours = Self.show(.table(try TOMLParser.parse(text)))
        let theirs = Self.show(try TOMLKit.TOMLTable(string: text))
        #expect(ours == theirs)
    }

    static let refused: [(String, Int)] = [
        ("a", 1), ("a =", 1), ("= 1", 1), ("a = 1 b = 2", 1), ("a = 1\na = 2", 2), ("a = x", 1), ("a b = 1", 1),
        ("a = \"x", 1), ("a = \"x\ny\"", 1), ("a = 'x", 1), ("a = \"\"\"x", 1), ("a = \"\\x\"", 1),
        ("a = \"\\u12\"", 1),
        ("a = \"\\uD800\"", 1), ("a = \"\u{1}\"", 1), ("# \u{1}", 1),
        ("a = 01", 1), ("a = 1__0", 1), ("a = _1", 1), ("a = 1_", 1), ("a = 1.", 1), ("a = .5", 1), ("a = 1.e5", 1),
        ("a = 0x", 1), ("a = +0xF", 1), ("a = 9223372036854775808", 1), ("a = True", 1), ("a = 1e", 1),
        ("a = 1.2.3", 1),
        ("a = [1", 1), ("a = [1 2]", 1), ("a = [,]", 1), ("a = {b = 1", 1), ("a = {b = 1, b = 2}", 1),
        ("a = {b = 1,}", 1),
        ("[a", 1), ("[]", 1), ("[a]]", 1), ("[[a]", 1), ("[a]\n[a]", 2), ("a = 1\n[a]", 2), ("a = 1\n[a.b]", 2),
        ("[a] b = 1", 1), ("[[a]]\n[a]", 2), ("[a]\n[[a]]", 2), ("a = [1]\n[[a]]", 2), ("a = {}\n[a.b]", 2),
        ("[f]\na.c = 1\n[f.a]", 3), ("[a.b]\nc = 1\n[a]\nb.d = 2", 4), ("a = 1\na.b = 2", 2), ("a..b = 1", 1),
        ("\n\n  x y", 3),
    ]

    @Test("a broken document is refused at its line, by the other reader too", arguments: refused)
    func refuses(text: String, line: Int) {
        let error = #expect(throws: TOMLError.self) { try TOMLParser.parse(text) }
        #expect(error?.line == line)
        #expect(throws: (any Error).self) { try TOMLKit.TOMLTable(string: text) }
    }

    @Test("dates are refused, for configuration has no use for them")
    func dates() {
        #expect(throws: TOMLError.self) { try TOMLParser.parse("a = 1979-05-27T07:32:00Z") }
    }

    @Test("hostile depth and size are refused")
    func limits() {
        let deep = "a = " + String(repeating: "[", count: 100_000)
        #expect(throws: TOMLError.self) { try TOMLParser.parse(deep) }
        let inline = String(repeating: "a={", count: 100_000)
        #expect(throws: TOMLError.self) { try TOMLParser.parse(inline) }
        let dotted = String(repeating: "a.", count: 100) + "a = 1"
        #expect(throws: TOMLError.self) { try TOMLParser.parse(dotted) }
        #expect(throws: TOMLError.self) { try TOMLParser.parse(String(repeating: "#", count: TOMLParser.bytesMax + 1)) }
    }

    @Test("values know their lines")
    func lines() throws {
        let table = try TOMLParser.parse("a = 1\n\n[b]\nc = \"\"\"\nx\n\"\"\"\nd = [\n 1,\n 2]\ne = 3\n")
        #expect(table["a"]?.line == 1)
        guard case .table(let b)? = table["b"]?.content else { return #expect(Bool(false), "b is a table") }
        #expect(table["b"]?.line == 3)
        #expect(["c", "d", "e"].map { b[$0]?.line } == [4, 7, 10])
    }

    static func show(_ content: ConfigText.TOMLValue.Content) -> String {
        switch content {
        case .text(let text): return "text(\(text))"
        case .integer(let number): return "int(\(number))"
        case .decimal(let number): return "dec(\(number))"
        case .flag(let flag): return "flag(\(flag))"
        case .list(let values): return "[" + values.map { show($0.content) }.joined(separator: ",") + "]"
        case .table(let table):
            return "{"
                + table.keys.sorted().compactMap { key in table[key].map { "\(key):\(show($0.content))" } }.joined(
                    separator: ",") + "}"
        }
    }

    static func show(_ table: TOMLKit.TOMLTable) -> String {
        "{"
            + table.keys.sorted().compactMap { key in table[key].map { "\(key):\(show($0.tomlValue))" } }.joined(
                separator: ",") + "}"
    }

    static func show(_ value: TOMLKit.TOMLValue) -> String {
        if let table = value.table { return show(table) }
        if let array = value.array { return "[" + array.map { show($0.tomlValue) }.joined(separator: ",") + "]" }
        switch value.type {
        case .string: return "text(\(value.string ?? "?"))"
        case .int: return "int(\(value.int ?? 0))"
        case .double: return "dec(\(value.double ?? 0))"
        case .bool: return "flag(\(value.bool ?? false))"
        default: return "?"
        }
    }
}
