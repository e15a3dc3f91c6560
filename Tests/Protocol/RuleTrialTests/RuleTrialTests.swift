import ConfigText
import Primitives
import RuleTrial
import Rules
import Telemetry
import Testing

@Suite struct RuleCaseTests {
    private func cases(_ toml: String) throws -> [RuleCase] {
        let root = try ConfigSection(toml: toml)
        let cases = root.sections("rule").flatMap { RuleCase.read($0, of: Rule.read($0, runs: .edge)) }
        try root.finish()
        return cases
    }

    private static let hot = """
        [[rule]]
        name = "hot"
        metric = "temperature"
        when = "> 70"
        for = "1m"
        hysteresis = 5
        [[rule.case]]
        name = "it holds"
        input = ["0s 60", "10s 75", "2m 66", "3m 65"]
        expect = ["1m10s raised", "3m cleared"]

        """

    @Test func aCaseThatHoldsHasNoDifferences() throws {
        let cases = try cases(Self.hot)
        #expect(cases.map(\.name) == ["it holds"])
        #expect(cases[0].differences { _, _ in 0 } == [])
    }

    @Test func aDifferenceSaysWhatWasExpectedAndWhatHappened() throws {
        let cases = try cases(
            Self.hot + """
                [[rule.case]]
                name = "it does not"
                input = ["0s 60", "10s 75", "3m door-1/temperature 90"]
                until = "5m"
                expect = ["1m raised", "4m raised door-1"]
                """)
        #expect(
            cases[1].differences { _, _ in 0 } == [
                "- 1m raised", "+ 1m10s raised device-1  (value 75)",
            ])
    }

    @Test func aScheduleGoesByTheStartOfTheCase() throws {
        let cases = try cases(
            """
            [[rule]]
            name = "door"
            device = "door-1"
            expression = "open == 1 and [alarm/armed] == 1"
            active = ["daily 22:00-06:00"]
            time_zone = "+01:00"
            [[rule.case]]
            name = "an open door counts from ten o'clock on"
            start = "2026-11-16T20:59:00Z"
            input = ["0s open true", "1s alarm/armed 1"]
            until = "9h"
            expect = ["1m raised", "8h1m cleared"]
            [[rule.case]]
            name = "without a clock it is in force"
            input = ["0s open 1", "1s alarm/armed 1"]
            expect = ["1s raised"]
            """)
        for example in cases {
            #expect(example.differences { zone, _ in zone.fixedOffset ?? 0 } == [], "\(example.name)")
        }
    }

    @Test func everyBrokenLineIsSaid() throws {
        let error = #expect(throws: ConfigError.self) {
            try cases(
                """
                [[rule]]
                name = "hot"
                metric = "temperature"
                when = "> 70"
                [[rule.case]]
                input = ["10s 75", "5s 60", "soon 1", "10s"]
                expect = ["1m fires", "raised"]
                start = "today"
                """)
        }
        let report = error?.description ?? ""
        for part in [
            "name: is missing", "\"5s 60\" is earlier", "\"soon 1\": write", "\"10s\": write", "\"1m fires\": write",
            "\"raised\": write", "start = \"today\"",
        ] { #expect(report.contains(part), "\(part) is not in \(report)") }
    }
}

@Suite struct RecordedReadingsTests {
    private static let lines = [
        #"{"time":"2026-11-21T08:00:01.000Z","device":"a","metric":"t","value":"71.25"}"#,
        #"{"time":"2026-11-21T08:00:00.000Z","device":"a","metric":"t","value":true}"#,
        #"{"v":1,"epoch":"9f86d081884c7d65","runs":[["1","2"]],"records":[{"seq":"1","device":"b","metric":"t","value":{"text":"on"},"time":"2026-11-21T08:00:02.000Z"},{"seq":"2","device":"b","fault":{"id":"x"},"time":"2026-11-21T08:00:02.000Z"}]}"#,
        #"{"partition":0,"enqueuedTime":"2026-11-21T08:00:03.000Z","device":"c","body":{"t":5,"u":false,"x":null}}"#,
        "nothing", "",
    ]

    @Test func everyFormOfLineIsReadAndSorted() {
        let read = RecordedReadings(text: Self.lines.joined(separator: "\n"), isCSV: false)
        #expect(
            read.entries.map { "\($0.device)/\($0.metric) \($0.value)" } == [
                "a/t true", "a/t 71.25", "b/t on", "c/t 5", "c/u false",
            ])
        #expect(read.unreadable == [5])
    }

    @Test func columnsMayStandInAnyOrder() {
        let text =
            "metric,note,value,device,time\r\nt,x,1.50,a,2026-11-21T08:00:00Z\r\nt,x,off,a,2026-11-21T08:00:01Z\r\nbad\r\n"
        let read = RecordedReadings(text: text, isCSV: true)
        #expect(read.entries.map(\.value.description) == ["1.50", "off"])
        #expect(read.unreadable == [4])
    }

    @Test func aReplayFiresWhatTheGatewayWouldHave() throws {
        let rules = [
            try Rule(name: "hot", metric: "t", condition: .above(70)),
            try Rule(name: "quiet", metric: nil, condition: .silent, holdTime: .seconds(60)),
        ]
        let start = try #require(WallInstant("2026-11-21T08:00:00Z"))
        let device = try #require(DeviceID("a"))
        var trial = RuleTrial(rules: rules, start: start) { _, _ in 0 }
        var found = trial.take(device, "t", 60, at: .zero)
        found += trial.take(device, "t", 75, at: .seconds(200))
        // Out of order: counts as now.
        found += trial.take(device, "t", 60, at: .seconds(100))
        #expect(
            found.map { "\($0.at) \($0.rule.name) \($0.word) \($0.value ?? "-")" } == [
                "60.0 seconds quiet raised -", "200.0 seconds hot raised 75", "200.0 seconds quiet cleared 75",
                "200.0 seconds hot cleared 60",
            ])
    }
}
