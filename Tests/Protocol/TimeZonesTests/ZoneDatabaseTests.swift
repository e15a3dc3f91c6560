import Foundation
import Testing
import TimeZones

/// Every zone of this machine's database, held against what Python's zoneinfo reads from the same files.
@Suite struct ZoneDatabaseTests {
    private static let system = ZoneFiles { name in
        let file = URL(filePath: "\(ZoneFiles.folder)/\(name)")
        return (try? Data(contentsOf: file)).map { Array($0) } ?? []
    }

    /// Around each change of the offset that a look every ten days finds, to the second, from 1900 to 2120; some times
    /// between; and long before and after.
    private static let script = """
        import datetime, random, zoneinfo
        utc = datetime.timezone.utc
        random.seed(7)
        epoch = datetime.datetime(1970, 1, 1, tzinfo=utc)
        def offset(zone, seconds):
            return int((epoch + datetime.timedelta(seconds=seconds)).astimezone(zone).utcoffset().total_seconds())
        first, last = -2208988800, 4733510400
        for name in sorted(zoneinfo.available_timezones()):
            zone = zoneinfo.ZoneInfo(name)
            for _ in range(20):
                at = random.randrange(first, last)
                print(name, at, offset(zone, at))
            years = sorted(random.sample(range(1900, 2100), 8)) + [2026, 2027]
            for year in years:
                start = int(datetime.datetime(year, 1, 1, tzinfo=utc).timestamp())
                for step in range(0, 366, 10):
                    low, high = start + step * 86400, start + (step + 10) * 86400
                    if offset(zone, low) == offset(zone, high):
                        continue
                    while high - low > 1:
                        middle = (low + high) // 2
                        low, high = (middle, high) if offset(zone, middle) == offset(zone, low) else (low, middle)
                    for at in (high - 1, high, high + 1):
                        print(name, at, offset(zone, at))
        """

    @Test(.enabled(if: Self.system.rules(of: "Europe/Berlin") != nil, "tzdata is not installed"))
    func allZonesAreAsPythonReadsThem() throws {
        let python = Process()
        python.executableURL = URL(filePath: "/usr/bin/env")
        python.arguments = ["python3", "-c", Self.script]
        let pipe = Pipe()
        python.standardOutput = pipe
        try python.run()
        let text = String(decoding: try pipe.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
        python.waitUntilExit()
        var (lines, wrong): (Int, [Substring]) = (0, [])
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ")
            let time = try #require(Int64(words[1]))
            let rules = try #require(Self.system.rules(of: String(words[0])), "\(words[0])")
            if rules.offset(at: time) != Int(words[2]) { wrong.append(line) }
            lines += 1
        }
        #expect(lines > 10_000 && wrong.isEmpty, "\(wrong.prefix(10))")
    }

    @Test func whatIsNoZoneIsSaidWithWhatToDo() throws {
        for name in ["Europe", "Europe/Atlantis", "tzdata.zi"] {
            let problem = try #require(Self.system.problem(with: name))
            #expect(problem.contains("apt install tzdata"))
        }
        let none = ZoneFiles { _ in [] }.problem(with: "Europe/Berlin")
        #expect(none == "this machine knows no time zone Europe/Berlin: correct the name, or run apt install tzdata")
    }
}
