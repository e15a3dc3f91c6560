internal import Synchronization

/// A time zone database: each file is read once, when its zone is asked for first. Who reads it is the program's.
public final class ZoneFiles: Sendable {
    /// Where systems have it.
    public static let folder = "/usr/share/zoneinfo"
    /// Zones that are kept; nobody has more.
    static let zonesMax = 1024

    private let read: @Sendable (String) -> [UInt8]
    private let known = Mutex<[String: ZoneRules]>([:])

    /// - Parameter read: the bytes of a file below the database's folder, at most one more than `ZoneRules.bytesMax`;
    ///   empty when there is none.
    public init(read: @escaping @Sendable (_ name: String) -> [UInt8]) { self.read = read }

    /// Whether the text can be the name of a zone: `Europe/Berlin`. Never a way out of the folder.
    public static func isName(_ text: String) -> Bool {
        guard (1...64).contains(text.utf8.count), let first = text.utf8.first else { return false }
        let isLetter: (UInt8) -> Bool = { (65...90).contains($0) || (97...122).contains($0) }
        return isLetter(first) && !text.hasSuffix("/")
            && text.utf8.allSatisfy { byte in
                isLetter(byte) || (48...57).contains(byte) || "/_+-".utf8.contains(byte)
            }
    }

    /// - Returns: `nil` when the database has no such zone, or is not there.
    public func rules(of name: String) -> ZoneRules? {
        known.withLock { known in
            if let found = known[name] { return found }
            guard Self.isName(name), known.count < Self.zonesMax,
                let rules = ZoneRules(parsing: read(name))
            else { return nil }
            known[name] = rules
            return rules
        }
    }

    /// What is wrong with a zone, and what to do; `nil` when it is there.
    public func problem(with name: String) -> String? {
        if rules(of: name) != nil { return nil }
        return "this machine knows no time zone \(name): correct the name, or run apt install tzdata"
    }
}
