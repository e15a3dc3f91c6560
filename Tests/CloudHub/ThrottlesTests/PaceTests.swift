import HubContract
import Primitives
import Testing

@testable import Throttles

@Suite struct PaceTests {
    static func at(_ milliseconds: Int64) -> MonotonicInstant {
        MonotonicInstant(nanoseconds: milliseconds * 1_000_000)
    }

    @Test(arguments: [
        ("1/s", Rate(1, per: .second)), ("600/min", Rate(600, per: .minute)),
        ("10000000/h", Rate(10_000_000, per: .hour)),
        ("0/s", nil), ("10000001/s", nil), ("1/d", nil), ("1", nil), ("/s", nil), ("-1/s", nil), ("1 /s", nil),
        ("1/s/s", nil),
        ("99999999999999999999/s", nil), ("٣/s", nil),
    ])
    func ratesAreACountAPeriod(_ text: String, expected: Rate?) {
        #expect(Rate(text) == expected)
        if let expected { #expect(Rate(expected.description) == expected) }
    }

    @Test func aPeriodsCountMayComeAtOnceAndThenOneByOne() throws {
        var pace = Pace(Rate("5/s"))
        for _ in 0..<5 { #expect(pace.take(now: Self.at(0)) == nil) }
        #expect(pace.take(now: Self.at(0)) == .milliseconds(200))
        #expect(pace.take(now: Self.at(150)) == .milliseconds(50))
        #expect(pace.take(now: Self.at(200)) == nil)
        #expect(pace.take(now: Self.at(200)) == .milliseconds(200))
        for _ in 0..<5 { #expect(pace.take(now: Self.at(10_000)) == nil) }
        #expect(pace.take(now: Self.at(10_000)) != nil)
    }

    @Test func whatIsRefusedTakesNothing() throws {
        var pace = Pace(Rate("2/s"))
        #expect(pace.take(2, now: Self.at(0)) == nil)
        for _ in 0..<100 { #expect(pace.take(now: Self.at(400)) != nil) }
        #expect(pace.take(now: Self.at(500)) == nil)
    }

    @Test func moreThanTheBucketHoldsWaitsUntilItIsFull() throws {
        var pace = Pace(Rate("10/s"))
        #expect(pace.take(now: Self.at(0)) == nil)
        #expect(pace.take(500, now: Self.at(0)) == .milliseconds(100))
        #expect(pace.take(500, now: Self.at(100)) == nil)
        // The rest of it is a debt.
        #expect(pace.take(now: Self.at(100)) == .seconds(49) + .milliseconds(100))
    }

    @Test func spendingGoesIntoDebtAndSaysUntilWhen() throws {
        var pace = Pace(Rate("10/s"))
        for number in 1...30 {
            let until = pace.spend(now: Self.at(0))
            #expect(until == Self.at(Int64(number - 10) * 100))
        }
        #expect(!pace.isFull(now: Self.at(2_999)))
        #expect(pace.isFull(now: Self.at(3_000)))
    }

    @Test func withoutARateThereIsNoLimit() {
        var pace = Pace(nil)
        for _ in 0..<1000 {
            #expect(pace.take(now: Self.at(7)) == nil)
            #expect(pace.spend(now: Self.at(7)) <= Self.at(7))
        }
    }

    /// However the requests come, no window sees more than the count and what flowed in.
    @Test func noWindowSeesMoreThanItMay() throws {
        for seed in UInt64(1)...20 {
            var random = SeededRandom(seed: seed)
            var pace = Pace(Rate("20/s"))
            var taken: [Int64] = []
            var now: Int64 = 0
            for _ in 0..<2000 {
                now += Int64.random(in: 0...60, using: &random)
                if pace.take(now: Self.at(now)) == nil { taken.append(now) }
            }
            for (index, start) in taken.enumerated() {
                let inWindow = taken[index...].prefix { $0 < start + 1000 }.count
                #expect(inWindow <= 40, "seed \(seed)")
            }
        }
    }
}

@Suite struct ThrottleBookTests {
    static func id(_ text: String) throws -> DeviceID { try #require(DeviceID(text)) }
    let now = PaceTests.at(0)

    private func limits(device: String? = nil, hub: String? = nil) -> ThrottleLimits {
        var limits = ThrottleLimits()
        limits.device[.twinReads] = device.flatMap { Rate($0) }
        limits.hub[.twinReads] = hub.flatMap { Rate($0) }
        return limits
    }

    @Test func oneDevicesLimitLeavesTheOthersAlone() throws {
        var book = ThrottleBook(limits(device: "2/s"))
        let (one, two) = (try Self.id("one"), try Self.id("two"))
        #expect(book.admit(.twinReads, one, count: 2, now: now) == nil)
        let refused = book.admit(.twinReads, one, count: 1, now: now)
        let refusal = try #require(refused)
        #expect(refusal.retryAfter == .milliseconds(500) && refusal.retryAfterSeconds == 1 && !refusal.isWholeHub)
        #expect(
            refusal.sentence
                == "one device may do 2/s twin reads; send less often, or raise [throttles] device_twin_reads")
        #expect(book.admit(.twinReads, two, count: 1, now: now) == nil)
        #expect(book.admit(.methods, one, count: 1000, now: now) == nil)
    }

    @Test func whatTheHubRefusesCostsTheDeviceNothing() throws {
        var book = ThrottleBook(limits(device: "1/s", hub: "1/h"))
        let (one, two) = (try Self.id("one"), try Self.id("two"))
        #expect(book.admit(.twinReads, one, count: 1, now: now) == nil)
        let refused = book.admit(.twinReads, two, count: 1, now: now)
        let refusal = try #require(refused)
        #expect(refusal.isWholeHub && refusal.retryAfterSeconds == 3600)
        #expect(
            refusal.sentence
                == "all devices together may do 1/h twin reads; send less often, or raise [throttles] hub_twin_reads")
        #expect(book.remembered == 1)
        #expect(book.admit(.twinReads, two, count: 1, now: PaceTests.at(3_600_000)) == nil)
    }

    @Test func onlyDevicesNearTheirLimitsAreRemembered() throws {
        var book = ThrottleBook(limits(device: "1/s"), devicesMax: 3)
        for name in ["a", "b", "c", "d"] {
            #expect(book.admit(.twinReads, try Self.id(name), count: 1, now: now) == nil)
        }
        #expect(book.remembered == 3)
        #expect(book.admit(.twinReads, try Self.id("a"), count: 1, now: now) != nil)
        let later = PaceTests.at(1_001)
        #expect(book.admit(.twinReads, try Self.id("e"), count: 1, now: later) == nil)
        #expect(book.remembered == 1)
    }

    @Test func aConnectionsDebtOutlivesIt() throws {
        var limits = ThrottleLimits()
        limits.device[.telemetry] = Rate("1/s")
        let throttles = Throttles(limits) { PaceTests.at(0) }
        let device = try Self.id("one")
        var pace = throttles.beginTelemetry(of: device)
        for _ in 0..<10 { _ = pace.spend(now: now) }
        throttles.endTelemetry(of: device, pace)
        #expect(throttles.beginTelemetry(of: device) == pace)
        #expect(throttles.admit(.telemetry, device)?.retryAfter == .seconds(10))
        #expect(throttles.beginTelemetry(of: try Self.id("two")) == throttles.telemetryPace)
    }

    @Test func theHubsTelemetryIsSharedOutByTheHundred() throws {
        var limits = ThrottleLimits()
        limits.hub[.telemetry] = Rate("1000/s")
        let throttles = Throttles(limits) { PaceTests.at(0) }
        #expect(throttles.telemetryShare == 10)
        for _ in 0..<100 { #expect(throttles.takeTelemetry(10, now: now) <= now) }
        #expect(throttles.takeTelemetry(10, now: now) == PaceTests.at(10))
        #expect(throttles.admit(.telemetry)?.isWholeHub == true)
    }
}
