public import EventLog
public import Faults
public import Primitives
public import Telemetry

/// Asks each room that a record passed what it knows of it.
public struct Tracer: Sendable {
    /// Looks up the alert of a fault in the CRM.
    public typealias AlertLookup = @Sendable (Fault) async -> FaultTrace.CRMRow

    private static let bytesMax = 64 << 20
    /// Quarantined records of the gateway that are looked through.
    private static let quarantineMax = 10_000
    /// Faults of one device that began at the same time.
    private static let faultsMax = 16

    private let log: any EventLog
    private let faults: any FaultStore
    private let stride: Int64
    private let alert: AlertLookup

    /// - Parameter stride: events read at a time, from the newest back.
    public init(log: any EventLog, faults: any FaultStore, stride: Int64 = 2000, alert: @escaping AlertLookup) {
        self.stride = stride
        self.log = log
        self.faults = faults
        self.alert = alert
    }

    /// - Parameter epoch: `nil` for the outbox of the gateway that sent last.
    /// - Throws: `TraceError`, and what the stores throw.
    public func trace(gateway: DeviceID, epoch: Epoch?, sequence: UInt64) async throws -> RecordTrace {
        let books = try log.sequences(gateway: gateway)
        guard let book = books.first(where: { epoch == nil || $0.epoch == epoch }) else {
            throw TraceError.noOutbox(gateway: gateway, epoch: epoch)
        }
        func ended(_ standing: RecordTrace.Standing) -> RecordTrace {
            RecordTrace(gateway: gateway, epoch: book.epoch, sequence: sequence, standing: standing)
        }
        let standing = book.standing(of: sequence)
        // What came with too many holes is not counted as seen; its body is in the quarantine all the same. Once it came
        // again and was seen, the quarantined batch is no longer where it is.
        if let kept = try quarantined(book, sequence, withBatches: standing != .arrived) {
            return ended(.quarantined(kept))
        }
        switch standing {
        case .dropped: return ended(.dropped)
        case .missing: return ended(.missing)
        case .notYet: return ended(.notYet)
        case .arrived: break
        }
        guard let found = try find(book, sequence) else { return ended(.gone) }
        var trace = ended(.inLog(found.place))
        trace.record = found.record
        for fault in try await faults(about: found.record) {
            trace.faults.append(
                FaultTrace(
                    fault: fault, waiting: try await faults.queueRows(of: fault.id), row: await alert(fault)))
        }
        return trace
    }

    /// - Parameter withBatches: whether batches that were quarantined as a whole are looked through too.
    private func quarantined(
        _ book: OutboxSequences, _ sequence: UInt64, withBatches: Bool
    ) throws -> StoredQuarantine? {
        let epoch = book.epoch
        let kept = try log.quarantine(gateway: book.gateway, countMax: Self.quarantineMax).filter {
            $0.record.epoch == epoch
        }
        // The record itself, else a whole batch that has it.
        let own = kept.first { $0.record.sequence == sequence && $0.record.code != Self.batchCode }
        guard own == nil, withBatches else { return own }
        return kept.first { kept in
            guard kept.record.code == Self.batchCode, let first = kept.record.sequence, first <= sequence else {
                return false
            }
            return (try? Batch(parsing: kept.record.body))?.runs.contains { $0.contains(sequence) } ?? false
        }
    }

    /// Of a batch that was quarantined as a whole: named by its first record.
    private static let batchCode = QuarantineCode.tooManyGaps.rawValue

    private struct Found {
        let place: RecordTrace.Place
        let record: Record
    }

    private func find(_ book: OutboxSequences, _ sequence: UInt64) throws -> Found? {
        let partition = EventStamp.partition(of: book.gateway, count: log.partitionCount)
        var end = log.nextOffset(partition: partition)
        while end > 0 {
            let start = max(0, end - stride)
            let (found, first) = try find(book, sequence, partition: partition, in: start..<end)
            if let found { return found }
            guard let first, first <= start else { return nil }  // retention begins here
            end = start
        }
        return nil
    }

    /// - Returns: the record, and the first offset that the log still has from the range's beginning on.
    private func find(
        _ book: OutboxSequences, _ sequence: UInt64, partition: Int, in range: Range<Int64>
    ) throws -> (Found?, first: Int64?) {
        let text = Array("\"\(sequence)\"".utf8)  // as a batch writes it
        let limits = EventChunk.ReadLimits(eventsMax: 1, bytesMax: Self.bytesMax)
        var next = range.lowerBound
        var first: Int64?
        while next < range.upperBound {
            let run = try log.read(partition: partition, from: next, limits: limits) { event in
                // One beyond the range is wanted only to end the read.
                event.offset >= range.upperBound
                    || event.isBatch && event.holds(text) && event.device == book.gateway
            }
            first = first ?? run.firstOffset
            guard run.firstOffset != nil, run.nextOffset > next else { break }
            for event in run.events where event.offset < range.upperBound {
                if let record = Self.record(sequence, of: book.epoch, in: event) {
                    return (Found(place: Self.place(event), record: record), first)
                }
            }
            next = run.nextOffset
        }
        return (nil, first)
    }

    private static func record(_ sequence: UInt64, of epoch: Epoch, in event: StoredEvent) -> Record? {
        guard let batch = try? Batch(parsing: event.body), batch.epoch == epoch else { return nil }
        return batch.records.first { $0.sequence == sequence }?.record
    }

    private static func place(_ event: StoredEvent) -> RecordTrace.Place {
        RecordTrace.Place(
            partition: event.partition, offset: event.offset, enqueuedAt: event.header.enqueuedAt)
    }

    /// A transition says which fault it is of. A reading belongs to the faults that began with it: their time is its time.
    private func faults(about record: Record) async throws -> [Fault] {
        switch record {
        case .fault(let transition):
            return try await faults.fault(transition.faultID).map { [$0] } ?? []
        case .reading(let reading):
            return try await faults.faults(of: reading.device, openedAt: reading.time, limit: Self.faultsMax).filter {
                $0.metric == nil || $0.metric == reading.metric
            }
        }
    }
}
