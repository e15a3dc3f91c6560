public import EventLog
public import Primitives
import Telemetry

extension TelemetryIntake {
    /// Reads a batch and sorts its records.
    ///
    /// Records of the gateway and its children stay; the others are quarantined with code and reason. An envelope that
    /// cannot be read is quarantined whole.
    public func batchReceived(_ body: [UInt8], from gateway: DeviceID) -> Verdict {
        let batch: Batch
        do {
            batch = try Batch(parsing: body)
        } catch {
            return unreadable("\(error)", body, from: gateway)
        }
        var foreign: [SequencedRecord] = []
        var allowed: [DeviceID: Bool] = [:]
        for entry in batch.records {
            let device = entry.record.device
            let isAllowed = allowed[device] ?? maySpeak(gateway, for: device)
            allowed[device] = isAllowed
            if !isAllowed { foreign.append(entry) }
        }
        let quarantined = foreign.map { quarantine($0, batch.epoch, gateway: gateway) }
        let mark = BatchMark(
            gateway: gateway, epoch: batch.epoch, runs: batch.runs, dropped: batch.dropped, quarantined: quarantined)
        guard !foreign.isEmpty else {
            return Verdict(body: batch.records.isEmpty ? nil : body, mark: mark, quarantined: nil, receipt: nil)
        }
        let refused = Set(foreign.map(\.sequence))
        let rest = batch.removing { refused.contains($0) }
        return Verdict(
            body: rest.records.isEmpty ? nil : rest.encoded(), mark: mark, quarantined: nil,
            receipt: receipt(for: foreign, batch.epoch, gateway: gateway))
    }

    /// A child's event by somebody who is not its gateway.
    public func foreignChild(_ child: DeviceID, gateway: DeviceID, body: [UInt8]) -> QuarantinedRecord {
        QuarantinedRecord(
            gateway: gateway, epoch: nil, sequence: nil, code: QuarantineCode.childNotInScope.rawValue,
            reason: Self.foreignReason(child, gateway), body: Array(body.prefix(Self.headBytesMax)))
    }

    private func quarantine(_ entry: SequencedRecord, _ epoch: Epoch, gateway: DeviceID) -> QuarantinedRecord {
        QuarantinedRecord(
            gateway: gateway, epoch: epoch, sequence: entry.sequence,
            code: QuarantineCode.childNotInScope.rawValue,
            reason: Self.foreignReason(entry.record.device, gateway), body: Batch.encodeFragment(entry))
    }

    private func receipt(for foreign: [SequencedRecord], _ epoch: Epoch, gateway: DeviceID) -> [UInt8] {
        var entries: [Receipt.Entry] = []
        for (device, records) in Dictionary(grouping: foreign, by: \.record.device).sorted(by: { $0.key < $1.key }) {
            for run in Run.joining(records.lazy.map(\.sequence)) {
                entries.append(
                    Receipt.Entry(run: run, code: .childNotInScope, reason: Self.foreignReason(device, gateway)))
            }
        }
        return Receipt(epoch: epoch, entries: entries).encoded()
    }

    private func unreadable(_ reason: String, _ body: [UInt8], from gateway: DeviceID) -> Verdict {
        let record = QuarantinedRecord(
            gateway: gateway, epoch: nil, sequence: nil, code: QuarantineCode.malformedBatch.rawValue, reason: reason,
            body: Array(body.prefix(Self.headBytesMax)))
        let receipt = Receipt(
            epoch: nil, entries: [Receipt.Entry(run: nil, code: .malformedBatch, reason: reason)])
        return Verdict(body: nil, mark: nil, quarantined: record, receipt: receipt.encoded())
    }

    private static func foreignReason(_ child: DeviceID, _ gateway: DeviceID) -> String {
        "'\(child)' is no child of gateway '\(gateway)'; make it one in the hub's registry, or remove the sensor from the "
            + "gateway's configuration"
    }
}
