internal import Glibc
public import TimeZones

/// This machine's time zone database.
public enum SystemZones {
    public static let files = ZoneFiles { read($0) }

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
