import MQTTSession
import Primitives
import Testing

/// Section 4.7.
struct TopicFilterTests {
    static let rows: [(filter: String, name: String, matches: Bool)] = [
        // The specification's own examples.
        ("sport/tennis/player1/#", "sport/tennis/player1", true),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
        ("sport/#", "sport", true),
        ("#", "sport", true),
        ("#", "/", true),
        ("sport/tennis/+", "sport/tennis/player1", true),
        ("sport/tennis/+", "sport/tennis/player1/ranking", false),
        ("sport/+", "sport", false),
        ("sport/+", "sport/", true),
        ("+/+", "/finance", true),
        ("/+", "/finance", true),
        ("+", "/finance", false),
        ("#", "$SYS/uptime", false),
        ("+/monitor/Clients", "$SYS/monitor/Clients", false),
        ("$SYS/#", "$SYS/uptime", true),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
        ("ACCOUNTS", "Accounts", false),
        ("finance", "/finance", false),
        // Edges.
        ("a", "ab", false),
        ("ab", "a", false),
        ("a/", "a", false),
        ("a/#", "ab", false),
        ("a/+/c", "a//c", true),
        ("a/+/c", "a/b/d", false),
        ("+/#", "a", true),
        ("+/+/#", "a", false),
        ("a/+/#", "a/b", true),
        ("é/+", "é/☃", true),
        ("a/$b", "a/$b", true),
        ("a/+", "a/$b", true),
    ]

    @Test(arguments: rows)
    func matchesAsTheSpecificationSays(filter: String, name: String, matches: Bool) throws {
        let filter = try #require(TopicFilter(filter))
        let name = try #require(TopicName(name))
        #expect(filter.matches(name) == matches)
    }

    @Test(arguments: ["", "a#", "a/#/b", "#/a", "##", "a+", "+a", "a/+b/c", "++", "a\0", "+#", "#+"])
    func misplacedWildcardsAreNoFilter(_ text: String) { #expect(TopicFilter(text) == nil) }

    @Test(arguments: ["#", "+", "/", "//", "+/+", "/+/", "a/+/#", " ", "$share"])
    func theseAreFilters(_ text: String) { #expect(TopicFilter(text)?.text == text) }

    @Test(arguments: ["", "+", "a/#", "a\0b", String(repeating: "x", count: 65_536)])
    func theseAreNoNames(_ text: String) { #expect(TopicName(text) == nil) }

    @Test func longestNameMatches() throws {
        let long = String(repeating: "x/", count: 32_767) + "x"
        #expect(try #require(TopicFilter(long)).matches(try #require(TopicName(long))))
        #expect(TopicFilter(long + "x") == nil)
    }

    /// Against a matcher that splits into levels and is right by being plain.
    @Test func agreesWithANaiveMatcher() throws {
        var matched = 0
        for seed in UInt64(0)..<20_000 {
            var random = SeededRandom(seed: seed)
            let name = Self.levels(["a", "b", "", "$s"], &random)
            var filter = Self.levels(["a", "b", "", "$s", "+", "+"], &random)
            if Bool.random(using: &random) { filter += (filter.isEmpty ? "" : "/") + "#" }
            guard let topicName = TopicName(name), let topicFilter = TopicFilter(filter) else { continue }
            let expected = Self.naive(filter, name)
            matched += expected ? 1 : 0
            #expect(topicFilter.matches(topicName) == expected, "seed \(seed): \(filter) on \(name)")
        }
        #expect(matched > 500, "the rows have to reach both answers")
    }

    private static func levels(_ alphabet: [String], _ random: inout SeededRandom) -> String {
        (0...Int.random(in: 0...3, using: &random)).map { _ in alphabet.randomElement(using: &random) ?? "" }
            .joined(separator: "/")
    }

    private static func naive(_ filter: String, _ name: String) -> Bool {
        let filterLevels = filter.split(separator: "/", omittingEmptySubsequences: false)
        let nameLevels = name.split(separator: "/", omittingEmptySubsequences: false)
        if name.hasPrefix("$"), filterLevels[0] == "+" || filterLevels[0] == "#" { return false }
        for (index, level) in filterLevels.enumerated() {
            if level == "#" { return nameLevels.count >= index }
            guard index < nameLevels.count, level == "+" || level == nameLevels[index] else { return false }
        }
        return filterLevels.count == nameLevels.count
    }
}
