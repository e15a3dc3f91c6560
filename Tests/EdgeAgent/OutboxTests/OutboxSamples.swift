import EdgeStore
import Glibc
import Outbox
import Primitives
import Telemetry
import Testing

let someTime = WallInstant(milliseconds: 1_795_000_000_000)

func device(_ text: String) -> DeviceID {
    guard let id = DeviceID(text) else { preconditionFailure("\(text) is no device id") }
    return id
}

/// `count` readings from a sequence on; `padding` makes the fragments longer.
func readings(from first: UInt64, count: UInt64, padding: Int = 0) -> [SequencedRecord] {
    (first..<first + count).map { sequence in
        let text = padding > 0 ? ReadingValue.text(String(repeating: "x", count: padding)) : .boolean(true)
        return SequencedRecord(
            sequence: sequence,
            record: .reading(
                Reading(
                    device: device("thermostat-1"), metric: "m\(sequence)", value: text, unit: nil, time: someTime,
                    quality: .good, clock: .synchronised)))
    }
}

func fault(_ sequence: UInt64, padding: Int = 0) -> SequencedRecord {
    SequencedRecord(
        sequence: sequence,
        record: .fault(
            FaultTransition(
                faultID: UniqueID(high: 1, low: sequence), device: device("thermostat-1"), rule: "overheat",
                state: .raised, severity: .critical, message: "too hot" + String(repeating: "!", count: padding),
                metric: "temperature", value: nil, limit: "70", time: someTime, clock: .synchronised)))
}

func commit(_ records: [SequencedRecord], kept: [KeptState] = []) -> OutboxCommit {
    OutboxCommit(records: records, kept: kept, wallTime: someTime, clock: .synchronised)
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
