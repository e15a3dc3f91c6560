import ConfigText
import Primitives
import Testing

@Suite("Reading a configuration")
struct ConfigSectionTests {
    @Test("values are read where they stand and defaults where they do not")
    func values() throws {
        let root = try ConfigSection(
            toml: """
                name = "hub"
                [limits]
                wait = "1h30m"
                size = "64KiB"
                count = 7
                ratio = 2
                loud = true
                mode = "edge"
                tags = ["a", "b"]
                [[rule]]
                n = 1
                [[rule]]
                n = 2
                """)
        let limits = root.section("limits")
        #expect(root.text("name", default: "x") == "hub")
        #expect(root.text("other", default: "x") == "x")
        #expect(limits.duration("wait", default: .zero, in: .zero ... .seconds(86400)) == .seconds(5400))
        #expect(limits.bytes("size", default: .mebibytes(1), in: .kibibytes(1) ... .gibibytes(1)).bytes == 65536)
        #expect(limits.integer("count", default: 1, in: 0...10) == 7)
        #expect(limits.decimal("ratio", default: 1, in: 0...10) == 2)
        #expect(limits.flag("loud", default: false))
        #expect(limits.choice("mode", default: 0, ["edge": 1, "hub": 2]) == 1)
        #expect(limits.texts("tags", default: []) == ["a", "b"])
        #expect(root.sections("rule").map { $0.integer("n", default: 0, in: 0...9) } == [1, 2])
        #expect(root.section("absent").isPresent == false)
        #expect(root.section("absent").integer("x", default: 3, in: 0...9) == 3)
        try root.finish()
    }

    @Test("all problems come at once, each with line, key path, given value and what is allowed")
    func allAtOnce() throws {
        let root = try ConfigSection(
            toml: """
                wait = 250
                size = "64"
                [a]
                count = 11
                typo = 1
                flag = "yes"
                [[r]]
                n = 1
                [[r]]
                n = "x"
                [nobody]
                z = 1
                """)
        _ = root.duration("wait", default: .zero, in: .milliseconds(50) ... .seconds(3600))
        _ = root.bytes("size", default: .kibibytes(1), in: .kibibytes(1) ... .gibibytes(1))
        let a = root.section("a")
        _ = a.integer("count", default: 1, in: 0...10)
        _ = a.flag("flag", default: false)
        _ = a.requiredText("must", expected: "a name")
        for rule in root.sections("r") { _ = rule.integer("n", default: 0, in: 0...9) }
        let error = #expect(throws: ConfigError.self) { try root.finish() }
        #expect(
            error?.description == """
                line 1: wait = 250: expected a duration with its unit, such as "90s" or "1h30m", from 50ms to 1h
                line 2: size = "64": expected an amount with its unit, such as "64KiB" or "10GB", from 1KiB to 1GiB
                line 3: a.must: is missing; expected a name
                line 4: a.count = 11: expected a whole number from 0 to 10
                line 5: a.typo: is not a known key; known in [a]: count, flag, must
                line 6: a.flag = "yes": expected true or false
                line 10: r[2].n = "x": expected a whole number from 0 to 9
                line 11: nobody: is not a known key; known at the top: a, r, size, wait
                """)
    }

    @Test("a secret is not shown")
    func secrets() throws {
        let root = try ConfigSection(toml: "key = \"hunter2\"")
        _ = root.optional("key", expected: "base64 of 32 bytes", isSecret: true) { _ in nil as Int? }
        let error = #expect(throws: ConfigError.self) { try root.finish() }
        #expect(error?.description == "line 1: key: expected base64 of 32 bytes")
    }

    @Test("what is not TOML is one problem with its line")
    func notTOML() {
        let error = #expect(throws: ConfigError.self) { try ConfigSection(toml: "a = 1\nb = oops\n") }
        #expect(error?.description == "line 2: 'oops' is no value; a text needs quotes around it")
    }

    @Test("a table where a value belongs, and the other way round, is a problem")
    func wrongShapes() throws {
        let root = try ConfigSection(toml: "a = 1\nr = 2\nl = [1]\n[t]\n")
        _ = root.section("a")
        _ = root.sections("r")
        _ = root.texts("l", default: [])
        _ = root.text("t", default: "")
        let error = #expect(throws: ConfigError.self) { try root.finish() }
        #expect(
            error?.problems.map(\.expected) == [
                "expected a table: [a]", "expected at most 1000 tables: [[r]]", "expected a list of at most 100 texts",
                "expected a text",
            ])
    }
}
