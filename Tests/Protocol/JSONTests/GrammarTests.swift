import JSON
import Primitives
import Testing

@Suite("JSON grammar")
struct GrammarTests {
    @Test(
        "what RFC 8259 allows is read and written back as compact text",
        arguments: [
            ("null", "null"), (" true ", "true"), ("\t\r\nfalse\n", "false"), ("0", "0"), ("-0", "-0"),
            ("-0.0", "-0.0"), ("1E+2", "1E+2"), ("1e-2", "1e-2"), ("0e1", "0e1"), ("0.10", "0.10"),
            ("123456789012345678901234567890.5", "123456789012345678901234567890.5"),
            ("[]", "[]"), ("[ ]", "[]"), ("{}", "{}"), ("{ }", "{}"), ("[1 , 2]", "[1,2]"), ("[[[]]]", "[[[]]]"),
            (#"{"a" : 1 , "b":[ {} ]}"#, #"{"a":1,"b":[{}]}"#), (#"{"":0}"#, #"{"":0}"#),
            (#"{"b":1,"a":2}"#, #"{"b":1,"a":2}"#), (#"{"a":1,"b":2,"a":3}"#, #"{"a":3,"b":2}"#),
            (#""""#, #""""#), (#""\"\\\/\b\f\n\r\t""#, #""\"\\/\b\f\n\r\t""#), (#""\u0041\u00e9""#, #""Aé""#),
            (#""\uD83D\uDE00""#, #""😀""#), (#""\u0000\u001f""#, #""\u0000\u001f""#), ("\"\u{7F}\"", "\"\u{7F}\""),
            ("\"€😀\"", "\"€😀\""), (#""\u2028""#, "\"\u{2028}\""), (#""\uFFFF""#, "\"\u{FFFF}\""),
        ])
    func accepts(input: String, output: String) throws {
        #expect(try JSONValue(parsing: input).text == output)
    }

    @Test(
        "what RFC 8259 forbids is refused with the reason and the place",
        arguments: [
            ("", .unexpectedEnd, 0), ("  ", .unexpectedEnd, 2), ("[", .unexpectedEnd, 1), ("[1", .unexpectedEnd, 2),
            ("[1,", .unexpectedEnd, 3), ("{", .unexpectedEnd, 1), (#"{"a"#, .unexpectedEnd, 3),
            (#"{"a":"#, .unexpectedEnd, 5), (#""a"#, .unexpectedEnd, 2), (#""\"#, .unexpectedEnd, 2),
            ("tru", .unexpectedEnd, 3), ("-", .unexpectedEnd, 1),
            ("[1,]", .unexpectedByte(0x5D), 3), ("[,1]", .unexpectedByte(0x2C), 1), ("[1 2]", .unexpectedByte(0x32), 3),
            ("]", .unexpectedByte(0x5D), 0), (#"{"a":1,}"#, .unexpectedByte(0x7D), 7),
            ("{a:1}", .unexpectedByte(0x61), 1), (#"{"a" 1}"#, .unexpectedByte(0x31), 5),
            (#"{"a":}"#, .unexpectedByte(0x7D), 5), ("{1:1}", .unexpectedByte(0x31), 1),
            ("[1}", .unexpectedByte(0x7D), 2), ("'a'", .unexpectedByte(0x27), 0), ("NaN", .unexpectedByte(0x4E), 0),
            ("+1", .unexpectedByte(0x2B), 0), (".5", .unexpectedByte(0x2E), 0), ("/**/1", .unexpectedByte(0x2F), 0),
            ("\u{FEFF}1", .unexpectedByte(0xEF), 0), ("[\u{A0}1]", .unexpectedByte(0xC2), 1),
            ("truth", .badLiteral, 0), ("nulL", .badLiteral, 0), ("True", .unexpectedByte(0x54), 0),
            ("01", .badNumber, 0), ("-01", .badNumber, 0), ("1.", .badNumber, 0), ("1.e1", .badNumber, 0),
            ("1e", .badNumber, 0), ("1e+", .badNumber, 0), ("-a", .badNumber, 0), ("--1", .badNumber, 0),
            ("1 1", .trailingBytes, 2), ("{}}", .trailingBytes, 2), ("1x", .trailingBytes, 1),
            ("0x10", .trailingBytes, 1),
            (#""\x""#, .badEscape, 1), (#""\u12""#, .badEscape, 1), (#""\u12G4""#, .badEscape, 1),
            (#""\U0041""#, .badEscape, 1),
            (#""\uD800""#, .loneSurrogate, 1), (#""\uDC00""#, .loneSurrogate, 1),
            (#""\uD800\u0041""#, .loneSurrogate, 1),
            (#""\uD800\n""#, .loneSurrogate, 1),
            ("\"\u{01}\"", .controlCharacter(1), 1), ("\"a\nb\"", .controlCharacter(10), 2),
        ] as [(String, JSONError.Problem, Int)])
    func refuses(input: String, problem: JSONError.Problem, offset: Int) {
        #expect(throws: JSONError(problem, offset: offset)) { try JSONValue(parsing: input) }
    }

    @Test(
        "bytes that are not UTF-8 are refused",
        arguments: [
            [0x80], [0xFF], [0xC0, 0x80], [0xE2, 0x82], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80],
            [0xF8, 0x88, 0x80, 0x80, 0x80],
        ] as [[UInt8]])
    func refusesBadUTF8(inside: [UInt8]) {
        #expect(throws: JSONError(.badUTF8, offset: 1)) { try JSONValue(parsing: [0x22] + inside + [0x22]) }
    }

    @Test("nesting is read up to the limit and refused beyond it")
    func depth() throws {
        let limits = JSONLimits(depthMax: 3)
        #expect(try JSONValue(parsing: #"[{"a":[]}]"#, limits: limits).text == #"[{"a":[]}]"#)
        #expect(throws: JSONError(.tooDeep(depthMax: 3), offset: 3)) {
            try JSONValue(parsing: "[[[[]]]]", limits: limits)
        }
        let hostile = [UInt8](repeating: UInt8(ascii: "["), count: 1_000_000)
        #expect(throws: JSONError(.tooDeep(depthMax: 512), offset: 512)) {
            try JSONValue(parsing: hostile, limits: JSONLimits(depthMax: .max))
        }
        #expect(throws: JSONError(.tooDeep(depthMax: 64), offset: 64)) {
            try JSONScanner.numbers(in: hostile) { _, _ in }
        }
    }

    @Test("a text over the size limit is refused before it is read")
    func size() {
        #expect(throws: JSONError(.tooLarge(bytesMax: 4), offset: 4)) {
            try JSONValue(parsing: "[1,2]", limits: JSONLimits(bytesMax: 4))
        }
        #expect(throws: JSONError(.tooLarge(bytesMax: 4), offset: 4)) {
            try JSONScanner.numbers(in: Array("[1,2]".utf8), limits: JSONLimits(bytesMax: 4)) { _, _ in }
        }
    }

    @Test("an error says what and where")
    func errorText() {
        #expect(
            JSONError(.unexpectedByte(0x5D), offset: 3).description == "JSON is broken at byte 3: ']' cannot stand here"
        )
        #expect(
            JSONError(.controlCharacter(10), offset: 12).description
                == "JSON is broken at byte 12: byte 0x0A must be escaped inside a string")
    }

    @Test("bytes that are not in one piece read the same")
    func scattered() throws {
        let text = #"{"a":[1,"x"]}"#
        #expect(try JSONValue(parsing: Array(text.utf8).lazy.map { $0 }).text == text)
    }
}
