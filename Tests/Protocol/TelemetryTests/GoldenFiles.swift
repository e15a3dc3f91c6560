import Foundation

/// Files below Tests/Golden, found from this source file.
enum GoldenFiles {
    static let folder = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("Golden/telemetry")

    static func names(in area: String, ending: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder.appendingPathComponent(area).path)
            .filter { $0.hasSuffix(ending) }.map { String($0.dropLast(ending.count)) }.sorted()
    }

    static func bytes(_ area: String, _ file: String) throws -> [UInt8] {
        Array(try Data(contentsOf: folder.appendingPathComponent(area).appendingPathComponent(file)))
    }

    /// The expectation beside a case. A missing one is written out, for a person to read, and the test fails.
    static func expectation(_ area: String, _ file: String, found: String) throws -> String {
        let url = folder.appendingPathComponent(area).appendingPathComponent(file)
        guard FileManager.default.fileExists(atPath: url.path) else {
            try Data((found + "\n").utf8).write(to: url)
            return "(was missing: written out, check it and run again)"
        }
        return try String(contentsOf: url, encoding: .utf8).trimmingCharacters(in: .newlines)
    }
}
