import HubContract
import Testing

@Suite("Property bags")
struct PropertyBagTests {
    @Test(
        "a bag reads into decoded entries and writes back encoded",
        arguments: [
            ("", [], ""), ("?a=1", [("a", "1")], "a=1"), ("a", [("a", nil)], "a"), ("a=", [("a", "")], "a="),
            ("%24.mid=m&b=2", [("$.mid", "m"), ("b", "2")], "%24.mid=m&b=2"),
            ("$.ct=a/b", [("$.ct", "a/b")], "%24.ct=a%2Fb"),
            ("a+b=c+d", [("a+b", "c+d")], "a%2Bb=c%2Bd"),
            ("p%201=v%2F1%26%3D%C3%BC", [("p 1", "v/1&=ü")], "p%201=v%2F1%26%3D%C3%BC"),
            ("a=b=c", [("a", "b=c")], "a=b%3Dc"), ("a=1&&b=2&", [("a", "1"), ("b", "2")], "a=1&b=2"),
            ("a=1&a=2", [("a", "1"), ("a", "2")], "a=1&a=2"),
        ] as [(String, [(String, String?)], String)])
    func reads(text: String, entries: [(String, String?)], encoded: String) throws {
        let bag = try PropertyBag(parsing: text)
        #expect(bag.entries == entries.map { PropertyBag.Entry($0.0, $0.1) })
        #expect(bag.encoded() == encoded)
        #expect(try PropertyBag(parsing: bag.encoded()) == bag)
    }

    @Test(
        "a broken bag is refused by place",
        arguments: [
            ("a=%", .badEncoding(entry: 1)), ("a=1&b=%4", .badEncoding(entry: 2)), ("%GG=1", .badEncoding(entry: 1)),
            ("a=%FF", .badEncoding(entry: 1)), ("=1", .noName(entry: 1)),
            (String(repeating: "a=1&", count: 257), .tooMany),
        ] as [(String, PropertyBagError.Problem)])
    func broken(text: String, problem: PropertyBagError.Problem) {
        let error = #expect(throws: PropertyBagError.self) { try PropertyBag(parsing: text) }
        #expect(error?.problem == problem)
    }

    @Test("system and application properties are told apart")
    func kinds() throws {
        let bag = try PropertyBag(parsing: "%24.mid=m&iothub-ack=full&$.ce=utf-8&x")
        #expect(bag.system("mid") == "m")
        #expect(bag.system("ce") == "utf-8")
        #expect(bag.system("ct") == nil)
        #expect(bag.system.map(\.name) == ["mid", "ce"])
        #expect(bag.application.map(\.name) == ["iothub-ack", "x"])
    }

    @Test(
        "a property is found in raw bytes however it is encoded",
        arguments: [
            ("%24.ct=application%2Fvnd.fieldline.batch%2Bjson&%24.ce=utf-8", true),
            ("a=1&$.ct=application/vnd.fieldline.batch+json", true),
            ("%24%2Ect=application%2fvnd.fieldline.batch+json", true), ("%24.ct=application%2Fjson", false),
            ("%24.ct=application%2Fvnd.fieldline.batch%2Bjsonx", false),
            ("x%24.ct=application%2Fvnd.fieldline.batch%2Bjson", false),
            ("", false), ("%24.ct", false), ("%24.ct=application%2Fvnd.fieldline.batch%2", false), ("%", false),
        ])
    func rawSearch(text: String, expected: Bool) {
        let found = Array(text.utf8).withUnsafeBytes {
            PropertyBag.contains(name: "$.ct", value: "application/vnd.fieldline.batch+json", inRaw: $0)
        }
        #expect(found == expected)
    }
}
