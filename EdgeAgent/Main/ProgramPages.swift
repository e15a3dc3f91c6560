import Glibc

/// What of the program and its libraries is resident.
///
/// The kernel maps the pages around each one that is touched, and the start touches much that is not used again: the
/// configuration's parser, OpenSSL's own tests, the first lines of every library. On a board those pages count against the
/// limit of the service for as long as it runs.
enum ProgramPages {
    /// Unmaps what came from files and was never written to. What is used comes back at its first use, out of the page
    /// cache: a fault a page or so, a few hundred in all.
    ///
    /// - Returns: bytes that were resident.
    @discardableResult
    static func letGo() -> Int {
        var released = 0
        for mapping in cleanMappings() {
            guard let start = UnsafeMutableRawPointer(bitPattern: mapping.start),
                madvise(start, mapping.byteCount, MADV_DONTNEED) == 0
            else { continue }
            released += mapping.residentBytes
        }
        return released
    }

    struct Mapping {
        var start: UInt = 0
        var byteCount = 0
        var isReadOnlyFile = false
        var residentBytes = 0
        /// Pages of its own that no file could give back.
        var anonymousBytes = 0
    }

    /// Of this process: read-only, from a file, and without a page that differs from the file.
    private static func cleanMappings() -> [Mapping] {
        var mappings: [Mapping] = []
        for line in readLines("/proc/self/smaps") {
            if let mapping = Mapping(heading: line) {
                mappings.append(mapping)
            } else if !mappings.isEmpty {
                mappings[mappings.count - 1].note(line)
            }
        }
        return mappings.filter { $0.isReadOnlyFile && $0.anonymousBytes == 0 && $0.residentBytes > 0 }
    }

    private static func readLines(_ path: String) -> [Substring] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return [] }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 32 * 1024)
        // Some hundred mappings of less than a kilobyte each.
        while bytes.count < 4 * 1024 * 1024 {
            let count = read(descriptor, &piece, piece.count)
            guard count > 0 else { break }
            bytes += piece[..<count]
        }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n")
    }
}

extension ProgramPages.Mapping {
    /// `55d0a000-55d0b000 r-xp 00002000 fe:00 1234 /usr/bin/edge-agent`. Source: proc(5).
    init?(heading line: Substring) {
        let words = line.split(separator: " ", omittingEmptySubsequences: true)
        guard words.count >= 5, let dash = words[0].firstIndex(of: "-"), !words[0].hasSuffix(":"),
            let start = UInt(words[0][..<dash], radix: 16),
            let end = UInt(words[0][words[0].index(after: dash)...], radix: 16), end > start
        else { return nil }
        self.start = start
        byteCount = Int(clamping: end - start)
        isReadOnlyFile =
            words.count >= 6 && words[5].hasPrefix("/") && words[1].hasPrefix("r-") && words[1].hasSuffix("p")
    }

    /// `Rss:                 132 kB`.
    mutating func note(_ line: Substring) {
        let words = line.split(separator: " ", omittingEmptySubsequences: true)
        guard words.count == 3, let kilobytes = Int(words[1]) else { return }
        switch words[0] {
        case "Rss:": residentBytes = kilobytes * 1024
        case "Anonymous:": anonymousBytes = kilobytes * 1024
        default: break
        }
    }
}
