/// How far the civil time of one zone is from Greenwich, and when that changes: a file of the time zone database. Pure.
///
/// Leap seconds are not looked at: instants are counted as POSIX does. Source: RFC 9636.
public struct ZoneRules: Sendable, Equatable {
    /// Larger files are refused; the largest of the database has under 4 KiB.
    public static let bytesMax = 65_536
    static let transitionsMax = 4096

    /// Seconds since 1970, rising, and the offset from each of them on; seconds east of Greenwich.
    private let transitions: [(at: Int64, offset: Int)]
    private let firstOffset: Int
    /// What holds after the last transition; `nil` when nothing changes any more.
    private let footer: YearlyRule?

    public static func == (left: Self, right: Self) -> Bool {
        left.firstOffset == right.firstOffset && left.footer == right.footer
            && left.transitions.elementsEqual(right.transitions) { $0.at == $1.at && $0.offset == $1.offset }
    }

    /// - Returns: `nil` for bytes that are no such file.
    public init?(parsing bytes: [UInt8]) {
        guard bytes.count <= Self.bytesMax, let first = Block(bytes, at: 0, timeBytes: 4) else { return nil }
        guard first.version >= UInt8(ascii: "2") else {
            guard let read = first.read(bytes) else { return nil }
            (transitions, firstOffset, footer) = (read.transitions, read.firstOffset, nil)
            return
        }
        guard let block = Block(bytes, at: first.end, timeBytes: 8), let read = block.read(bytes) else { return nil }
        var rest = bytes[block.end...]
        guard rest.popFirst() == UInt8(ascii: "\n"), let end = rest.firstIndex(of: UInt8(ascii: "\n")) else {
            return nil
        }
        let text = rest[..<end]
        if text.isEmpty {
            footer = nil
        } else {
            guard let rule = YearlyRule(parsing: text) else { return nil }
            footer = rule
        }
        (transitions, firstOffset) = (read.transitions, read.firstOffset)
    }

    /// Seconds east of Greenwich.
    ///
    /// - Parameter time: seconds since 1970, UTC.
    public func offset(at time: Int64) -> Int {
        guard let last = transitions.last else { return footer?.offset(at: time) ?? firstOffset }
        if time >= last.at { return footer?.offset(at: time) ?? last.offset }
        var (low, high) = (0, transitions.count)
        while low < high {
            let middle = (low + high) / 2
            if transitions[middle].at <= time { low = middle + 1 } else { high = middle }
        }
        return low == 0 ? firstOffset : transitions[low - 1].offset
    }

    /// One of the two parts of a file: a header, and what it counts.
    private struct Block {
        private static let headerBytes = 44

        let version: UInt8
        /// Behind its last byte.
        let end: Int
        private let start: Int
        private let timeBytes: Int
        private let timeCount: Int
        private let typeCount: Int

        init?(_ bytes: [UInt8], at start: Int, timeBytes: Int) {
            guard start >= 0, bytes.count - start >= Self.headerBytes,
                bytes[start..<start + 4].elementsEqual("TZif".utf8)
            else { return nil }
            let counts = (0..<6).map { ZoneRules.number(bytes[(start + 20 + 4 * $0)...].prefix(4)) }
            guard counts.allSatisfy({ (0...Int64(ZoneRules.bytesMax)).contains($0) }) else { return nil }
            let (utCount, standardCount, leapCount) = (Int(counts[0]), Int(counts[1]), Int(counts[2]))
            timeCount = Int(counts[3])
            typeCount = Int(counts[4])
            guard timeCount <= ZoneRules.transitionsMax, (1...256).contains(typeCount) else { return nil }
            version = bytes[start + 4]
            self.start = start + Self.headerBytes
            self.timeBytes = timeBytes
            end =
                self.start + timeCount * (timeBytes + 1) + typeCount * 6 + Int(counts[5]) + leapCount * (timeBytes + 4)
                + standardCount + utCount
            guard end <= bytes.count else { return nil }
        }

        func read(_ bytes: [UInt8]) -> (transitions: [(at: Int64, offset: Int)], firstOffset: Int)? {
            let indices = start + timeCount * timeBytes
            let types = indices + timeCount
            var offsets: [Int] = []
            for type in 0..<typeCount {
                let offset = ZoneRules.number(bytes[(types + 6 * type)...].prefix(4))
                // Source: RFC 9636 section 3.2: from -25 hours to 26 hours.
                guard (-90_000...93_600).contains(offset) else { return nil }
                offsets.append(Int(offset))
            }
            var transitions: [(at: Int64, offset: Int)] = []
            for index in 0..<timeCount {
                let time = ZoneRules.number(bytes[(start + index * timeBytes)...].prefix(timeBytes))
                let type = Int(bytes[indices + index])
                guard type < typeCount, transitions.last.map({ $0.at < time }) ?? true else { return nil }
                transitions.append((time, offsets[type]))
            }
            return (transitions, offsets[0])
        }
    }

    /// Big-endian, two's complement.
    private static func number(_ bytes: ArraySlice<UInt8>) -> Int64 {
        let value = bytes.reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        return bytes.count == 4 ? Int64(Int32(truncatingIfNeeded: value)) : Int64(bitPattern: value)
    }
}
