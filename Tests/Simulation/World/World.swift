package import Primitives

/// Time, chance and the record of one run. Everything that happens in a simulation is an entry of its queue, on one
/// thread; two runs of one seed do the same things in the same order.
package final class World: @unchecked Sendable {
    private struct Entry {
        let at: Int64
        let serial: UInt64
        let body: () -> Void

        static func < (left: Entry, right: Entry) -> Bool { (left.at, left.serial) < (right.at, right.serial) }
    }

    /// 2026-11-21T09:00:00Z.
    package static let startOfTime: Int64 = 1_795_251_600_000

    package let seed: UInt64
    package var random: SeededRandom
    /// Nanoseconds since the run began.
    package private(set) var now: Int64 = 0
    /// Of all that was noted, in order.
    package private(set) var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    package private(set) var violations: [String] = []
    package var coverage: [String: Int] = [:]
    /// Prints what happens.
    package var isLoud = false
    private var heap: [Entry] = []
    private var serial: UInt64 = 0

    package init(seed: UInt64) {
        self.seed = seed
        random = SeededRandom(seed: seed)
    }

    /// What everybody's clock would say if it were right.
    package var trueTime: WallInstant { WallInstant(milliseconds: Self.startOfTime + now / 1_000_000) }

    // MARK: What will happen

    package func after(_ delay: Duration, _ body: @escaping () -> Void) {
        at(now + max(0, delay.nanosecondsClamped), body)
    }

    package func at(_ time: Int64, _ body: @escaping () -> Void) {
        serial += 1
        heap.append(Entry(at: max(time, now), serial: serial, body: body))
        var index = heap.count - 1
        while index > 0, heap[index] < heap[(index - 1) / 2] {
            heap.swapAt(index, (index - 1) / 2)
            index = (index - 1) / 2
        }
    }

    /// Goes on until that time, or until `isDone`.
    package func run(until end: Int64, isDone: () -> Bool = { false }) {
        while let first = heap.first, first.at <= end, violations.isEmpty, !isDone() {
            removeFirst()
            now = max(now, first.at)
            first.body()
        }
        if violations.isEmpty, !isDone() { now = max(now, end) }
    }

    /// Nothing that was planned happens any more; lets go of everything.
    package func end() { heap = [] }

    private func removeFirst() {
        heap.swapAt(0, heap.count - 1)
        heap.removeLast()
        var index = 0
        while true {
            var least = index
            for child in [2 * index + 1, 2 * index + 2] where child < heap.count && heap[child] < heap[least] {
                least = child
            }
            if least == index { return }
            heap.swapAt(index, least)
            index = least
        }
    }

    // MARK: Chance

    package func chance(_ percent: Int) -> Bool { number(0...99) < percent }
    package func number(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &random) }
    package func milliseconds(_ range: ClosedRange<Int>) -> Duration { .milliseconds(number(range)) }

    // MARK: The record

    /// Counts in the hash of the run; with `isLoud` it is printed, too.
    package func note(_ who: String, _ what: String, _ numbers: UInt64...) {
        for byte in who.utf8 { mix(UInt64(byte)) }
        for byte in what.utf8 { mix(UInt64(byte)) }
        mix(UInt64(now))
        for number in numbers { mix(number) }
        guard isLoud else { return }
        let milliseconds = now / 1_000_000
        let time = "\(milliseconds / 1000).\(String(milliseconds % 1000 + 1000).dropFirst())"
        print(time, who, what, numbers.map(String.init).joined(separator: " "))
    }

    private func mix(_ word: UInt64) { hash = (hash ^ word) &* 0x100_0000_01B3 }

    /// A fault was made, or a rare path was taken.
    package func count(_ kind: Happening, _ times: Int = 1) { coverage[kind.rawValue, default: 0] += times }

    /// Something is not as it must be: the run ends.
    package func violated(_ sentence: String) {
        violations.append(sentence)
        note("!", sentence)
    }
}

/// What a set of runs must have seen.
package enum Happening: String, CaseIterable {
    case packetLost, connectionBroken, connectionHalfOpen, partitioned
    case hubStopped, hubKilled, hubPowerCut, hubPowerCutInCommit, hubDiskFull, hubSyncFailed, hubWriteFailed
    case gatewayStopped, gatewayKilled, gatewayPowerCut, gatewayPowerCutInCommit, gatewayDiskFull, gatewaySyncFailed
    case gatewayWriteFailed, clockJumped, clockLost, clockSynchronised
    case recordsRepeated, recordsDropped, recordsExpired, replayAsked, commitRefused, writeTorn, writeLost,
        connectRefused
    case faultRaised, faultCleared
}
