import Glibc
import Rules
import TimeZones

/// This machine's time zone database.
enum SystemZones {
    static let files = ZoneFiles { read($0) }

    /// What is wrong with the zones that schedules name.
    static func problems(_ rules: [Rule]) -> [String] {
        rules.compactMap { rule in
            guard case .named(let name)? = rule.schedule?.zone else { return nil }
            return files.problem(with: name).map { "rule \(rule.name): time_zone: \($0)" }
        }
    }

    private static func read(_ name: String) -> [UInt8] {
        let file = open("\(ZoneFiles.folder)/\(name)", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return [] }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: ZoneRules.bytesMax + 1)
        var filled = 0
        while filled < bytes.count {
            let count = bytes[filled...].withUnsafeMutableBytes { Glibc.read(file, $0.baseAddress, $0.count) }
            guard count > 0 else { break }
            filled += count
        }
        return Array(bytes[..<filled])
    }
}
