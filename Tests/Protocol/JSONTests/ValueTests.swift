import JSON
import Testing

@Suite("JSON values")
struct ValueTests {
    @Test(
        "whole numbers convert when they are whole and fit",
        arguments: [
            ("5", 5), ("-0", 0), ("5.0", 5), ("1e3", 1000), ("9223372036854775807", .max), ("9223372036854775808", nil),
            ("1.5", nil), ("1e400", nil), ("1e19", nil), ("-9223372036854775808", .min),
        ] as [(String, Int64?)])
    func int64(text: String, expected: Int64?) throws {
        #expect(try JSONValue(parsing: text).int64Value == expected)
    }

    @Test("a double writes as the shortest text that reads back the same, and has no infinities")
    func doubles() {
        #expect(JSONNumber(71.0)?.text == "71")
        #expect(JSONNumber(0.1)?.text == "0.1")
        #expect(JSONNumber(1e21)?.text == "1e+21")
        #expect(JSONNumber(Double.infinity) == nil)
        #expect(JSONNumber(Double.nan) == nil)
    }

    @Test("only one whole number is a number text", arguments: ["", " 1", "1 ", "01", "1.", "0x1", "1,2", "NaN", "+1"])
    func badNumberText(text: String) { #expect(JSONNumber(text: text) == nil) }

    @Test("decimal digits survive", arguments: ["0.100000000000000000001", "1E5", "-0.0", "100000000000000000000000"])
    func digitsKept(text: String) throws {
        #expect(JSONNumber(text: text)?.text == text)
        #expect(try JSONValue(parsing: "[\(text)]").text == "[\(text)]")
    }

    @Test("object members keep their order; removing and setting again moves to the end")
    func order() {
        var object: JSONObject = ["b": 1, "a": 2, "c": 3]
        object["a"] = 5
        #expect(object.keys == ["b", "a", "c"])
        object["b"] = nil
        object["b"] = 9
        #expect(JSONValue.object(object).text == #"{"a":5,"c":3,"b":9}"#)
        #expect(object.removeValue(forKey: "nothing") == nil)
    }

    @Test("objects are equal whatever their order, and hash alike")
    func equality() {
        let left: JSONValue = ["a": 1, "b": ["c": nil]]
        let right: JSONValue = ["b": ["c": nil], "a": 1]
        #expect(left == right)
        #expect(left.hashValue == right.hashValue)
        #expect(left != ["a": 1])
        #expect(left != ["a": 1, "b": ["d": nil]])
    }

    @Test("an object of many members finds, replaces and removes them")
    func large() {
        var object = JSONObject()
        for number in 0..<1000 { object["k\(number)"] = .number(JSONNumber(number)) }
        object["k500"] = "x"
        #expect(object.count == 1000)
        #expect(object["k500"] == "x")
        #expect(object["k999"] == 999)
        object.removeAll { key, _ in key.hasSuffix("7") }
        #expect(object.count == 900)
        #expect(object["k997"] == nil)
        #expect(object["k998"] == 998)
        #expect(object.members[7].key == "k8")
    }

    @Test(
        "merge patch does what RFC 7396 appendix A says",
        arguments: [
            (#"{"a":"b"}"#, #"{"a":"c"}"#, #"{"a":"c"}"#), (#"{"a":"b"}"#, #"{"b":"c"}"#, #"{"a":"b","b":"c"}"#),
            (#"{"a":"b"}"#, #"{"a":null}"#, "{}"), (#"{"a":"b","b":"c"}"#, #"{"a":null}"#, #"{"b":"c"}"#),
            (#"{"a":["b"]}"#, #"{"a":"c"}"#, #"{"a":"c"}"#), (#"{"a":"c"}"#, #"{"a":["b"]}"#, #"{"a":["b"]}"#),
            (#"{"a":{"b":"c"}}"#, #"{"a":{"b":"d","c":null}}"#, #"{"a":{"b":"d"}}"#),
            (#"{"a":[{"b":"c"}]}"#, #"{"a":[1]}"#, #"{"a":[1]}"#), (#"["a","b"]"#, #"["c","d"]"#, #"["c","d"]"#),
            (#"{"a":"b"}"#, #"["c"]"#, #"["c"]"#), (#"{"a":"foo"}"#, "null", "null"),
            (#"{"a":"foo"}"#, #""bar""#, #""bar""#), (#"{"e":null}"#, #"{"a":1}"#, #"{"e":null,"a":1}"#),
            (#"[1,2]"#, #"{"a":"b","c":null}"#, #"{"a":"b"}"#),
            ("{}", #"{"a":{"bb":{"ccc":null}}}"#, #"{"a":{"bb":{}}}"#),
        ])
    func mergePatch(target: String, patch: String, result: String) throws {
        #expect(try JSONValue(parsing: target).merging(patch: JSONValue(parsing: patch)).text == result)
    }

    @Test(
        "pointers do what RFC 6901 section 5 says",
        arguments: [
            ("/foo", #"["bar","baz"]"#), ("/foo/0", #""bar""#), ("/", "0"), ("/a~1b", "1"), ("/c%d", "2"),
            ("/e^f", "3"),
            ("/g|h", "4"), ("/i\\j", "5"), ("/k\"l", "6"), ("/ ", "7"), ("/m~0n", "8"), ("/foo/2", nil),
            ("/foo/01", nil),
            ("/foo/-", nil), ("/foo/bar", nil), ("/nothing", nil), ("//", nil),
        ] as [(String, String?)])
    func pointers(pointer: String, expected: String?) throws {
        let text = #"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#
        let place = try #require(JSONPointer(pointer))
        #expect(place.description == pointer)
        let document = try JSONValue(parsing: text)
        #expect(document[place]?.text == expected)
        let scanned = try JSONScanner.scalar(at: place, in: Array(text.utf8))
        #expect(scanned?.text == (expected?.hasPrefix("[") == true ? nil : expected))
    }

    @Test("a pointer without its slash or with a broken escape is none", arguments: ["a", "/a~", "/~2", "a/b"])
    func badPointers(text: String) { #expect(JSONPointer(text) == nil) }

    @Test("the scanner gives numbers with dotted paths, escapes resolved, huge ones left out")
    func numbers() throws {
        let text = #"{"t":21.5,"a":{"b":[1,{"c":-2e1}],"s":"9"},"\u0078.y":3,"huge":1e999,"z":true}"#
        var seen: [String] = []
        try JSONScanner.numbers(in: Array(text.utf8)) { seen.append("\($0)=\($1)") }
        #expect(seen == ["t=21.5", "a.b.0=1.0", "a.b.1.c=-20.0", "x.y=3.0"])
        var root: [String] = []
        try JSONScanner.numbers(in: Array(" 7 ".utf8)) { root.append("\($0)=\($1)") }
        #expect(root == ["=7.0"])
    }

    @Test(
        "objects have one shape when names, order and kinds are the same",
        arguments: [
            (#"{"a":1,"b":"x"}"#, #"{ "a" : -2e3, "b" : "longer" }"#, true), (#"{"a":true}"#, #"{"a":false}"#, true),
            (#"{"a":{"b":1}}"#, #"{"a":[1,{"c":"]}"}]}"#, true), (#"{"a":1,"b":2}"#, #"{"b":2,"a":1}"#, false),
            (#"{"a":1}"#, #"{"a":null}"#, false), (#"{"a":1}"#, #"{"a":"1"}"#, false),
            (#"{"ab":1,"c":1}"#, #"{"a":1,"bc":1}"#, false), (#"{"a":1}"#, #"{"a":1,"b":1}"#, false),
            (#"{}"#, #"{"":1}"#, false),
        ])
    func shapes(_ one: String, _ other: String, areSame: Bool) throws {
        let first = try #require(try JSONScanner.shape(of: one.utf8))
        #expect((try JSONScanner.shape(of: other.utf8) == first) == areSame)
    }

    @Test("one number is found by pointer; of a repeated name the last counts")
    func numberAtPointer() {
        let bytes = Array(#"{"a":{"t":1},"a":{"t":[0,-0.25]}}"#.utf8)
        #expect(JSONScanner.number(at: "/a/t/1", in: bytes) == -0.25)
        #expect(JSONScanner.number(at: "/a/t", in: bytes) == nil)
        #expect(JSONScanner.number(at: "", in: Array("12".utf8)) == 12)
        #expect(JSONScanner.number(at: "/a", in: Array(#"{"a":1} x"#.utf8)) == nil)
    }

    @Test(
        "the short way to a double gives the nearest double",
        arguments: [
            "0.1", "0.3", "123456789.012345", "999999999999999", "0.000000000000001", "1234567890123456789",
            "0.1234567890123456789", "-273.15", "5e-324", "1.7976931348623157e308", "-0", "-0.0",
        ])
    func exactDoubles(text: String) throws {
        var seen: Double?
        try JSONScanner.numbers(in: Array(text.utf8)) { seen = $1 }
        #expect(seen?.bitPattern == Double(text)?.bitPattern)
    }
}
