import Expressions
import Glibc
import MallocCount
import Pipeline
import Primitives
import Signals
import Telemetry

/// Time and allocations of expressions and of the pipeline with typical signals; `signal-bench [SECONDS]`. Fails when
/// evaluating an expression allocates.
@main
struct Program {
    static let sensorCount = 100

    static func main() throws {
        let seconds = CommandLine.arguments.dropFirst().first.flatMap { Double($0) } ?? 0.5
        var allocations = 0.0
        for text in [
            "temperature * 1.8 + 32", "[supply/t] - t > 4 and running == 1",
            "if(known(t), clamp(round(avg(t, u, v) * 0.1, 2), -40, 85), default(w, 0))",
            "243.04 * (ln(rh / 100) + 17.625 * t / (243.04 + t)) / (17.625 - ln(rh / 100) - 17.625 * t / (243.04 + t))",
        ] {
            allocations += try measure(expression: text, seconds)
        }
        var windows = SignalSettings(metric: "temperature")
        windows.reduction = .none
        windows.windows = [WindowSettings(length: .seconds(300), aggregates: [.mean, .min, .max, .count])]
        var percentiles = windows
        percentiles.windows[0].aggregates = [.mean, .percentile(50), .percentile(95)]
        let rows: [(String, [SignalSettings])] = [
            ("no [[signal]]", []), ("unit conversion", [converting()]), ("range, step and rate", [plausible()]),
            ("deadband", [reducing(.deadband(absolute: 0.2, percent: 0))]),
            ("swinging door", [reducing(.swingingDoor(errorMax: 0.1))]), ("window of 5 m, 4 results", [windows]),
            ("window with percentiles", [percentiles]), ("freezer: door, mean, unit", [freezer()]),
            ("expression over 2 metrics", [try derived()]),
        ]
        for (name, settings) in rows { measure(name, settings, seconds) }
        // What the loop around them allocates is far below one in a thousand.
        guard allocations < 0.001 else {
            print("expressions allocate when they are evaluated: \(allocations)")
            exit(1)
        }
    }

    // MARK: - Settings

    private static func reducing(_ reduction: Reduction) -> SignalSettings {
        var settings = SignalSettings(metric: "temperature")
        settings.reduction = reduction
        return settings
    }

    private static func converting() -> SignalSettings {
        var settings = SignalSettings(metric: "temperature")
        settings.conversion.unit = "[degF]"
        return settings
    }

    private static func plausible() -> SignalSettings {
        var settings = SignalSettings(metric: "temperature")
        settings.plausibility.low = -60
        settings.plausibility.high = 60
        settings.plausibility.stepMax = 10
        settings.plausibility.rateMax = 5
        return settings
    }

    private static func freezer() -> SignalSettings {
        var settings = plausible()
        settings.conversion.unit = "K"
        settings.reduction = .swingingDoor(errorMax: 0.1)
        settings.plausibility.low = 200
        settings.plausibility.high = 320
        settings.windows = [WindowSettings(length: .seconds(300), aggregates: [.mean])]
        return settings
    }

    private static func derived() throws -> SignalSettings {
        var settings = SignalSettings(metric: "fahrenheit")
        settings.expression = try SignalExpression(parsing: "temperature * 1.8 + 32")
        return settings
    }

    // MARK: - Measuring

    private static func measure(expression text: String, _ seconds: Double) throws -> Double {
        let expression = try SignalExpression(parsing: text)
        let inputs = expression.signals.indices.map { Double($0) + 4.25 }
        var sum = 0.0
        var count = 0
        let before = malloc_count()
        let start = nanoseconds()
        while nanoseconds() - start < Int64(seconds * 1e9) {
            for _ in 0..<10_000 {
                sum += inputs.withUnsafeBufferPointer { given in expression.number { given[$0] } ?? 0 }
            }
            count += 10_000
        }
        let nanosecondsEach = Double(nanoseconds() - start) / Double(count)
        let mallocs = Double(malloc_count() - before) / Double(count)
        print(
            "expression \(padded(text, 44)) \(rounded(nanosecondsEach)) ns  \(rounded(mallocs)) mallocs  (sum \(sum > 0))"
        )
        return mallocs
    }

    /// One reading a second of each of a hundred sensors, in deliveries of a hundred.
    private static func measure(_ name: String, _ settings: [SignalSettings], _ seconds: Double) {
        let devices = (0..<sensorCount).compactMap { DeviceID("sensor-\($0)") }
        var random = SeededRandom(seed: 1)
        var levels = devices.map { _ in 4.0 }
        // Made before, so that only the pipeline is measured: ten minutes of every sensor.
        let turns: [[Reading]] = (0..<600).map { turn in
            devices.indices.map { index in
                levels[index] += Double.random(in: -0.05...0.05, using: &random) - (levels[index] - 4) * 0.01
                let number = DecimalText("\((levels[index] * 100).rounded() / 100)")
                return Reading(
                    device: devices[index], metric: "temperature", value: number.map { .number($0) } ?? .boolean(false),
                    unit: "Cel", time: WallInstant(milliseconds: 1_795_017_000_000 + Int64(turn) * 1000))
            }
        }
        var pipeline = Pipeline(
            rules: [], epoch: Epoch(value: 1), sha1: { _ in Array(repeating: 0, count: 20) })
        pipeline.signals = Signals(settings: settings)
        let bytesBefore = heapBytes()
        var second: Int64 = 0
        var readings = 0
        var kept = 0
        let before = malloc_count()
        let start = nanoseconds()
        while nanoseconds() - start < Int64(seconds * 1e9) {
            for turn in turns {
                let now = PipelineTime(
                    monotonic: MonotonicInstant(nanoseconds: second * 1_000_000_000),
                    wall: WallInstant(milliseconds: 1_795_017_000_000 + second * 1000), clock: .synchronised)
                // As the agent does: a copy is asked, and takes the original's place once its output is durable.
                var trial = pipeline
                kept += trial.deliveryReceived(readings: turn, health: [], at: now, firstSequence: 1).records.count
                pipeline = trial
                second += 1
                readings += turn.count
            }
        }
        let each = Double(nanoseconds() - start) / Double(readings)
        let mallocs = Double(malloc_count() - before) / Double(readings)
        let memory = withExtendedLifetime((turns, pipeline)) { (heapBytes() - bytesBefore) / sensorCount }
        let share = 100 * kept / readings
        print(
            "pipeline   \(padded(name, 28)) \(rounded(each)) ns a reading  \(rounded(mallocs)) mallocs  "
                + "\(padded("\(memory)", 7)) bytes a signal  \(share) % records a reading")
    }

    /// Of the processor, so that other work on the machine does not count.
    private static func nanoseconds() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }

    private static func heapBytes() -> Int { Int(heap_bytes()) }

    private static func rounded(_ value: Double) -> String { padded("\((value * 100).rounded() / 100)", 8) }

    private static func padded(_ text: String, _ width: Int) -> String {
        text.count >= width ? text : text + String(repeating: " ", count: width - text.count)
    }
}
