public import Primitives
public import Telemetry

/// Which holes are asked for, and when. Pure: it is told what the books say and what gateways answered.
///
///           hole seen                 still there after `ripeAfter`            gateway answered
///     whole ─────────► ripening ─────────────────────────► asking ─────────► waiting (twice as long each time)
///       ▲                 │ closed                         ▲    │ a rest        │ closed
///       │                 │                                └────┘               │
///       └─────────────────┴─────────────────────────────────────────────────────┘
public struct GapMachine: Sendable {
    public struct Pace: Sendable, Equatable {
        /// A younger hole may still be on its way.
        public var ripeAfter: Duration
        /// Between two requests to one outbox; doubles up to `askMost` while holes stay.
        public var askFirst = Duration.seconds(60)
        public var askMost = Duration.seconds(3600)
        /// Outboxes with gaps that are looked after; others wait until one is whole.
        public var outboxesMax = 10_000

        public init(ripeAfter: Duration = .seconds(30)) { self.ripeAfter = ripeAfter }
    }

    /// One outbox of a gateway.
    public struct Outbox: Hashable, Sendable {
        public let gateway: DeviceID
        public let epoch: Epoch

        public init(gateway: DeviceID, epoch: Epoch) {
            self.gateway = gateway
            self.epoch = epoch
        }
    }

    /// How asking went the last time.
    public enum Outcome: Sendable, Equatable {
        /// `gone` it has no more and declares as dropped; for `rest` it is to be asked again.
        case replayed(count: UInt64, gone: UInt64, rest: [Run])
        /// The gateway has another outbox now: what is missing of this one is lost.
        case lost
        case failed(String)
    }

    /// An outbox with holes.
    public struct Gap: Sendable, Equatable {
        public internal(set) var holes: [Run]
        /// When the oldest of them was first seen.
        public internal(set) var since: WallInstant
        public internal(set) var askedCount = 0
        /// How often all of it was asked for.
        var roundCount = 0
        public internal(set) var outcome: Outcome?
        /// Those that were there when the present wait for ripeness began.
        var ripening: [Run]
        var ripeAt: MonotonicInstant
        var askAt: MonotonicInstant
        var isAsking = false
        /// From the first to the last sequence of the request under way; what ripens beyond it had no place there.
        var asked = Run(start: 0, count: 0)
    }

    private let pace: Pace
    public private(set) var gaps: [Outbox: Gap] = [:]

    public init(_ pace: Pace = Pace()) { self.pace = pace }

    /// The books of an outbox were read.
    public mutating func looked(at outbox: Outbox, holes: [Run], now: MonotonicInstant, wall: WallInstant) {
        guard !holes.isEmpty else {
            gaps[outbox] = nil
            return
        }
        guard var gap = gaps[outbox] else {
            guard gaps.count < pace.outboxesMax else { return }
            gaps[outbox] = Gap(
                holes: holes, since: wall, ripening: holes, ripeAt: now + pace.ripeAfter, askAt: now)
            return
        }
        gap.holes = holes
        gap.ripening = Self.common(gap.ripening, holes)
        if gap.ripening.isEmpty {
            // All that was waited for has come; what is there now is new.
            gap = Gap(holes: holes, since: wall, ripening: holes, ripeAt: now + pace.ripeAfter, askAt: gap.askAt)
        }
        gaps[outbox] = gap
    }

    /// What to ask for now, of gateways that are there. Each request must be answered by `answered`.
    public mutating func due(now: MonotonicInstant, isOnline: (DeviceID) -> Bool) -> [(Outbox, ReplayRange)] {
        var requests: [(Outbox, ReplayRange)] = []
        for (outbox, gap) in gaps
        where !gap.isAsking && gap.outcome != .lost && gap.ripeAt <= now && gap.askAt <= now && isOnline(outbox.gateway)
        {
            let request = ReplayRange(epoch: outbox.epoch, runs: gap.ripening)
            gaps[outbox]?.isAsking = true
            if let first = request.runs.first, let last = request.runs.last {
                gaps[outbox]?.asked = Run(start: first.start, count: last.last - first.start + 1)
            }
            requests.append((outbox, request))
        }
        return requests
    }

    /// How a request ended. What it asked for is given time to come before it counts as missing again.
    public mutating func answered(_ outbox: Outbox, _ outcome: Outcome, now: MonotonicInstant) {
        guard var gap = gaps[outbox] else { return }
        gap.isAsking = false
        gap.outcome = outcome
        gap.askedCount += 1
        let rest = Self.rest(of: gap, outcome)
        if rest.isEmpty {
            gap.askAt = now + wait(after: gap.roundCount)
            gap.roundCount += 1
            gap.ripening = gap.holes
            gap.ripeAt = now + pace.ripeAfter
        } else {
            gap.ripening = rest
        }
        gaps[outbox] = gap
    }

    /// What is ripe and was not looked for, because there was no time or no place in the request: asked for with the next
    /// look. Empty when the gateway got no further at all.
    private static func rest(of gap: Gap, _ outcome: Outcome) -> [Run] {
        guard case .replayed(_, _, let rest) = outcome else { return [] }
        if let first = rest.first, first.start <= gap.asked.start { return [] }
        return common(rest, gap.ripening) + gap.ripening.filter { $0.start > gap.asked.last }
    }

    private func wait(after askedCount: Int) -> Duration {
        min(pace.askMost, pace.askFirst * (1 << min(askedCount, 20)))
    }

    /// What two rising lists of runs have in common.
    static func common(_ left: [Run], _ right: [Run]) -> [Run] {
        var common: [Run] = []
        var (first, second) = (0, 0)
        while first < left.count, second < right.count {
            let start = max(left[first].start, right[second].start)
            let last = min(left[first].last, right[second].last)
            if start <= last { common.append(Run(start: start, count: last - start + 1)) }
            if left[first].last < right[second].last { first += 1 } else { second += 1 }
        }
        return common
    }
}
