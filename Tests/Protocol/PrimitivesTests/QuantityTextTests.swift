import Primitives
import Testing

@Suite("Quantities as text")
struct QuantityTextTests {
    @Test(
        "a duration text reads as what it says",
        arguments: [
            ("250ms", .milliseconds(250)), ("90s", .seconds(90)), ("1h30m", .seconds(5400)), ("7d", .seconds(604_800)),
            ("5min", .seconds(300)), ("10us", .microseconds(10)), ("0s", .zero), ("1m500ms", .milliseconds(60_500)),
        ] as [(String, Duration)])
    func durations(text: String, expected: Duration) { #expect(DurationText.parse(text) == expected) }

    @Test(
        "a duration without unit, order or bounds is none",
        arguments: [
            "", "250", "s", "1.5s", "-1s", "1 s", "1s1h", "1s1s", "1x", "1S", "9223372036854775807s",
            "99999999999999999999s", "１s",
        ])
    func badDurations(text: String) { #expect(DurationText.parse(text) == nil) }

    @Test(
        "a duration writes as text that reads back",
        arguments: [0, 1, 250_000_000, 5_400_000_000_000, 90_061_001_001_001, .max] as [Int64])
    func durationRoundTrip(nanoseconds: Int64) {
        let duration = Duration.nanoseconds(nanoseconds)
        #expect(DurationText.parse(DurationText.format(duration)) == duration)
    }

    @Test("durations write with their largest units")
    func durationFormat() {
        #expect(DurationText.format(.seconds(5400)) == "1h30m")
        #expect(DurationText.format(.milliseconds(250)) == "250ms")
        #expect(DurationText.format(.seconds(-1)) == "0s")
    }

    @Test(
        "a byte count reads as what it says and writes shortest",
        arguments: [
            ("512B", 512, "512B"), ("64KiB", 65_536, "64KiB"), ("10GB", 10_000_000_000, "10GB"),
            ("1024KiB", 1 << 20, "1MiB"),
            ("0B", 0, "0B"), ("1500B", 1500, "1500B"), ("2kB", 2000, "2kB"),
        ])
    func byteCounts(text: String, bytes: Int, shortest: String) {
        #expect(ByteCount(text)?.bytes == bytes)
        #expect(ByteCount(text)?.description == shortest)
    }

    @Test(
        "a byte count without unit or beyond 64 bits is none",
        arguments: ["", "64", "KiB", "-1B", "1.5MB", "64 KiB", "64kib", "9999999999TiB"])
    func badByteCounts(text: String) { #expect(ByteCount(text) == nil) }
}
