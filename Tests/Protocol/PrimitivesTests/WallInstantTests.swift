import Primitives
import Testing

struct WallInstantTests {
    /// Milliseconds since 1970 as a second implementation of the calendar gives them.
    static let rows: [(text: String, milliseconds: Int64)] = [
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.999Z", -1),
        ("1999-12-31T23:59:59.001Z", 946_684_799_001),
        ("2000-02-29T00:00:00Z", 951_782_400_000),
        ("1900-02-28T23:59:59Z", -2_203_891_201_000),
        ("1900-03-01T00:00:00Z", -2_203_891_200_000),
        ("1600-02-29T00:00:00Z", -11_670_998_400_000),
        ("2024-12-31T23:59:59Z", 1_735_689_599_000),
        ("2026-11-21T08:53:00.250Z", 1_795_251_180_250),
        ("2038-01-19T03:14:08Z", 2_147_483_648_000),
        ("2100-03-01T00:00:00Z", 4_107_542_400_000),
        ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000),
    ]

    @Test(arguments: rows) func readsAndWrites(text: String, milliseconds: Int64) {
        #expect(WallInstant(text)?.milliseconds == milliseconds)
        #expect(WallInstant(milliseconds: milliseconds).description == text)
    }

    @Test func neverIsTheFirstDayOfTheCalendar() { #expect(WallInstant.never == WallInstant("0001-01-01T00:00:00Z")) }

    static let spellings: [(text: String, same: String)] = [
        ("2026-11-21t08:53:00z", "2026-11-21T08:53:00Z"),
        ("2026-11-21 08:53:00Z", "2026-11-21T08:53:00Z"),
        ("2026-11-21T08:53:00", "2026-11-21T08:53:00Z"),
        ("2026-11-21T08:53:00.2Z", "2026-11-21T08:53:00.200Z"),
        ("2026-11-21T08:53:00.2509999Z", "2026-11-21T08:53:00.250Z"),
        ("2026-11-21T08:53:00+00:00", "2026-11-21T08:53:00Z"),
        ("2026-11-21T08:53:00+05:30", "2026-11-21T03:23:00Z"),
        ("2026-11-21T20:53:00-05:00", "2026-11-22T01:53:00Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("2024-02-29T12:00:00Z", "2024-02-29T12:00:00Z"),
    ]

    @Test(arguments: spellings) func readsOtherSpellings(text: String, same: String) {
        #expect(WallInstant(text)?.description == same)
    }

    @Test(arguments: [
        "", "2026", "2026-11-21", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-11-00T00:00:00Z",
        "2026-11-31T00:00:00Z", "2026-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2026-11-21T24:00:00Z",
        "2026-11-21T08:60:00Z", "2026-11-21T08:53:61Z", "2026-11-21T08:53:00.Z", "2026-11-21T08:53:00+5:30",
        "2026-11-21T08:53:00+24:00", "2026-11-21T08:53:00Zx", "2026-11-21X08:53:00Z", "26-11-21T08:53:00Z",
        " 2026-11-21T08:53:00Z", "2026-11-21T08:53:00é", "+026-11-21T08:53:00Z",
    ])
    func refusesWhatIsNoInstant(_ text: String) { #expect(WallInstant(text) == nil) }

    @Test func everyDayOfEightHundredYearsFollowsTheOneBefore() throws {
        let day: Int64 = 86_400_000
        var instant = try #require(WallInstant("1599-12-31T00:00:00Z")).milliseconds
        var previous = "1599-12-31T00:00:00Z"
        for _ in 0..<292_195 {
            instant += day
            let text = WallInstant(milliseconds: instant).description
            guard text > previous, WallInstant(text)?.milliseconds == instant else {
                Issue.record("\(text) after \(previous)")
                return
            }
            previous = text
        }
        #expect(previous == "2400-01-01T00:00:00Z")
    }

    @Test func secondsAreRoundedDown() {
        #expect(WallInstant(milliseconds: 1999).unixSeconds == 1)
        #expect(WallInstant(milliseconds: -1).unixSeconds == -1)
        #expect(WallInstant(milliseconds: -1000).unixSeconds == -1)
        #expect(WallInstant(milliseconds: -1001).unixSeconds == -2)
    }

    @Test func theEndsOfTimeDoNotTrap() {
        for instant in [WallInstant(milliseconds: .max), WallInstant(milliseconds: .min)] {
            #expect(!instant.description.isEmpty)
        }
        #expect(WallInstant(milliseconds: .max) + .seconds(1) == WallInstant(milliseconds: .max))
        #expect(WallInstant(milliseconds: .min) + .seconds(-1) == WallInstant(milliseconds: .min))
        #expect(WallInstant(milliseconds: .max) - WallInstant(milliseconds: .min) == .milliseconds(Int64.max))
        #expect(WallInstant(milliseconds: .min) - WallInstant(milliseconds: .max) == .milliseconds(Int64.min))
    }

    @Test func differenceAndSumAreInverse() throws {
        let earlier = try #require(WallInstant("2026-11-21T08:53:00.250Z"))
        let later = earlier + .milliseconds(90_061_001)
        #expect(later.description == "2026-11-22T09:54:01.251Z")
        #expect(later - earlier == .milliseconds(90_061_001))
        #expect(earlier < later)
    }
}
