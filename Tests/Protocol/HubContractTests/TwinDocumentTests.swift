import HubContract
import JSON
import Primitives
import Testing

@Suite("Twins")
struct TwinDocumentTests {
    static let start = WallInstant(milliseconds: 1_700_000_000_000)
    static let later = WallInstant(milliseconds: 1_700_000_060_000)

    @Test("a new twin shows a device two empty sections at version 1")
    func fresh() {
        let twin = TwinDocument(at: Self.start)
        #expect(twin.deviceView().text == #"{"desired":{"$version":1},"reported":{"$version":1}}"#)
        #expect(twin.etag == "AAAAAAAAAAE=")
    }

    @Test("reported patches merge, delete with null, and count")
    func reported() throws {
        var twin = TwinDocument(at: Self.start)
        try twin.applyReported(["a": 1, "b": ["c": 1, "d": [1, 2]]], at: Self.later)
        try twin.applyReported(["a": nil, "b": ["c": "x"]], at: Self.later)
        #expect(twin.deviceView()["reported"]?.text == #"{"b":{"c":"x","d":[1,2]},"$version":3}"#)
        #expect(twin.reportedVersion == 3)
        #expect(twin.etag == "AAAAAAAAAAE=", "a device's report breaks no conditional write of the service")
    }

    @Test("a service patch answers what the device is told: the patch with its nulls and the new version")
    func desired() throws {
        var twin = TwinDocument(at: Self.start)
        _ = try twin.patch(
            ["tags": ["site": "x"], "properties": ["desired": ["color": "blue", "o": ["k": 1]]]], at: Self.later)
        let change = try twin.patch(["properties": ["desired": ["color": nil, "o": ["j": 2]]]], at: Self.later)
        #expect(change?.version == 3)
        #expect(change?.body.text == #"{"color":null,"o":{"j":2},"$version":3}"#)
        #expect(twin.deviceView()["desired"]?.text == #"{"o":{"k":1,"j":2},"$version":3}"#)
        #expect(try twin.patch(["tags": ["site": nil]], at: Self.later) == nil)
        #expect(twin.tags.isEmpty)
        #expect(twin.desiredVersion == 3)
        #expect(twin.version == 4)
        #expect(twin.etag == "AAAAAAAAAAQ=")
    }

    @Test("sections that are null are sections that were not sent")
    func nullSections() throws {
        var twin = TwinDocument(at: Self.start)
        _ = try twin.patch(["tags": ["a": 1], "properties": ["desired": ["x": 1]]], at: Self.later)
        #expect(try twin.patch(["tags": nil, "properties": ["desired": nil]], at: Self.later) == nil)
        #expect(try twin.patch(["tags": ["b": 2], "properties": nil], at: Self.later) == nil)
        #expect(twin.tags == ["a": 1, "b": 2])
        #expect(twin.deviceView()["desired"]?["x"] == 1)
    }

    @Test("a replacement empties what it does not name and ignores the versions that a read twin carries back")
    func replace() throws {
        var twin = TwinDocument(at: Self.start)
        _ = try twin.patch(["tags": ["a": 1], "properties": ["desired": ["x": 1, "y": 2]]], at: Self.later)
        let change = try twin.replace(
            ["properties": ["desired": ["x": 5, "n": nil, "$version": 77, "$metadata": ["$lastUpdated": "z"]]]],
            at: Self.later)
        #expect(change?.body.text == #"{"x":5,"$version":3}"#)
        #expect(twin.tags.isEmpty)
        #expect(twin.desired.metadata.keys == ["$lastUpdated", "$lastUpdatedVersion", "x"])
    }

