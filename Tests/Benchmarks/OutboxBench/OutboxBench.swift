import Connectivity
import EdgeStore
import Glibc
import Outbox
import Primitives
import Synchronization
import Telemetry

/// `outbox-bench MODE FILE [NUMBER …]`: figures of the outbox alone, without broker and hub. One line of output each.
@main
enum OutboxBench {
    static func main() throws {
        let arguments = Array(CommandLine.arguments.dropFirst())
        guard arguments.count >= 2 else {
            print("usage: outbox-bench flash|rate|fill|open|drain FILE [NUMBER …]")
            exit(2)
        }
        let numbers = arguments.dropFirst(2).compactMap { Int($0) }
        let bench = Bench(path: arguments[1])
        switch arguments[0] {
        case "flash": try bench.flash(milliseconds: numbers[0], commits: numbers[1], isReplayable: numbers[2] > 0)
        case "rate": try bench.rate(readings: numbers[0], perCommit: numbers[1])
        case "fill": try bench.fill(readings: numbers[0], perCommit: numbers[1])
        case "open": try bench.open()
        case "drain": try bench.drain()
        default: exit(2)
        }
    }
}

/// A plant of ten devices with ten metrics each, which drift.
struct Plant {
    private var random = SeededRandom(seed: 1)
    private var levels = [Int](repeating: 2000, count: 100)

    mutating func readings(from first: UInt64, count: Int, at time: WallInstant) -> [SequencedRecord] {
        (0..<count).map { offset in
            let place = (Int(first) + offset) % 100
            levels[place] += Int.random(in: -3...3, using: &random)
            let value = "\(levels[place] / 100).\(levels[place] % 100 / 10)\(levels[place] % 10)"
            let reading = Reading(
                device: DeviceID("line-\(place / 10)-sensor").unsafelyUnwrapped, metric: "temperature-\(place % 10)",
                value: .number(DecimalText(value).unsafelyUnwrapped), unit: "Cel", time: time)
            return SequencedRecord(sequence: first + UInt64(offset), record: .reading(reading))
        }
    }
}

/// A clock that the bench turns: an hour of readings takes seconds.
final class BenchClock: Sendable {
    private let time = Mutex(Duration.zero)

    var now: Duration { time.withLock { $0 } }
    func pass(_ duration: Duration) { time.withLock { $0 += duration } }

    var clock: OutboxClock {
        OutboxClock {
            KnownElapsed.Clocks(
                monotonic: MonotonicInstant(nanoseconds: 0) + self.now, wall: Bench.begin + self.now,
                quality: .synchronised, boot: [1])
        }
    }
}

struct Bench {
    static let begin = WallInstant(milliseconds: 1_795_000_000_000)
    let path: String

    // MARK: Flash

    /// 100 readings a second, one commit in `milliseconds`; every commit is acknowledged before the next.
    func flash(milliseconds: Int, commits: Int, isReplayable: Bool) throws {
        let clock = BenchClock()
        var limits = OutboxLimits()
        if !isReplayable { limits.replayKeep = .zero }
        let store = try SQLiteOutbox(path: path, limits: limits, clock: clock.clock)
        var plant = Plant()
        let count = max(1, milliseconds / 10)
        var next: UInt64 = 1
        let before = System.writtenBytes
        for _ in 0..<commits {
            clock.pass(.milliseconds(milliseconds))
            // A driver's mark is six bytes a message.
            let mark = KeptState(
                key: "mark/plant", bytes: (0..<6 * count).map { UInt8(truncatingIfNeeded: $0 &* Int(next)) })
            _ = try store.append(
                OutboxCommit(
                    records: plant.readings(from: next, count: count, at: Self.begin + clock.now), kept: [mark],
                    wallTime: Self.begin + clock.now, clock: .synchronised))
            next += UInt64(count)
            if let batch = try store.take(TakeRequest(lane: .readings, after: 0, bytesMax: 128 * 1024)) {
                try store.acknowledge([batch])
            }
            _ = try store.tidy()
        }
        try store.flush()
        let payload = try store.status().account.payloadBytes
        let written = System.writtenBytes - before
        print("\(Text.hundredths(Double(written) / Double(payload)))")
    }

    // MARK: Rates

    /// Append, take, acknowledge; on one core, the time on the disk included.
    func rate(readings: Int, perCommit: Int) throws {
        let store = try SQLiteOutbox(path: path)
        var plant = Plant()
        var next: UInt64 = 1
        let (begin, cpu) = (System.seconds(CLOCK_MONOTONIC), System.seconds(CLOCK_PROCESS_CPUTIME_ID))
        while next <= readings {
            _ = try store.append(
                OutboxCommit(
                    records: plant.readings(from: next, count: perCommit, at: Self.begin), wallTime: Self.begin,
                    clock: .synchronised))
            next += UInt64(perCommit)
            while let batch = try store.take(TakeRequest(lane: .readings, after: 0, bytesMax: 128 * 1024)) {
                try store.acknowledge([batch])
            }
        }
        try store.flush()
        let (took, used) = (System.seconds(CLOCK_MONOTONIC) - begin, System.seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu)
        print("\(Int(Double(readings) / took)) \(Int(Double(readings) / used))")
    }

