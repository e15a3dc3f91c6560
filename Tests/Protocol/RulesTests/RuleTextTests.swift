import Primitives
import Rules
import Testing

@Suite("Rule texts")
struct RuleTextTests {
    @Test func aConditionReadsAndIsWrittenInOneForm() throws {
        let rows: [(text: String, condition: Condition, canonical: String)] = [
            ("> 70", .above(70), "> 70"), (">70", .above(70), "> 70"), ("  >=  -2.5  ", .atLeast(-2.5), ">= -2.5"),
            ("< 1e3", .below(1000), "< 1000"), ("<= +4", .atMost(4), "<= 4"), ("== 0", .equal(0), "== 0"),
            ("!= 1", .notEqual(1), "!= 1"), ("inside 2..8", .inside(2...8), "inside 2..8"),
            ("outside -1.5 .. 1.5", .outside(-1.5...1.5), "outside -1.5..1.5"),
            ("inside2..2", .inside(2...2), "inside 2..2"), ("silent", .silent, "silent"),
            ("> 1e-7", .above(1e-7), "> 1e-07"),
            ("rises 5 per 1m", .changing(.rises, by: 5, per: .seconds(60)), "rises 5 per 1m"),
            ("falls 0.5  per 90s", .changing(.falls, by: 0.5, per: .seconds(90)), "falls 0.5 per 90s"),
            ("changes 5 per 1h30m", .changing(.changes, by: 5, per: .seconds(5400)), "changes 5 per 90m"),
            ("stuck", .stuck(tolerance: 0), "stuck"), ("stuck within .1", .stuck(tolerance: 0.1), "stuck within 0.1"),
            (
                "deviates 3 sigma over 10m", .deviating(.init(sigmas: 3, window: .seconds(600))),
                "deviates 3 sigma over 10m after 30"
            ),
            (
                "deviates 2.5 sigma over 1d floor 0.2 after 7",
                .deviating(.init(sigmas: 2.5, window: .seconds(86_400), floor: 0.2, samplesMin: 7)),
                "deviates 2.5 sigma over 1d floor 0.2 after 7"
            ),
        ]
        for row in rows {
            let read = try Condition(parsing: row.text)
            #expect(read == row.condition, "\(row.text)")
            #expect(read.text == row.canonical, "\(row.text)")
            #expect(try Condition(parsing: read.text) == read, "\(row.text)")
        }
    }

    @Test func aBrokenConditionNamesTheColumnAndWhatIsAllowed() {
        let rows: [(text: String, error: String)] = [
            (
                "",
                "column 1: nothing stands here; allowed are > >= < <= == !=, inside, outside, rises, falls, changes, "
                    + "stuck, deviates and silent"
            ),
            (
                "=> 7",
                "column 1: \"=>\" is no condition; allowed are > >= < <= == !=, inside, outside, rises, falls, "
                    + "changes, stuck, deviates and silent"
            ),
            (
                "  above 7",
                "column 3: \"above\" is no condition; allowed are > >= < <= == !=, inside, outside, rises, falls, "
                    + "changes, stuck, deviates and silent"
            ),
            ("> hot", "column 3: \"hot\" is no number; write one such as 70, -2.5 or 1e6"),
            (">", "column 2: a number is missing; write one such as 70, -2.5 or 1e6"),
            ("> 1e999", "column 3: \"1e999\" is no number; write one such as 70, -2.5 or 1e6"),
            ("> nan", "column 3: \"nan\" is no number; write one such as 70, -2.5 or 1e6"),
            ("> 70 C", "column 6: \"C\" is too much; the condition ends before it"),
            ("inside 2", "column 9: a band needs two dots here, as in 2..8"),
            ("inside 2-8", "column 9: a band needs two dots here, as in 2..8"),
            ("inside 8..2", "column 11: the band's end is below its beginning; write 2..8, not 8..2"),
            ("inside 2..", "column 11: a number is missing; write one such as 70, -2.5 or 1e6"),
            ("silent 5m", "column 8: \"5m\" is too much; the condition ends before it"),
            ("rises 5", "column 8: \"per\" is needed here, as in rises 5 per 1m"),
            ("falls 0 per 1m", "column 7: a number above 0 is needed here"),
            (
                "changes 5 per 1",
                "column 15: \"1\" is no duration that may stand here; write one such as 90s or 10m, from 1s to 30d"
            ),
            ("rises 5 per", "column 12: a duration is missing; write one such as 90s or 10m, from 1s to 30d"),
            ("stuck at 5", "column 7: \"within\" is needed here, as in stuck within 0.1"),
            ("deviates 3 over 10m", "column 12: \"sigma\" is needed here, as in deviates 3 sigma over 10m"),
            (
                "deviates 3 sigma over 10m ceiling 2",
                "column 27: \"ceiling\" may not stand here; allowed are floor, then after, or the end"
            ),
            ("deviates 3 sigma over 10m after 1", "column 33: a number of values from 2 to 100000 is needed here"),
            (String(repeating: ">", count: 101), "column 1: a condition has at most 100 bytes"),
        ]
        for row in rows {
            var found = "it was read"
            do { _ = try Condition(parsing: row.text) } catch { found = error.description }
            #expect(found == row.error, "\(row.text)")
        }
    }