    @Test("metadata says when and with which version each property was written")
    func metadata() throws {
        var twin = TwinDocument(at: Self.start)
        _ = try twin.patch(["properties": ["desired": ["a": ["b": 1, "c": 2], "z": 1]]], at: Self.start)
        _ = try twin.patch(["properties": ["desired": ["a": ["b": 9], "z": nil]]], at: Self.later)
        try twin.applyReported(["r": ["s": 1]], at: Self.later)
        try twin.applyReported(["r": 5], at: Self.later)
        let view = twin.servicePropertiesView()
        #expect(
            view["desired"]?["$metadata"]?.text
                == #"{"$lastUpdated":"2023-11-14T22:14:20Z","$lastUpdatedVersion":3,"a":{"$lastUpdated":"2023-11-14T22:14:20Z","$lastUpdatedVersion":3,"b":{"$lastUpdated":"2023-11-14T22:14:20Z","$lastUpdatedVersion":3},"c":{"$lastUpdated":"2023-11-14T22:13:20Z","$lastUpdatedVersion":2}}}"#
        )
        #expect(view["reported"]?["$metadata"]?["r"]?.text == #"{"$lastUpdated":"2023-11-14T22:14:20Z"}"#)
    }

    @Test("a write on a stale version or ETag fails with 412 and changes nothing")
    func conditions() throws {
        var twin = TwinDocument(at: Self.start)
        let before = twin
        let stale = #expect(throws: HubError.self) { try twin.applyReported(["a": 1], ifVersion: 9, at: Self.later) }
        #expect(
            stale?.description
                == "PreconditionFailed (412001): the reported properties have version 1, not 9; get the twin and try again"
        )
        let etag = #expect(throws: HubError.self) {
            try twin.patch(["tags": ["a": 1]], ifMatch: ETagCondition(header: "\"AAAAAAAAAAI=\""), at: Self.later)
        }
        #expect(etag?.code == .preconditionFailed)
        #expect(twin == before)
        try twin.applyReported(["a": 1], ifVersion: 1, at: Self.later)
        _ = try twin.patch(["tags": ["a": 1]], ifMatch: ETagCondition(header: "\"AAAAAAAAAAE=\""), at: Self.later)
        _ = try twin.patch(["tags": ["a": 2]], ifMatch: ETagCondition(header: "\"*\""), at: Self.later)
    }

    static let deep10: JSONValue = (0..<10).reduce("leaf" as JSONValue) { inner, _ in ["k": inner] }

    static let refused: [(patch: JSONValue, text: String)] = [
        ([1], "the reported properties are not a JSON object"),
        (
            ["a": ["b.c": 1]],
            "the reported properties are refused at 'a': the key 'b.c' has a character that keys cannot have ('.', '$', space or a control character)"
        ),
        (
            ["$x": 1],
            "the reported properties are refused: the key '$x' has a character that keys cannot have ('.', '$', space or a control character)"
        ),
        (
            ["a b": nil],
            "the reported properties are refused: the key 'a b' has a character that keys cannot have ('.', '$', space or a control character)"
        ),
        (
            ["a\u{85}": 1],
            "the reported properties are refused: the key 'a\u{FFFD}' has a character that keys cannot have ('.', '$', space or a control character)"
        ),
        (["": 1], "the reported properties are refused: a key is empty"),
        (
            [String(repeating: "k", count: 1025): 1],
            "the reported properties are refused: a key has 1025 bytes; at most 1024 are allowed"
        ),
        (
            ["a": .string(String(repeating: "v", count: 4097))],
            "the reported properties are refused at 'a': the text has 4097 bytes; at most 4096 are allowed"
        ),
        (
            ["a": 4_503_599_627_370_496],
            "the reported properties are refused at 'a': the whole number 4503599627370496 is outside -4503599627370496 to 4503599627370495"
        ),
        (
            ["a": -4_503_599_627_370_497],
            "the reported properties are refused at 'a': the whole number -4503599627370497 is outside -4503599627370496 to 4503599627370495"
        ),
        (
            ["k": ["k": deep10]],
            "the reported properties are refused at 'k.k.k.k.k.k.k.k.k.k.k': it nests more than 10 levels deep"
        ),
    ]

    @Test("what a twin cannot hold is refused with the place and the rule, and changes nothing", arguments: refused)
    func refuses(patch: JSONValue, text: String) {
        var twin = TwinDocument(at: Self.start)
        let before = twin
        let error = #expect(throws: HubError.self) { try twin.applyReported(patch, at: Self.later) }
        #expect(error?.message == text)
        #expect(error?.httpStatus == 400)
        #expect(twin == before)
    }

    @Test("the limits themselves are allowed")
    func limits() throws {
        var twin = TwinDocument(at: Self.start)
        try twin.applyReported(
            [
                "low": -4_503_599_627_370_496, "high": 4_503_599_627_370_495,
                "text": .string(String(repeating: "v", count: 4096)),
                String(repeating: "k", count: 1024): 1.5, "__t": "c",
            ], at: Self.later)
        try twin.applyReported(["k": Self.deep10], at: Self.later)
    }

    @Test("a section is measured as it would stand after the write")
    func sizes() throws {
        var twin = TwinDocument(at: Self.start)
        let block = JSONValue.string(String(repeating: "v", count: 4095))
        for key in ["a", "b", "c", "d", "e", "f", "g", "h"] { try twin.applyReported([key: block], at: Self.later) }
        let error = #expect(throws: HubError.self) { try twin.applyReported(["i": true], at: Self.later) }
        #expect(error?.message == "the reported properties would take 32773 bytes; at most 32768 are allowed")
        try twin.applyReported(["h": nil, "i": true], at: Self.later)
        _ = try twin.patch(["tags": ["a": block]], at: Self.later)
        let tags = #expect(throws: HubError.self) {
            try twin.patch(["tags": ["b": block, "c": 1]], at: Self.later)
        }
        #expect(tags?.message == "the tags would take 8201 bytes; at most 8192 are allowed")
    }

    @Test("what is stored reads back the same")
    func storage() throws {
        var twin = TwinDocument(at: Self.start)
        twin.modelID = "dtmi:a;1"
        _ = try twin.patch(["tags": ["x": 1], "properties": ["desired": ["y": [1]]]], at: Self.later)
        try twin.applyReported(["z": ["w": nil, "v": 0.5]], at: Self.later)
        #expect(TwinDocument(stored: try JSONValue(parsing: twin.stored().serialized())) == twin)
        #expect(TwinDocument(stored: ["tags": 1]) == nil)
    }
}