    func fill(readings: Int, perCommit: Int) throws {
        let clock = BenchClock()
        let store = try SQLiteOutbox(
            path: path, limits: OutboxLimits(quotaBytes: 16 * 1024 * 1024 * 1024), clock: clock.clock)
        var plant = Plant()
        var next = try store.status().nextSequence
        let end = next + UInt64(readings)
        let begin = System.seconds(CLOCK_MONOTONIC)
        while next < end {
            let count = min(perCommit, Int(end - next))
            clock.pass(.milliseconds(count * 10))
            _ = try store.append(
                OutboxCommit(
                    records: plant.readings(from: next, count: count, at: Self.begin + clock.now),
                    wallTime: Self.begin + clock.now, clock: .synchronised))
            next += UInt64(count)
        }
        let took = System.seconds(CLOCK_MONOTONIC) - begin
        let status = try store.status()
        print("\(status.recordCount) \(status.storedBytes) \(Int(Double(readings) / took))")
    }

    /// Milliseconds until the first batch is in hand, and resident KiB then.
    func open() throws {
        let begin = System.seconds(CLOCK_MONOTONIC)
        let store = try SQLiteOutbox(path: path, limits: OutboxLimits(quotaBytes: 16 * 1024 * 1024 * 1024))
        let batch = try store.take(TakeRequest(lane: .readings, after: 0, bytesMax: 128 * 1024))
        let took = System.seconds(CLOCK_MONOTONIC) - begin
        let status = try store.status()
        print("\(status.recordCount) \(Int(took * 1000)) \(System.residentKilobytes) \(batch?.recordCount ?? 0)")
    }

    /// Drains everything by the order that the uplink uses, with a hub that acknowledges at once, while a live reading
    /// comes every 10 ms: readings a second, and the oldest age in milliseconds at which a live one was acknowledged.
    func drain() throws {
        let store = try SQLiteOutbox(path: path, limits: OutboxLimits(quotaBytes: 16 * 1024 * 1024 * 1024))
        var plant = Plant()
        let waiting = try store.status().recordCount
        var next = try store.status().nextSequence
        var order = DrainOrder()
        order.linkCameUp(nextSequence: next)
        var made: [UInt64: Double] = [:]
        var (oldest, lastLive) = (0.0, 0.0)
        let (begin, cpu) = (System.seconds(CLOCK_MONOTONIC), System.seconds(CLOCK_PROCESS_CPUTIME_ID))
        var drained: UInt64 = 0
        while drained < waiting {
            let now = System.seconds(CLOCK_MONOTONIC)
            if now - lastLive >= 0.01 {
                lastLive = now
                made[next] = now
                _ = try store.append(
                    OutboxCommit(
                        records: plant.readings(from: next, count: 1, at: Self.begin), wallTime: Self.begin,
                        clock: .synchronised))
                next += 1
                order.recordsStored()
            }
            var travelling: [(DrainOrder.Ticket, OutboxBatch, DrainOrder.Lane)] = []
            while let request = order.nextRequest() {
                let lane: OutboxLane =
                    request.lane == .faults ? .faults : request.lane == .replays ? .replays : .readings
                let found = try store.take(
                    TakeRequest(lane: lane, after: request.after, before: request.before, bytesMax: request.bytesMax))
                guard let found else {
                    order.nothingFound(request)
                    continue
                }
                let sent = DrainOrder.Sent(
                    runStarts: found.runs.map(\.start), lastSequence: found.lastSequence, bytes: found.fragments.count)
                travelling.append((order.batchSent(request, sent, now: System.monotonic), found, request.lane))
            }
            for (ticket, batch, lane) in travelling {
                _ = order.batchAcknowledged(ticket, now: System.monotonic)
                if lane == .backlog { drained += batch.recordCount }
                guard lane == .live else { continue }
                let done = System.seconds(CLOCK_MONOTONIC)
                for run in batch.runs {
                    for sequence in run.start...run.last { oldest = max(oldest, done - (made[sequence] ?? done)) }
                }
            }
            try store.acknowledge(travelling.map(\.1))
            _ = try store.tidy()
        }
        let (took, used) = (System.seconds(CLOCK_MONOTONIC) - begin, System.seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu)
        print(
            "\(waiting) \(Int(Double(waiting) / took)) \(Int(Double(waiting) / used)) \(Int(oldest * 1000)) "
                + "\(System.residentKilobytes)")
    }
}

enum System {
    static func seconds(_ clock: clockid_t) -> Double {
        var time = timespec()
        clock_gettime(clock, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    static var monotonic: MonotonicInstant {
        MonotonicInstant(nanoseconds: Int64(seconds(CLOCK_MONOTONIC) * 1e9))
    }

    static var writtenBytes: UInt64 { number("/proc/self/io", "write_bytes: ") }
    static var residentKilobytes: UInt64 { number("/proc/self/status", "VmRSS:") }

    private static func number(_ path: String, _ head: String) -> UInt64 {
        guard let file = fopen(path, "r") else { return 0 }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 256)
        while fgets(&line, 256, file) != nil {
            let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            guard text.hasPrefix(head) else { continue }
            return UInt64(text.dropFirst(head.count).filter(\.isNumber)) ?? 0
        }
        return 0
    }
}

enum Text {
    static func hundredths(_ number: Double) -> String {
        let cents = Int(number * 100 + 0.5)
        return "\(cents / 100).\(cents % 100 / 10)\(cents % 10)"
    }
}
