import EventLog
import HubContract
import Ingest
import MQTTCodec
import MQTTSession
import NIOCore
import Primitives
import Sessions

/// Telemetry that is not plain: retained, a batch, or a child's.
extension MQTTConnection {
    /// The caller enters the connection into the group afterwards.
    func unusual(_ publish: Publish, bagText: String) {
        var bag = bagText
        // Nothing is retained; the property tells. Source: IoT Hub, MQTT support.
        if publish.isRetained { bag += (bag.isEmpty ? "" : "&") + "mqtt-retain=true" }
        guard TelemetryIntake.isBatch(bagText: bagText), let identity = attached?.dispatch.identity,
            identity.module == nil
        else {
            append(source: .telemetry, bag: bag, body: publish.payload)
            return
        }
        batch(bag, Array(publish.payload.readableBytesView), from: identity.device)
    }

    private func batch(_ bag: String, _ body: [UInt8], from gateway: DeviceID) {
        let verdict = shared.dependencies.intake.batchReceived(body, bagText: bag, from: gateway)
        if let record = verdict.quarantined {
            shard.builder.quarantine(record)
        } else if let mark = verdict.mark, let body = verdict.body {
            Array(verdict.bagText.utf8).withUnsafeBytes { bag in
                body.withUnsafeBytes { append(source: .telemetry, bag: bag, body: $0, batch: mark) }
            }
        } else if let mark = verdict.mark {
            shard.builder.appendEmptyBatch(stamp, batch: mark)
        }
        if let receipt = verdict.receipt { awaitCommit(nil, receipt: receipt) }
        let refused = verdict.quarantined.map { [$0] } ?? verdict.mark?.quarantined ?? []
        if let first = refused.first { complain(of: first, count: refused.count) }
    }

    /// A child's event through the `$fieldline/` extension: it goes into the gateway's partition, as the child's.
    func childTelemetry(_ child: DeviceID, _ bagText: String, _ publish: Publish, _ ticket: PublishTicket?) {
        guard let identity = attached?.dispatch.identity else { return }
        let quarantined = shared.dependencies.intake.childReceived(
            child, gateway: identity.device, body: Array(publish.payload.readableBytesView))
        if let quarantined {
            shard.builder.quarantine(quarantined)
            complain(of: quarantined, count: 1)
        } else {
            let own = stamp
            stamp = own.of(child)
            append(source: .telemetry, bag: bagText, body: publish.payload)
            stamp = own
        }
        awaitCommit(ticket)
    }

    private func complain(of record: QuarantinedRecord, count: Int) {
        guard let identity = attached?.dispatch.identity else { return }
        shared.quarantined(count, record.reason, gateway: identity)
    }

    private func append(source: EventSource, bag: String, body: ByteBuffer) {
        Array(bag.utf8).withUnsafeBytes { bag in
            body.withUnsafeReadableBytes { append(source: source, bag: bag, body: $0) }
        }
    }
}
