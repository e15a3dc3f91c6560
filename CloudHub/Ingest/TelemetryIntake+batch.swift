import Compression
public import EventLog
import HubContract
public import Primitives
import Telemetry

extension TelemetryIntake {
    /// Reads a batch and sorts its records.
    ///
    /// Records of the gateway and its enabled children stay; the others are quarantined with code and reason. An envelope
    /// that cannot be read is quarantined whole.
    ///
    /// - Parameter bagText: the publish's property bag, whose content encoding says how `body` is to be read.
    public func batchReceived(_ body: [UInt8], bagText: String, from gateway: DeviceID) -> Verdict {
        do {
            let plain = try decoded(body, bagText: bagText)
            var verdict = verdict(on: try Batch(parsing: plain.body), plain.body, from: gateway)
            verdict.bagText = plain.bagText
            return verdict
        } catch {
            return unreadable("\(error)", body, from: gateway)
        }
    }

    /// Readers of the log need not know zstd: a batch is kept as plain JSON, and its bag says so.
    private func decoded(_ body: [UInt8], bagText: String) throws -> (body: [UInt8], bagText: String) {
        guard var bag = try? PropertyBag(parsing: bagText), let encoding = bag.system("ce"),
            encoding.lowercased() != Batch.contentEncoding
        else { return (body, bagText) }
        let plain = try decompressor.decompress(body, encoding: encoding, bytesMax: BatchLimits.default.bytesMax)
        bag.replace("$.ce", with: Batch.contentEncoding)
        return (plain, bag.encoded())
    }

    private func verdict(on batch: Batch, _ body: [UInt8], from gateway: DeviceID) -> Verdict {
        var refused: [(entry: SequencedRecord, refusal: Refusal)] = []
        // One answer a device, even if the registry changes meanwhile.
        var refusals: [DeviceID: Refusal?] = [:]
        for entry in batch.records {
            let device = entry.record.device
            let refusal = refusals[device] ?? refusal(of: device, by: gateway)
            refusals.updateValue(refusal, forKey: device)
            if let refusal { refused.append((entry, refusal)) }
        }
        let quarantined = refused.map { entry, refusal in
            QuarantinedRecord(
                gateway: gateway, epoch: batch.epoch, sequence: entry.sequence, code: refusal.code.rawValue,
                reason: refusal.reason, body: Batch.encodeFragment(entry))
        }
        let mark = BatchMark(
            gateway: gateway, epoch: batch.epoch, runs: batch.runs, dropped: batch.dropped, quarantined: quarantined)
        guard !refused.isEmpty else {
            return Verdict(body: batch.records.isEmpty ? nil : body, mark: mark, quarantined: nil, receipt: nil)
        }
        let sequences = Set(refused.map(\.entry.sequence))
        let rest = batch.removing { sequences.contains($0) }
        return Verdict(
            body: rest.records.isEmpty ? nil : rest.encoded(), mark: mark, quarantined: nil,
            receipt: receipt(for: refused, batch.epoch))
    }

    /// A child's event outside a batch: what goes into quarantine instead, or `nil` when the gateway may send it.
    public func childReceived(
        _ child: DeviceID, gateway: DeviceID, body: @autoclosure () -> [UInt8]
    ) -> QuarantinedRecord? {
        refusal(of: child, by: gateway).map { refusal in
            QuarantinedRecord(
                gateway: gateway, epoch: nil, sequence: nil, code: refusal.code.rawValue, reason: refusal.reason,
                body: Array(body().prefix(Self.headBytesMax)))
        }
    }

    private func receipt(for refused: [(entry: SequencedRecord, refusal: Refusal)], _ epoch: Epoch) -> [UInt8] {
        var entries: [Receipt.Entry] = []
        let byDevice = Dictionary(grouping: refused, by: \.entry.record.device)
        for (_, records) in byDevice.sorted(by: { $0.key < $1.key }) {
            guard let refusal = records.first?.refusal else { continue }
            var rest = records.lazy.map(\.entry).makeIterator()
            for run in Run.joining(records.lazy.map(\.entry.sequence)) {
                // As many records as the run has, the first of which names it.
                let first = rest.next()
                for _ in 1..<run.count { _ = rest.next() }
                entries.append(
                    Receipt.Entry(
                        run: run, code: refusal.code, reason: refusal.reason, first: first.map { .init($0.record) }))
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

    /// Why `gateway` may not send in the name of `device`; `nil` when it may.
    private func refusal(of device: DeviceID, by gateway: DeviceID) -> Refusal? {
        switch right(of: gateway, for: device) {
        case .granted: nil
        case .foreign:
            Refusal(
                code: .childNotInScope,
                reason:
                    "'\(device)' is no child of gateway '\(gateway)'; make it one in the hub's registry, or remove the "
                    + "sensor from the gateway's configuration")
        case .disabled:
            Refusal(
                code: .deviceDisabled,
                reason: "'\(device)' is disabled in the hub's registry; enable it there, or remove the sensor from the "
                    + "gateway's configuration")
        }
    }
}

private struct Refusal {
    let code: QuarantineCode
    let reason: String
}
