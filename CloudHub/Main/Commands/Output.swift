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
            for line in Self.table(rows.arrayValue ?? [], columns) { StandardStream.output(line) }
        }
    }

    /// As a table, what is made of several things comes after the rest, each below its name.
    func one(_ value: JSONValue) {
        switch format {
        case .json: StandardStream.output(value.text)
        case .table:
            let members = value.objectValue?.members ?? []
            for line in Self.aligned(members.filter { Self.part($0.value) == nil }.map(Self.row)) {
                StandardStream.output(line)
            }
            for member in members {
                guard let part = Self.part(member.value) else { continue }
                StandardStream.output("\(member.key):")
                for line in part { StandardStream.output("  " + line) }
            }
        }
    }

    private static func row(_ member: (key: String, value: JSONValue)) -> [String] { [member.key, cell(member.value)] }

    /// The lines of a list of things, or of a thing with members; `nil` for what fits behind its name.
    private static func part(_ value: JSONValue) -> [String]? {
        if let object = value.objectValue, !object.isEmpty { return aligned(object.members.map(row)) }
        guard let rows = value.arrayValue, let columns = rows.first?.objectValue?.keys else { return nil }
        return table(rows, columns)
    }

    private static func table(_ rows: [JSONValue], _ columns: [String]) -> [String] {
        aligned([columns.map { $0.uppercased() }] + rows.map { row in columns.map { cell(row[$0]) } })
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
