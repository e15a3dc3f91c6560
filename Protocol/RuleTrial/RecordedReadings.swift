import JSON
public import Primitives
public import Telemetry

/// Readings that were recorded, as text.
///
/// **JSON lines**: `{"time": "2026-11-21T08:53:00Z", "device": "thermostat-1", "metric": "temperature", "value": "71.25"}`,
/// the form of a record in a batch; or a whole batch; or what `cloud-hub monitor` prints, whose `body` is a batch or an
/// object of numbers. **CSV**: a first line `time,device,metric,value`, and `unit` if there is one, in any order,
/// further columns being ignored, no quotes.
public struct RecordedReadings: Sendable, Equatable {
    /// Readings in one file.
    public static let countMax = 10_000_000

    public struct Entry: Sendable, Equatable {
        public let time: WallInstant
        public let device: DeviceID
        public let metric: String
        public let value: ReadingValue
        public var unit: String?
    }

    /// In the order of their times; equal times in the order of the file.
    public private(set) var entries: [Entry] = []
    /// Lines that hold no reading, by number from 1; the first hundred.
    public private(set) var unreadable: [Int] = []
    /// How many of them are records with a sequence: a gateway has made them of what its sensors gave.
    public private(set) var recordCount = 0

    /// - Parameter isCSV: JSON lines otherwise.
    public init(text: some StringProtocol, isCSV: Bool) {
        var columns: [String: Int] = [:]
        for (index, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
            guard entries.count < Self.countMax else { break }
            let line = Substring(line)
            if line.isEmpty { continue }
            if isCSV, columns.isEmpty {
                for (place, name) in line.split(separator: ",", omittingEmptySubsequences: false).enumerated() {
                    columns[String(name).lowercased()] = place
                }
                continue
            }
            let found = isCSV ? Self.row(line, columns).map { [$0] } : Self.object(Array(line.utf8))
            guard let found else {
                if unreadable.count < 100 { unreadable.append(index + 1) }
                continue
            }
            entries += found
            if !isCSV, line.utf8.count < 1_048_576, line.contains("\"seq\"") { recordCount += found.count }
        }
        let order = entries.indices.sorted { (entries[$0].time, $0) < (entries[$1].time, $1) }
        entries = order.map { entries[$0] }
    }

    /// A number, `true`, `false`, or a text.
    static func value(_ text: String) -> ReadingValue {
        switch text {
        case "true": .boolean(true)
        case "false": .boolean(false)
        default: DecimalText(text).map(ReadingValue.number) ?? .text(text)
        }
    }

    private static func row(_ line: Substring, _ columns: [String: Int]) -> Entry? {
        let cells = line.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        func cell(_ name: String) -> String? {
            columns[name].flatMap { $0 < cells.count ? cells[$0] : nil }
        }
        guard let time = cell("time").flatMap({ WallInstant($0) }),
            let device = cell("device").flatMap({ DeviceID($0) }),
            let metric = cell("metric"), let text = cell("value")
        else { return nil }
        return Entry(time: time, device: device, metric: metric, value: value(text), unit: cell("unit"))
    }

    private static func object(_ bytes: [UInt8]) -> [Entry]? {
        guard let value = try? JSONValue(parsing: bytes) else { return nil }
        if let records = value["records"]?.arrayValue { return records.compactMap(record) }
        if let body = value["body"] { return event(value, body) }
        return record(value).map { [$0] }
    }

    /// A line of `cloud-hub monitor`.
    private static func event(_ event: JSONValue, _ body: JSONValue) -> [Entry]? {
        if let records = body["records"]?.arrayValue { return records.compactMap(record) }
        guard let device = event["device"]?.stringValue.flatMap({ DeviceID($0) }),
            let time = (event["enqueuedTime"] ?? event["time"])?.stringValue.flatMap({ WallInstant($0) }),
            let members = body.objectValue?.members
        else { return nil }
        return members.compactMap { member in
            reading(member.value).map { Entry(time: time, device: device, metric: member.key, value: $0) }
        }
    }

    /// Faults among the records are left out: the rules are to find them.
    private static func record(_ record: JSONValue) -> Entry? {
        guard let time = record["time"]?.stringValue.flatMap({ WallInstant($0) }),
            let device = record["device"]?.stringValue.flatMap({ DeviceID($0) }),
            let metric = record["metric"]?.stringValue, let value = record["value"].flatMap(reading)
        else { return nil }
        return Entry(
            time: time, device: device, metric: metric, value: value, unit: record["unit"]?.stringValue)
    }

    private static func reading(_ value: JSONValue) -> ReadingValue? {
        switch value {
        case .string(let text): Self.value(text)
        case .number(let number): DecimalText(number.text).map(ReadingValue.number)
        case .bool(let flag): .boolean(flag)
        case .object: value["text"]?.stringValue.map(ReadingValue.text)
        case .null, .array: nil
        }
    }
}
