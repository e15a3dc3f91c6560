import EventLog
import HubContract
import JSON
import Primitives
import Telemetry

/// Takes fault reports out of one event of the log: the transitions of a batch, and what the hub's rules make of its
/// values.
struct EventReading {
    /// Numbers taken from one plain JSON event.
    static let numbersMax = 256
    /// Most batches hold readings only.
    private static let faultMember = Array(#""fault""#.utf8)

    var engine: HubRuleEngine
    /// Batches that could not be read; the log promises that there are none.
    private(set) var brokenBatches = 0

    init(engine: HubRuleEngine) { self.engine = engine }

    /// Whether `read` can make anything of the event: of most it cannot.
    func wants(_ event: EventView) -> Bool {
        guard event.source == .telemetry || event.source == .will else { return false }
        if event.isBatch { return !engine.isEmpty || event.holds(Self.faultMember) }
        return !engine.isEmpty && !event.isOfModule && event.device.map(engine.watches) ?? true
    }

    mutating func read(_ event: StoredEvent, now: HubRuleEngine.HubTime) -> [FaultReport] {
        event.header.isBatch ? readBatch(event, now: now) : readPlain(event, now: now)
    }

    private mutating func readBatch(_ event: StoredEvent, now: HubRuleEngine.HubTime) -> [FaultReport] {
        guard let batch = try? Batch(parsing: event.body) else {
            brokenBatches += 1
            return []
        }
        let place = HubRuleEngine.Place(partition: event.partition, offset: event.offset)
        var reports: [FaultReport] = []
        for entry in batch.records {
            switch entry.record {
            case .fault(let transition): reports.append(FaultReport(transition, origin: .edge))
            case .reading(let reading):
                guard engine.watches(reading.device) else { continue }
                reports += engine.observed(
                    reading.metric, reading.quality == .bad ? nil : reading.value.double, of: reading.device,
                    time: reading.time, arrivedAt: event.header.enqueuedAt, place: place, now: now)
            }
        }
        return reports
    }

    private mutating func readPlain(_ event: StoredEvent, now: HubRuleEngine.HubTime) -> [FaultReport] {
        let arrivedAt = event.header.enqueuedAt
        let time = Self.creationTime(event.header.bag) ?? arrivedAt
        let place = HubRuleEngine.Place(partition: event.partition, offset: event.offset)
        var numbers: [(metric: String, value: Double)] = []
        if engine.needsNumbers {
            // What is not JSON still ends silence.
            try? JSONScanner.numbers(in: event.body) { metric, value in
                if numbers.count < Self.numbersMax { numbers.append((metric, value)) }
            }
        }
        guard !numbers.isEmpty else {
            return engine.observed(
                "", nil, of: event.header.device, time: time, arrivedAt: arrivedAt, place: place, now: now)
        }
        var reports: [FaultReport] = []
        for number in numbers {
            reports += engine.observed(
                number.metric, number.value, of: event.header.device, time: time, arrivedAt: arrivedAt, place: place,
                now: now)
        }
        return reports
    }

    /// `$.ctime`, the creation time that a device can put into its property bag.
    private static func creationTime(_ bag: String) -> WallInstant? {
        guard bag.utf8.count > 10, bag.contains("ctime"), let parsed = try? PropertyBag(parsing: bag) else {
            return nil
        }
        return parsed.system("ctime").flatMap { WallInstant($0) }
    }
}
