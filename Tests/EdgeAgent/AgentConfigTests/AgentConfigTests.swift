import ConfigText
import Foundation
import LocalMQTT
import ModbusDriver
import Pipeline
import Primitives
import RuleSets
import Rules
import Testing

@testable import AgentConfig

@Suite struct AgentConfigTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()
    private static let minimal = """
        [hub]
        host = "hub.example.com"
        connection_string_file = "/etc/edge-agent/hub.connection"
        """

    // MARK: the sample

    @Test func theSampleIsRead() throws {
        let config = try AgentConfig(toml: try Self.sample())
        #expect(config.hub.host == "hub.example.com")
        #expect(config.brokers[0].mqtt.topics[0].units == ["temperature": "Cel", "humidity": "%"])
        #expect(config.lines[0].units[0].registers[0].form == .float32)
        #expect(config.rules[0].whenRaised.count == 1)
        #expect(config.rules[0].rule.hysteresis == 5)
    }

    /// Every key behind `#=` stands at its default: with and without it, the configuration is the same.
    @Test func everyDefaultInTheSampleIsTheDefaultInTheCode() throws {
        let sample = try Self.sample()
        let spelledOut = sample.components(separatedBy: "\n").map { line in
            line.hasPrefix("#= ") ? String(line.dropFirst(3)) : line
        }.joined(separator: "\n")
        #expect(spelledOut != sample)
        let (short, long) = (try AgentConfig(toml: sample), try AgentConfig(toml: spelledOut))
        #expect(Self.described(short) == Self.described(long))
    }

    /// A key that the sample does not name would be found by nobody: asking for every key makes each unknown one say so.
    @Test func everyKeyIsInTheSample() throws {
        let sample = try Self.sample()
        let planted = sample.replacingOccurrences(of: "[outbox]", with: "[outbox]\nno_such_key = 1")
        let error = #expect(throws: ConfigError.self) { try AgentConfig(toml: planted) }
        let text = error?.description ?? ""
        let known = try #require(text.range(of: "outbox.no_such_key: is not a known key; known in [outbox]: "))
        let keys = text[known.upperBound...].prefix { $0 != "\n" }.components(separatedBy: ", ")
        let section = try #require(sample.components(separatedBy: "\n[").first { $0.hasPrefix("outbox]") })
        for key in keys { #expect(section.contains("\(key) = "), "\(key) is not in the sample") }
        #expect(keys.count >= 2)
    }

    // MARK: bad files

    static let invalidCases: [String] = {
        let folder = root.appending(path: "Tests/Golden/agent-config/invalid")
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        return names.filter { $0.hasSuffix(".toml") }.sorted()
    }()

    @Test func thereAreInvalidCases() { #expect(Self.invalidCases.count >= 5) }

    /// The whole report, word for word; a missing expectation is written out and fails.
    @Test(arguments: invalidCases) func aBadFileIsReportedInFull(name: String) throws {
        let file = Self.root.appending(path: "Tests/Golden/agent-config/invalid/\(name)")
        let expectation = file.deletingPathExtension().appendingPathExtension("txt")
        let error = #expect(throws: ConfigError.self) {
            try AgentConfig(toml: try String(contentsOf: file, encoding: .utf8))
        }
        let report = (error?.description ?? "") + "\n"
        guard let expected = try? String(contentsOf: expectation, encoding: .utf8) else {
            try report.write(to: expectation, atomically: true, encoding: .utf8)
            Issue.record("\(expectation.lastPathComponent) was missing and has been written; read it, then commit it")
            return
        }
        #expect(report == expected)
    }

    @Test func aListPathIsWrittenAsTheFileHasIt() {
        #expect(DriverProblems.path("units[0].registers[2].type") == "unit[1].register[3].type")
        #expect(DriverProblems.path("topics[1].device") == "subscription[2].device")
        #expect(DriverProblems.path("baud") == "baud")
    }

    /// The whole value in words, with the members of dictionaries in a fixed order.
    private static func described(_ value: Any) -> String {
        let mirror = Mirror(reflecting: value)
        guard !mirror.children.isEmpty else { return String(reflecting: value) }
        var parts = mirror.children.map { "\($0.label ?? ""): \(described($0.value))" }
        if mirror.displayStyle == .dictionary || mirror.displayStyle == .set { parts.sort() }
        return "\(type(of: value))(\(parts.joined(separator: ", ")))"
    }

    private static func sample() throws -> String {
        try String(contentsOf: root.appending(path: "Deploy/config/edge-agent.toml"), encoding: .utf8)
    }
}
