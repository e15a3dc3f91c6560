import Foundation
import Testing

@testable import edge_agent

@Suite struct ProgramPagesTests {
    private func residentFileKilobytes() throws -> Int {
        let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("RssFile:") })
        return try #require(line.split(separator: " ").compactMap { Int($0) }.first)
    }

    @Test func whatIsLetGoIsNotResidentAndComesBackWhenItIsUsed() throws {
        let before = try residentFileKilobytes()
        let released = ProgramPages.letGo()
        #expect(released > 0)
        #expect(try residentFileKilobytes() < before)
        // Code and constants of libraries that were mapped before.
        #expect(try JSONSerialization.data(withJSONObject: ["a": [1, 2]]).count == 11)
        #expect("straße".uppercased() == "STRASSE")
    }

    @Test func onlyFilesThatNobodyWritesAreTaken() throws {
        let lines: [(line: String, isTaken: Bool)] = [
            ("55d0a000-55d0b000 r-xp 00002000 fe:00 1234                 /usr/bin/edge-agent", true),
            ("55d0a000-55d0b000 r--p 00002000 fe:00 1234                 /usr/bin/edge agent", true),
            ("55d0a000-55d0b000 rw-p 00002000 fe:00 1234                 /usr/bin/edge-agent", false),
            ("55d0a000-55d0b000 r--s 00000000 fe:00 1234                 /var/lib/outbox.sqlite-shm", false),
            ("55d0a000-55d0b000 r-xp 00000000 00:00 0                    [vdso]", false),
            ("55d0a000-55d0b000 r--p 00000000 00:00 0", false),
        ]
        for (line, isTaken) in lines {
            let mapping = try #require(ProgramPages.Mapping(heading: Substring(line)), "\(line)")
            #expect(mapping.isReadOnlyFile == isTaken, "\(line)")
            #expect(mapping.start == 0x55d0_a000 && mapping.byteCount == 4096)
        }
        #expect(ProgramPages.Mapping(heading: "Rss:                 132 kB") == nil)
        #expect(ProgramPages.Mapping(heading: "VmFlags: rd ex mr mw me sd") == nil)
    }
}
