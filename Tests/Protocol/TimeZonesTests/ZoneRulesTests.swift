import Testing
import TimeZones

@Suite struct ZoneRulesTests {
    /// A version 2 file: nothing in its first part, the given transitions in its second, and a footer.
    static func file(_ transitions: [(Int64, UInt8)], types: [Int32], footer: String) -> [UInt8] {
        func big(_ value: Int64, _ bytes: Int) -> [UInt8] {
            (0..<bytes).reversed().map { UInt8(truncatingIfNeeded: value >> (8 * Int64($0))) }
        }
        func header(_ times: Int, _ types: Int) -> [UInt8] {
            Array("TZif2".utf8) + [UInt8](repeating: 0, count: 15)
                + [0, 0, 0, times, types, 4].flatMap { big(Int64($0), 4) }
        }
        let type = types.map { big(Int64($0), 4) + [0, 0] }
        return header(0, 1) + big(0, 4) + [0, 0] + Array("UTC\0".utf8) + header(transitions.count, types.count)
            + transitions.flatMap { big($0.0, 8) } + transitions.map(\.1) + type.flatMap { $0 } + Array("ABC\0".utf8)
            + Array("\n\(footer)\n".utf8)
    }

    /// 2026-01-01T00:00:00Z.
    static let newYear: Int64 = 1_767_225_600

    @Test func transitionsAndThenTheFooterDecide() throws {
        let bytes = Self.file([(1000, 1), (2000, 0)], types: [600, 1200], footer: "<+01>-1")
        let rules = try #require(ZoneRules(parsing: bytes))
        let rows: [(Int64, Int)] = [(.min, 600), (999, 600), (1000, 1200), (1999, 1200), (2000, 3600), (.max, 3600)]
        for (time, offset) in rows { #expect(rules.offset(at: time) == offset, "\(time)") }
    }

    /// Offsets in January and July 2026, and the seconds of the year at which they change.
    @Test(arguments: [
        ("CET-1CEST,M3.5.0,M10.5.0/3", 3600, 7200), ("AEST-10AEDT,M10.1.0,M4.1.0/3", 39_600, 36_000),
        ("<-03>3<-02>,M3.5.0/-2,M10.5.0/-1", -10_800, -7200), ("IST-1GMT0,M10.5.0,M3.5.0/1", 0, 3600),
        ("EST5EDT,J60/0,300", -18_000, -14_400), ("UTC0", 0, 0),
        ("<+1245>-12:45<+1345>,M9.5.0/2:45,M4.1.0/3:45", 49_500, 45_900),
    ])
    func footersAreReadAsPOSIXWritesThem(footer: String, january: Int, july: Int) throws {
        let rules = try #require(ZoneRules(parsing: Self.file([], types: [0], footer: footer)))
        #expect(rules.offset(at: Self.newYear + 10 * 86_400) == january)
        #expect(rules.offset(at: Self.newYear + 190 * 86_400) == july)
        #expect(rules.offset(at: Self.newYear + (400 * 365 + 97 + 190) * 86_400) == july)
        for time in [Int64.min, .max, 0] { _ = rules.offset(at: time) }
    }

    @Test func berlinChangesAtOneOClockUTC() throws {
        let rules = try #require(ZoneRules(parsing: Self.file([], types: [0], footer: "CET-1CEST,M3.5.0,M10.5.0/3")))
        let rows: [(Int64, Int)] = [
            (1_774_745_999, 3600), (1_774_746_000, 7200),  // 2026-03-29T01:00:00Z
            (1_792_889_999, 7200), (1_792_890_000, 3600),  // 2026-10-25T01:00:00Z
        ]
        for (time, offset) in rows { #expect(rules.offset(at: time) == offset, "\(time)") }
    }

    @Test func whatIsNoSuchFileIsRefusedAndNeverTraps() {
        let good = Self.file([(1000, 1)], types: [600, 1200], footer: "CET-1CEST,M3.5.0,M10.5.0/3")
        #expect(ZoneRules(parsing: good) != nil)
        for count in 0..<good.count - 1 { #expect(ZoneRules(parsing: Array(good[..<count])) == nil, "\(count)") }
        for place in good.indices {
            for byte in [UInt8(0), 0x7F, 0xFF] {
                var bytes = good
                bytes[place] = byte
                if let rules = ZoneRules(parsing: bytes) {
                    for time in [Int64.min, 0, Self.newYear, .max] { _ = rules.offset(at: time) }
                }
            }
        }
        for footer in [
            "CET", "CET-1CEST", "CET-1CEST,M13.1.0,M10.5.0", "CET-99", "<CET-1", "CET-1,M3.5.0,M10.5.0",
            "CET-1CEST,J0,J5",
        ] {
            #expect(ZoneRules(parsing: Self.file([], types: [0], footer: footer)) == nil, "\(footer)")
        }
    }

    @Test func namesStayInTheFolder() {
        for name in ["Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "CET"] {
            #expect(ZoneFiles.isName(name))
        }
        for name in [
            "", "/etc/passwd", "../passwd", "Europe/../x", "Europe/", "a b", ".x", String(repeating: "a", count: 65),
        ] {
            #expect(!ZoneFiles.isName(name), "\(name)")
        }
        #expect(ZoneFiles { _ in [] }.rules(of: "Europe/Berlin") == nil)
    }
}
