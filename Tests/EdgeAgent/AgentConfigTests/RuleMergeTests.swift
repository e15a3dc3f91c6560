import AgentConfig
import ConfigText
import Primitives
import RuleSets
import Rules
import Testing

/// The file's rules beside those of a set from the hub.
@Suite struct RuleMergeTests {
    private static let hub = "[hub]\nhost = \"h\"\nconnection_string_file = \"/x\"\n"
    private static let broker = """
        [[mqtt]]
        name = "plant"
        host = "127.0.0.1"
        [[mqtt.subscription]]
        topic = "plant/{device}/state"
        """
    private static let line = """
        [[modbus]]
        name = "line"
        port = "/dev/ttyUSB0"
        [[modbus.unit]]
        device = "meter-1"
        [[modbus.unit.register]]
        metric = "relay"
        table = "coil"
        address = 0
        writable = true
        """

    private static func rule(_ name: String, _ more: String = "") -> String {
        "\n[[rule]]\nname = \"\(name)\"\nmetric = \"t\"\nwhen = \"> 1\"\n\(more)\n"
    }

    private func config(_ parts: String...) throws(ConfigError) -> AgentConfig {
        try AgentConfig(toml: Self.hub + parts.joined(separator: "\n"))
    }

    private func set(_ text: String) throws(ConfigError) -> RuleSet { try RuleSet(bytes: Array(text.utf8)) }

    private func problems(_ config: AgentConfig, _ text: String) throws -> [String] {
        let set = try set(text)
        do throws(ConfigError) {
            _ = try config.rules(with: set) { $0.text == "meter-1" }
            return []
        } catch {
            return error.problems.map(\.description)
        }
    }

    @Test func bothRunAndAReplaceableRuleGivesWay() throws {
        let config = try config(Self.broker, Self.rule("a"), Self.rule("b", "replaceable = true"))
        let merged = try config.rules(with: try set(Self.rule("b") + Self.rule("c")), isServed: nil)
        #expect(merged.map(\.rule.name) == ["a", "b", "c"] && !merged[1].isReplaceable)
    }

    @Test func everythingIsSaidAtOnce() throws {
        let config = try config(Self.broker, Self.rule("a"))
        let text =
            Self.rule("a") + Self.rule("b", "then = [{ write = \"meter-1\", register = \"relay\", value = 1 }]")
            + Self.rule(
                "c", "finally = [{ call = \"Reset\", on = \"nobody\" }, { call = \"Reset\", on = \"meter-1\" }]")
        let found = try problems(config, text)
        #expect(found.count == 3, "\(found)")
        for (problem, start) in zip(found, ["rule[1].name", "rule[2].then[1].register", "rule[3].finally[1].on"]) {
            #expect(problem.hasPrefix(start))
        }
    }

    @Test func whatTheGatewayHasMayBeWritten() throws {
        let config = try config(Self.line)
        let relay = "then = [{ write = \"meter-1\", register = \"relay\", value = 1 }]"
        #expect(try problems(config, Self.rule("b", relay)) == [])
        let publish = try problems(config, Self.rule("b", "then = [{ publish = \"a/b\" }]"))
        #expect(publish == ["rule[1].then[1].publish: this gateway has no [[mqtt]] broker"])
    }

    @Test func theFilesOwnActionsAreHeldAgainstTheFile() {
        let relay = "then = [{ write = \"meter-1\", register = \"speed\", value = 1 }]"
        do throws(ConfigError) {
            _ = try config(Self.line, Self.rule("b", relay))
            Issue.record("it was taken")
        } catch {
            #expect(error.problems.count == 1 && error.description.contains("rule[1].then[1].register"), "\(error)")
        }
    }

    @Test func togetherTheyHaveALimit() throws {
        let own = (0..<EdgeRule.countMax).map { Self.rule("r\($0)") }.joined()
        let config = try config(Self.broker, own)
        #expect(try problems(config, Self.rule("one-more")).first?.contains("a gateway has at most 1000") == true)
    }
}
