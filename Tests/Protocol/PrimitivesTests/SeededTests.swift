import Primitives
import Testing

/// Randomness with a seed, and what is built on it; and the secret that never shows.
struct SeededTests {
    /// The published SplitMix64 outputs for these seeds.
    @Test func splitMixVectors() {
        var zero = SeededRandom(seed: 0)
        #expect(
            (0..<3).map { _ in zero.next() } == [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4, 0x06C4_5D18_8009_454F])
        var other = SeededRandom(seed: 1_234_567)
        #expect(
            (0..<3).map { _ in other.next() } == [
                6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423,
            ])
    }

    @Test func backoffStaysInsideItsBoundsAndReachesBoth() {
        var low = Duration.seconds(1000)
        var high = Duration.zero
        for seed in UInt64(0)..<500 {
            var random = SeededRandom(seed: seed)
            var backoff = Backoff(first: .milliseconds(100), most: .seconds(3))
            var bound = Duration.milliseconds(100)
            for attempt in 0..<12 {
                let wait = backoff.next(using: &random)
                #expect(wait >= bound / 2 && wait <= bound, "seed \(seed), attempt \(attempt)")
                if attempt == 11 { (low, high) = (min(low, wait), max(high, wait)) }
                bound = min(bound * 2, .seconds(3))
            }
            backoff.reset()
            #expect(backoff.next(using: &random) <= .milliseconds(100), "seed \(seed)")
        }
        #expect(low < .milliseconds(1520) && high > .milliseconds(2980), "the jitter covers the half step")
    }

    @Test func backoffWithoutRoomToGrowKeepsItsStep() {
        var random = SeededRandom(seed: 3)
        var backoff = Backoff(first: .seconds(1), most: .seconds(1))
        for _ in 0..<10 {
            let wait = backoff.next(using: &random)
            #expect(wait >= .milliseconds(500) && wait <= .seconds(1))
        }
    }

    @Test func aSecretDoesNotShow() {
        struct Holder { let key: Secret }
        let holder = Holder(key: Secret("hunter2".utf8))
        var dumped = ""
        dump(holder, to: &dumped)
        for text in ["\(holder)", String(reflecting: holder), dumped, "\(holder.key)", holder.key.debugDescription] {
            #expect(!text.contains("hunter2") && !text.contains("104"), "\(text)")
        }
    }

    @Test func aSecretMatchesItselfOnly() {
        let secret = Secret([1, 2, 3])
        #expect(secret.matches([1, 2, 3]))
        for other in [[], [1, 2], [1, 2, 3, 4], [0, 2, 3], [1, 2, 2]] as [[UInt8]] { #expect(!secret.matches(other)) }
        #expect(Secret([UInt8]()).matches([]))
    }
}
