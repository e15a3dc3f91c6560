import Expressions
import Primitives
import Testing

@Suite("Expressions: limits")
struct LimitTests {
    private struct Row: CustomTestStringConvertible {
        let claim: String
        let fits: String
        let breaks: String
        let problem: String

        var testDescription: String { claim }
    }

    private static func repeated(_ text: String, _ count: Int) -> String { String(repeating: text, count: count) }

    private static let rows: [Row] = [
        Row(
            claim: "1,024 bytes of text", fits: "1" + repeated(" ", 1023), breaks: "1" + repeated(" ", 1024),
            problem: "at most 1024 bytes"),
        Row(
            claim: "32 parentheses", fits: repeated("(", 32) + "1" + repeated(")", 32),
            breaks: repeated("(", 33) + "1" + repeated(")", 33), problem: "more than 32 deep"),
        Row(
            claim: "32 signs", fits: repeated("-", 32) + "1", breaks: repeated("-", 33) + "1",
            problem: "more than 32 deep"),
        Row(
            claim: "32 times not", fits: repeated("not ", 32) + "true", breaks: repeated("not ", 33) + "true",
            problem: "more than 32 deep"),
        Row(
            claim: "32 calls inside each other", fits: repeated("abs(", 32) + "1" + repeated(")", 32),
            breaks: repeated("abs(", 33) + "1" + repeated(")", 33), problem: "more than 32 deep"),
        Row(
            claim: "32 waiting values", fits: repeated("1+(", 31) + "1" + repeated(")", 31),
            breaks: repeated("1-(", 16) + "min(" + repeated("1,", 15) + "max(2,1))" + repeated(")", 16),
            problem: "more than 32 values wait"),
        Row(
            claim: "256 steps", fits: "1" + repeated("+1", 127), breaks: "1" + repeated("+1", 128),
            problem: "more than 256 values"),
        Row(
            claim: "32 signals", fits: (1...32).map { "s\($0)" }.joined(separator: "+"),
            breaks: (1...33).map { "s\($0)" }.joined(separator: "+"), problem: "at most 32 signals"),
        Row(
            claim: "16 arguments", fits: "sum(1" + repeated(",1", 15) + ")", breaks: "sum(1" + repeated(",1", 16) + ")",
            problem: "at most 16 arguments"),
        Row(
            claim: "128 bytes of metric", fits: repeated("m", 128), breaks: repeated("m", 129),
            problem: "at most 128 bytes"),
        Row(
            claim: "128 bytes of metric in brackets", fits: "[" + repeated("m", 128) + "]",
            breaks: "[" + repeated("m", 129) + "]", problem: "1 to 128 bytes"),
    ]

    @Test(arguments: rows.indices)
    func theLargestIsTakenAndOneMoreIsRefused(_ index: Int) throws {
        let row = Self.rows[index]
        let expression = try SignalExpression(parsing: row.fits)
        _ = expression.number { _ in 1 }
        let error = #expect(throws: ExpressionError.self) { try SignalExpression(parsing: row.breaks) }
        #expect(error?.description.contains(row.problem) == true, "\(row.claim): \(String(describing: error))")
    }

    @Test func aNameIsWrittenAsItIsRead() throws {
        let device = try #require(DeviceID("supply-1"))
        let names = [
            SignalName(metric: "temperature"), SignalName(metric: "a.b_c"), SignalName(metric: "flow-rate"),
            SignalName(metric: "a/b"), SignalName(metric: "odd]name"), SignalName(metric: "a..b"),
            SignalName(metric: "a."), SignalName(metric: "2x"), SignalName(metric: "and"), SignalName(metric: "größe"),
            SignalName(device: device, metric: "a/b]"), SignalName(device: device, metric: "t"),
        ]
        for name in names { #expect(try SignalExpression(parsing: name.description).signals == [name], "\(name)") }
    }

    @Test func aSignalIsAskedForOnceAndNamedOnce() throws {
        var asked: [SignalName] = []
        let expression = try SignalExpression(parsing: "a + b * a + [x/a]") { name in
            asked.append(name)
            return nil
        }
        #expect(expression.signals.map(\.description) == ["a", "b", "[x/a]"])
        #expect(asked == expression.signals)
    }
}
