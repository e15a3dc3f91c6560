import EdgeStore
import Glibc
import Outbox
import Primitives
import Synchronization
import Telemetry
import Testing

let someTime = WallInstant(milliseconds: 1_795_000_000_000)

func device(_ text: String) -> DeviceID {
    guard let id = DeviceID(text) else { preconditionFailure("\(text) is no device id") }
    return id
}

/// `count` readings from a sequence on; `padding` makes the fragments longer, by text that does not compress.
func readings(
    from first: UInt64, count: UInt64, padding: Int = 0, metric: String? = nil
) -> [SequencedRecord] {
    (first..<first + count).map { sequence in
        let text = padding > 0 ? ReadingValue.text(noise(padding, seed: sequence)) : .boolean(true)
        return SequencedRecord(
            sequence: sequence,
            record: .reading(
                Reading(
                    device: device("thermostat-1"), metric: metric ?? "m\(sequence)", value: text, unit: nil,
                    time: someTime, quality: .good, clock: .synchronised)))
    }
}

/// Characters in no order: what a compressor can save is a quarter.
func noise(_ count: Int, seed: UInt64) -> String {
    var random = SeededRandom(seed: seed)
    let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
    return String((0..<count).map { _ in letters[Int(random.next() % 64)] })
}

func fault(_ sequence: UInt64, padding: Int = 0) -> SequencedRecord {
    SequencedRecord(
        sequence: sequence,
        record: .fault(
            FaultTransition(
                faultID: UniqueID(high: 1, low: sequence), device: device("thermostat-1"), rule: "overheat",
                state: .raised, severity: .critical,
                message: "too hot" + (padding > 0 ? noise(padding, seed: sequence) : ""),
                metric: "temperature", value: nil, limit: "70", time: someTime, clock: .synchronised)))
}

func commit(
    _ records: [SequencedRecord], _ retention: Retention = .standard, kept: [KeptState] = [],
    reported: [SensorLoss] = []
) -> OutboxCommit {
    OutboxCommit(
        records: records, retentions: records.map { _ in retention }, reported: reported, kept: kept,
        wallTime: someTime, clock: .synchronised)
}

/// Clocks that a test turns.
final class TestClocks: Sendable {
    private let clocks = Mutex(
        KnownElapsed.Clocks(
            monotonic: MonotonicInstant(nanoseconds: 1_000_000_000_000), wall: someTime, quality: .synchronised,
            boot: [1]))

    var now: KnownElapsed.Clocks { clocks.withLock { $0 } }
    var clock: OutboxClock { OutboxClock { self.now } }

    /// Time passes, and every clock says so.
    func pass(_ duration: Duration) {
        clocks.withLock {
            $0.monotonic = $0.monotonic + duration
            $0.wall = $0.wall + duration
        }
    }

    func change(_ body: (inout KnownElapsed.Clocks) -> Void) { clocks.withLock { body(&$0) } }
}

/// What the fragments of records look like when joined.
func joined(_ records: [SequencedRecord]) -> [UInt8] {
    Array(records.map { Batch.encodeFragment($0) }.joined(separator: [UInt8(ascii: ",")]))
}

/// A folder of its own that goes away with the value.
final class TemporaryFolder {
    let path: String

    init() throws {
        var template = Array("/tmp/outbox-XXXXXX".utf8CString)
        path = template.withUnsafeMutableBufferPointer { buffer in
            buffer.baseAddress.flatMap { mkdtemp($0) }.map { String(cString: $0) } ?? ""
        }
        try #require(!path.isEmpty)
    }

    deinit {
        guard let folder = opendir(path) else { return }
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            unlink(path + "/" + name)
        }
        closedir(folder)
        rmdir(path)
    }
}
