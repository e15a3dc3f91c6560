import Primitives
import Telemetry
import Testing

@Suite("Interval sets")
struct IntervalSetTests {
    private func set(_ runs: [(UInt64, UInt64)], most: Int = 100) -> IntervalSet {
        var set = IntervalSet(intervalCountMax: most)
        for (start, count) in runs { _ = set.insert(Run(start: start, count: count)) }
        return set
    }

    @Test func neighboursJoinAndHolesStay() {
        let rows: [(claim: String, runs: [(UInt64, UInt64)], expected: [Run])] = [
            ("in order", [(1, 2), (3, 2)], [Run(start: 1, count: 4)]),
            ("touching from below", [(3, 2), (1, 2)], [Run(start: 1, count: 4)]),
            ("apart by one", [(1, 2), (4, 2)], [Run(start: 1, count: 2), Run(start: 4, count: 2)]),
            ("the hole filled", [(1, 2), (4, 2), (3, 1)], [Run(start: 1, count: 5)]),
            ("over several", [(1, 1), (3, 1), (5, 1), (2, 9)], [Run(start: 1, count: 10)]),
            ("inside", [(1, 9), (3, 2)], [Run(start: 1, count: 9)]),
            ("empty run", [(5, 0)], []),
            ("both ends of the numbers", [(0, 1), (.max, 1)], [Run(start: 0, count: 1), Run(start: .max, count: 1)]),
            ("touching at the top", [(.max, 1), (.max - 1, 1)], [Run(start: .max - 1, count: 2)]),
            ("a count beyond the top ends there", [(.max - 1, 9)], [Run(start: .max - 1, count: 2)]),
        ]
        for row in rows { #expect(set(row.runs).runs == row.expected, "\(row.claim)") }
    }

    @Test func fullIsSaidAndChangesNothing() {
        var full = set([(1, 1), (3, 1)], most: 2)
        let before = full
        #expect(full.insert(Run(start: 5, count: 1)) == .full)
        #expect(full == before)
        #expect(full.insert(Run(start: 4, count: 1)) == .inserted)
        #expect(full.insert(Run(start: 2, count: 1)) == .inserted)
        #expect(full.insert(Run(start: 9, count: 1)) == .inserted)
    }

    @Test func missingAndHolesNameTheGaps() {
        let known = set([(10, 5), (20, 5)])
        #expect(
            known.missing(in: Run(start: 8, count: 20)) == [
                Run(start: 8, count: 2), Run(start: 15, count: 5), Run(start: 25, count: 3),
            ])
        #expect(known.missing(in: Run(start: 11, count: 4)).isEmpty)
        #expect(known.missing(in: Run(start: 30, count: 2)) == [Run(start: 30, count: 2)])
        #expect(known.holes == [Run(start: 15, count: 5)])
        #expect(known.first == 10 && known.last == 24)
        #expect(set([]).missing(in: Run(start: 1, count: 2)) == [Run(start: 1, count: 2)])
        #expect(set([(1, .max)]).missing(in: Run(start: 1, count: .max)).isEmpty)
    }

    @Test func behavesLikeASetOfNumbers() throws {
        for seed in UInt64(0)..<300 {
            var random = SeededRandom(seed: seed)
            var intervals = IntervalSet()
            var naive: Set<UInt64> = []
            for _ in 0..<Int.random(in: 1...60, using: &random) {
                let run = Run(
                    start: UInt64.random(in: 0...120, using: &random), count: UInt64.random(in: 0...8, using: &random))
                let numbers = (0..<run.count).map { run.start + $0 }
                let missing = intervals.missing(in: run).flatMap { run in (0..<run.count).map { run.start + $0 } }
                #expect(missing == numbers.filter { !naive.contains($0) }, "seed \(seed)")
                #expect(intervals.insert(run) == .inserted)
                naive.formUnion(numbers)
            }
            #expect((UInt64(0)...130).allSatisfy { intervals.contains($0) == naive.contains($0) }, "seed \(seed)")
            #expect(intervals.runs == Run.joining(naive.sorted()), "seed \(seed)")
            #expect(IntervalSet(decoding: intervals.encoded()) == intervals, "seed \(seed)")
        }
    }

    @Test func brokenBytesAreNoSet() {
        let good = set([(1, 2), (500, 70_000), (.max, 1)]).encoded()
        #expect(IntervalSet(decoding: good)?.encoded() == good)
        for cut in 0..<good.count { #expect(IntervalSet(decoding: good[..<cut]) == nil) }
        #expect(IntervalSet(decoding: good + [0]) == nil)
        #expect(IntervalSet(decoding: [2] + good.dropFirst()) == nil)
        #expect(IntervalSet(decoding: good, intervalCountMax: 2) == nil)
        #expect(IntervalSet(decoding: [1, 2, 5, 0, 0, 0]) == nil)
        for seed in UInt64(0)..<2000 {
            var random = SeededRandom(seed: seed)
            var bytes: [UInt8] = [1]
            for _ in 0..<Int.random(in: 0...30, using: &random) {
                bytes.append(UInt8.random(in: 0...255, using: &random))
            }
            if let set = IntervalSet(decoding: bytes) { #expect(set.encoded() == bytes, "seed \(seed)") }
        }
    }
}