    @Test func anyTextIsReadOrRefusedWithoutATrap() {
        for seed in UInt64(0)..<3000 {
            var random = SeededRandom(seed: seed)
            let letters =
                ["inside", "rises", "stuck", "deviates", "per", "within", "sigma", "over", "1m", "silent"]
                + "<>=!.. -+0123456789eE insideoutsidesilent٣é".map { String($0) }
            let text = (0..<Int.random(in: 0...24, using: &random)).map { _ in
                letters[Int.random(in: 0..<letters.count, using: &random)]
            }.joined()
            if let condition = try? Condition(parsing: text) {
                #expect((try? Condition(parsing: condition.text)) == condition, "seed \(seed): \(text)")
            }
            _ = try? MessageTemplate(parsing: text)
        }
    }

    @Test func aMessageFillsItsHoles() throws {
        let device = try #require(DeviceID("thermostat-1"))
        let rule = try Rule(name: "overheat", metric: "temperature", condition: .above(70))
        let rows: [(template: String, message: String)] = [
            (
                "{metric} of {device} is {value}, over {limit} ({rule})",
                "temperature of thermostat-1 is 71.25, over 70 (overheat)"
            ),
            ("plain", "plain"), ("", ""), ("{{value}} is {value}", "{value} is 71.25"),
            ("{value}{value}", "71.2571.25"),
        ]
        for row in rows {
            let template = try MessageTemplate(parsing: row.template)
            #expect(template.message(rule: rule, device: device, value: "71.25") == row.message)
        }
        let payload = MessageTemplate(keepingOtherBraces: #"{"on":true,"at":{value},"x":{y}}"#)
        #expect(payload.message(rule: rule, device: device, value: "1") == #"{"on":true,"at":1,"x":{y}}"#)
        #expect(
            rule.message.message(rule: rule, device: device, value: "71")
                == "overheat: temperature of thermostat-1 is 71, limit 70")
        let long = try MessageTemplate(parsing: String(repeating: "€{device}", count: 40))
        let longDevice = try #require(DeviceID(String(repeating: "d", count: 128)))
        #expect(long.message(rule: rule, device: longDevice, value: nil).utf8.count == 1024)
    }

    @Test func aBrokenMessageNamesTheColumn() {
        let rows: [(template: String, error: String)] = [
            ("is {valu}", "column 4: {valu} is unknown; allowed are {device} {metric} {value} {limit} {rule}"),
            ("a {value", "column 3: a { without its }; write {{ for the character itself"),
            ("a }", "column 3: a } without its {; write }} for the character itself"),
            (String(repeating: "x", count: 513), "column 1: a message has at most 512 bytes"),
        ]
        for row in rows {
            var found = "it was read"
            do { _ = try MessageTemplate(parsing: row.template) } catch { found = error.description }
            #expect(found == row.error)
        }
    }

    @Test func aRuleNamesAllItsProblemsAtOnce() throws {
        var found = ""
        do {
            _ = try Rule(
                name: "too hot", metric: "", condition: .equal(1), holdTime: .seconds(-1), hysteresis: 2)
        } catch { found = error.description }
        #expect(
            found == "rule \"too hot\": name needs 1 to 100 letters, digits, - _ or .; metric needs 1 to 128 bytes; "
                + "for needs 0s to 30d; hysteresis has no meaning for == 1")
        let rows: [(claim: String, hysteresis: Double, condition: Condition, isAllowed: Bool)] = [
            ("half of the band", 3, .outside(2...8), true), ("over half of the band", 3.1, .outside(2...8), false),
            ("negative", -1, .above(1), false), ("not a number", .nan, .above(1), false),
            ("none", 0, .notEqual(1), true),
            ("under the change", 4.9, .changing(.rises, by: 5, per: .seconds(60)), true),
            ("the whole change", 5, .changing(.rises, by: 5, per: .seconds(60)), false),
            ("under the sigmas", 2, .deviating(.init(sigmas: 3, window: .seconds(60))), true),
            ("all the sigmas", 3, .deviating(.init(sigmas: 3, window: .seconds(60))), false),
        ]
        for row in rows {
            let rule = try? Rule(name: "r", metric: "m", condition: row.condition, hysteresis: row.hysteresis)
            #expect((rule != nil) == row.isAllowed, "\(row.claim)")
        }
        #expect(throws: RuleError.self) { try Rule(name: "r", metric: nil, condition: .above(1)) }
        #expect(throws: RuleError.self) { try Rule(name: "r", metric: nil, condition: .silent) }
        #expect(throws: RuleError.self) { try Rule(name: "r", metric: "m", condition: .stuck(tolerance: 1)) }
        #expect(try Rule(name: "r", metric: nil, condition: .silent, holdTime: .seconds(90)).limitText == "90s")
        #expect(try Rule(name: "r", metric: nil, condition: .silent, holdTime: .seconds(7200)).limitText == "2h")
    }
}
