import Foundation

/// The project's own files as the tests about the source see them.
struct SourceTree {
    let root: URL

    init(testFile: StaticString = #filePath) {
        root = URL(fileURLWithPath: "\(testFile)").deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
    }

    struct SourceFile {
        /// Relative to the root.
        let path: String
        let lines: [String]
    }

    func text(_ path: String) throws -> String { try String(contentsOf: root.appending(path: path), encoding: .utf8) }

    /// Every Swift file below the given folders, in order of path.
    func swiftFiles(below folders: [String]) throws -> [SourceFile] { try files(below: folders, endingIn: [".swift"]) }

    /// Every file below the given folders whose name ends so, in order of path.
    func files(below folders: [String], endingIn endings: [String]) throws -> [SourceFile] {
        try folders.flatMap { folder -> [SourceFile] in
            let names = try FileManager.default.subpathsOfDirectory(atPath: root.appending(path: folder).path)
            let wanted = names.filter { name in endings.contains { name.hasSuffix($0) } && !name.contains(".build") }
            return try wanted.sorted().map { name in
                let path = "\(folder)/\(name)"
                return SourceFile(path: path, lines: try text(path).components(separatedBy: "\n"))
            }
        }
    }

    /// Rooms and programs of the manifest, without those of the tests: name and folder.
    func rooms() throws -> [(name: String, path: String)] {
        let manifest = try text("Package.swift").replacingOccurrences(of: "\n", with: " ")
        let pattern = #/(?:room|program|library)\(\s*"([^"]+)",\s*"([^"]+)"/#
        return manifest.matches(of: pattern).map { (String($0.1), String($0.2)) }.filter { !$0.1.hasPrefix("Tests/") }
    }

    /// The table "Who may import whom" of ARCHITECTURE.md: room to allowed modules.
    func importTable() throws -> [String: Set<String>] {
        let text = try text("ARCHITECTURE.md")
        guard let start = text.range(of: "| room | may import |") else { return [:] }
        var table: [String: Set<String>] = [:]
        for line in text[start.upperBound...].split(separator: "\n", omittingEmptySubsequences: false).dropFirst(2) {
            guard line.hasPrefix("|") else { break }
            let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            guard let room = cells.first else { continue }
            let allowed = cells.count > 1 ? cells[1].split(separator: ",") : []
            table[room] = Set(allowed.map { $0.trimmingCharacters(in: .whitespaces) }.filter { $0 != "nothing" })
        }
        return table
    }
}
