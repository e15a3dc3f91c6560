import Expressions
import Foundation
import Testing

/// Lines of fields between bars; lines that begin with # and empty ones are left out.
enum GoldenTable {
    static func rows(_ name: String, by bar: String, testFile: StaticString = #filePath) throws -> [[String]] {
        let url = URL(fileURLWithPath: "\(testFile)").deletingLastPathComponent()
            .appending(path: "../../Golden/expressions/\(name)")
        return try String(contentsOf: url, encoding: .utf8).split(separator: "\n").filter { !$0.hasPrefix("#") }
            .map { line in
                line.components(separatedBy: bar).map { $0.trimmingCharacters(in: .whitespaces) }
            }
    }
}

@Suite("Expressions: golden tables")
struct GoldenTests {
    @Test func everyValueIsAsTheTableSays() throws {
        let rows = try GoldenTable.rows("values.txt", by: "|")
        #expect(rows.count > 100)
        for row in rows {
            try #require(row.count == 3, "\(row)")
            let (text, inputs, expected) = (row[0], row[1], row[2])
            let expression = try SignalExpression(parsing: text)
            let values = try values(inputs)
            let read = { (index: Int) -> Double? in values[expression.signals[index].description] ?? nil }
            let found: String
            switch expression.kind {
            case .number: found = expression.number(read).map { "\($0)" } ?? "unknown"
            case .boolean: found = expression.truth(read).map { "\($0)" } ?? "unknown"
            }
            let wanted = Double(expected).map { "\($0)" } ?? expected
            #expect(found == wanted, "\(text) with \(inputs)")
        }
    }

    @Test func everyErrorSaysWhereAndWhatMayStandThere() throws {
        let rows = try GoldenTable.rows("errors.txt", by: " | ")
        #expect(rows.count > 40)
        for row in rows {
            let kind: SignalExpression.Kind? = ["number": .number, "boolean": .boolean][row[row.count - 2]]
            let text = row[..<(row.count - 2)].joined(separator: " | ")
            do {
                _ = try SignalExpression(parsing: text, as: kind) {
                    $0.metric == "unheard" ? "is not read here" : nil
                }
                Issue.record("\(text) was taken")
            } catch {
                #expect("\(error)" == row[row.count - 1], "\(text)")
            }
        }
    }

    private func values(_ inputs: String) throws -> [String: Double?] {
        var values: [String: Double?] = [:]
        for input in inputs.components(separatedBy: ", ") where !input.isEmpty {
            let parts = input.components(separatedBy: " = ")
            try #require(parts.count == 2, "\(input)")
            values[parts[0]] = .some(Double(parts[1]))
        }
        return values
    }
}
