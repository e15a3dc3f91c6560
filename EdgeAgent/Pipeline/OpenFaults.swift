internal import Primitives
internal import Rules
internal import Telemetry

/// The faults that are raised and not cleared: a clearing carries the id of its raising, also after a restart.
struct OpenFaults: Sendable {
    struct Key: Hashable, Sendable {
        let rule: String
        let device: DeviceID
    }

    struct Fault: Hashable, Sendable {
        let id: UniqueID
        let severity: Severity
    }

    private(set) var faults: [Key: Fault] = [:]

    var sortedKeys: [Key] { faults.keys.sorted { ($0.rule, $0.device) < ($1.rule, $1.device) } }

    subscript(key: Key) -> Fault? { faults[key] }

    func count(of rule: String) -> Int { faults.keys.count { $0.rule == rule } }

    mutating func open(_ key: Key, _ fault: Fault) { faults[key] = fault }

    mutating func close(_ key: Key) -> Fault? { faults.removeValue(forKey: key) }

    // MARK: - Bytes

    /// Layout: number of rules, then for each its name, number of faults, and each one's device, id and severity.
    func write(to writer: inout StateWriter) {
        let groups = Dictionary(grouping: sortedKeys, by: \.rule).sorted { $0.key < $1.key }
        writer.number(UInt64(groups.count))
        for (rule, keys) in groups {
            writer.text(rule)
            writer.number(UInt64(keys.count))
            for key in keys {
                guard let fault = faults[key] else { preconditionFailure("the keys are those of the table") }
                writer.text(key.device.text)
                writer.blob(fault.id.bytes)
                writer.text(fault.severity.rawValue)
            }
        }
    }

    init() {}

    init?(reading reader: inout StateReader) {
        guard let groupCount = reader.number() else { return nil }
        for _ in 0..<groupCount {
            guard let rule = reader.text(), let count = reader.number() else { return nil }
            for _ in 0..<count {
                guard let text = reader.text(), let device = DeviceID(text), let bytes = reader.blob(),
                    bytes.count == 16, let word = reader.text(), let severity = Severity(rawValue: word)
                else { return nil }
                let id = UniqueID(
                    high: bytes[..<8].reduce(0) { $0 << 8 | UInt64($1) },
                    low: bytes[8...].reduce(0) { $0 << 8 | UInt64($1) })
                faults[Key(rule: rule, device: device)] = Fault(id: id, severity: severity)
            }
        }
    }
}
