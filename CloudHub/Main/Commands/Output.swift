import ArgumentParser
import JSON

/// How a list or a single thing is printed.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
    case table, json
}

/// Options that every command of the hub takes.
struct CommonOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The hub's data directory.", valueName: "dir"))
    var data = DataDirectory.defaultPath

    var directory: DataDirectory { DataDirectory(path: data) }
}

/// Prints rows as an aligned table or as JSON.
struct Printer {
    let format: OutputFormat

    /// - Parameter columns: member names in the order of the table.
    func list(_ rows: JSONValue, columns: [String]) {
        switch format {
        case .json: StandardStream.output(rows.text)
        case .table:
            let cells = (rows.arrayValue ?? []).map { row in columns.map { Self.cell(row[$0]) } }
            for line in Self.aligned([columns.map { $0.uppercased() }] + cells) {
                StandardStream.output(line)
            }
        }
    }

    func one(_ value: JSONValue) {
        switch format {
        case .json: StandardStream.output(value.text)
        case .table:
            let rows = (value.objectValue?.members ?? []).map { [$0.key, Self.cell($0.value)] }
            for line in Self.aligned(rows) { StandardStream.output(line) }
        }
    }

    private static func cell(_ value: JSONValue?) -> String {
        switch value {
        case nil, .null?: ""
        case .string(let text)?: text.map { $0.isNewline ? " " : String($0) }.joined()
        case let other?: other.text
        }
    }

    private static func aligned(_ rows: [[String]]) -> [String] {
        guard let width = rows.map(\.count).max() else { return [] }
        let widths = (0..<width).map { column in
            rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0
        }
        return rows.map { row in
            let padded = row.enumerated().map { column, text in
                column == row.count - 1
                    ? text : text + String(repeating: " ", count: widths[column] - text.count)
            }
            return padded.joined(separator: "  ")
        }
    }
}
