import EventLog
import HubContract
import Ingest
import Primitives
import Sessions
import Synchronization

/// Puts events of requests into the log, and waits until they are durable.
///
/// Each request is a group of its own; the log commits those that wait at the same time together, and with them the
/// groups of the MQTT loops.
final class EventWriter: Sendable {
    private struct Waiting {
        let continuation: CheckedContinuation<HubError?, Never>
    }

    private struct State {
        var bytes = 0
        var waiting: [UInt64: Waiting] = [:]
        var lastNumber: UInt64 = 0
        var isStalled = false
    }

    private let log: any EventLog
    private let intake: TelemetryIntake
    private let bytesMax: Int
    private let state = Mutex(State())
    private let token = Mutex<WakeToken?>(nil)

    /// - Parameter bytesMax: of events that wait for the disk; further ones are refused.
    init(log: any EventLog, intake: TelemetryIntake, bytesMax: Int) {
        self.log = log
        self.intake = intake
        self.bytesMax = bytesMax
        let token = log.onCondition { [weak self] condition in self?.conditionChanged(condition) }
        self.token.withLock { $0 = token }
    }

    /// Stores the events of one device, all or none.
    ///
    /// - Throws: 503 while the log cannot store or too much waits for it; 400006 for a telemetry batch that cannot be
    ///   read. When a log that stops storing had the events already, they may be stored all the same.
    func append(_ events: [NewEvent], from origin: EventOrigin) async throws(HubError) {
        let group = try group(of: events, from: origin)
        let bytes = group.byteCount
        let error: HubError? = await withCheckedContinuation { continuation in
            let number: UInt64? = state.withLock { state in
                guard !state.isStalled, state.bytes + bytes <= bytesMax else { return nil }
                state.bytes += bytes
                state.lastNumber += 1
                state.waiting[state.lastNumber] = Waiting(continuation: continuation)
                return state.lastNumber
            }
            guard let number else { return continuation.resume(returning: Self.unavailable) }
            log.append(group) { [self] result in
                let ended = state.withLock { state in
                    state.bytes -= bytes
                    return state.waiting.removeValue(forKey: number)
                }
                switch result {
                case .success: ended?.continuation.resume(returning: nil)
                case .failure: ended?.continuation.resume(returning: Self.unavailable)
                }
            }
        }
        if let error { throw error }
    }

    private func group(of events: [NewEvent], from origin: EventOrigin) throws(HubError) -> AppendGroup {
        var builder = GroupBuilder(partitionCount: log.partitionCount)
        var stamp = EventStamp(origin: origin, partitionCount: log.partitionCount)
        for event in events {
            let bag = Array(event.bagText.utf8)
            guard bag.count <= UInt16.max, bag.count + event.body.count <= SessionDispatch.messageBytesMax else {
                throw HubError(
                    .messageTooLarge,
                    "a message of \(bag.count + event.body.count) bytes with its properties; the most is "
                        + "\(SessionDispatch.messageBytesMax), of them \(UInt16.max) for properties")
            }
            if TelemetryIntake.isBatch(bagText: event.bagText) {
                try append(batch: event, &stamp, to: &builder, from: origin.device)
            } else {
                bag.withUnsafeBytes { bag in
                    event.body.withUnsafeBytes { builder.append(&stamp, source: .telemetry, bag: bag, body: $0) }
                }
            }
        }
        return builder.seal()
    }

    /// A gateway's telemetry batch. HTTP has a negative answer, so one that cannot be read is refused, not quarantined.
    private func append(
        batch event: NewEvent, _ stamp: inout EventStamp, to builder: inout GroupBuilder,
        from gateway: DeviceID
    ) throws(HubError) {
        let verdict = intake.batchReceived(event.body, bagText: event.bagText, from: gateway)
        if let record = verdict.quarantined {
            throw HubError(.iotHubFormatError, "the telemetry batch cannot be read: \(record.reason)")
        }
        guard let mark = verdict.mark else { return }
        guard let body = verdict.body else { return builder.appendEmptyBatch(stamp, batch: mark) }
        Array(verdict.bagText.utf8).withUnsafeBytes { bag in
            body.withUnsafeBytes { builder.append(&stamp, source: .telemetry, bag: bag, body: $0, batch: mark) }
        }
    }

    /// Nobody waits for a disk that may be full for hours; a device tries again.
    private func conditionChanged(_ condition: LogCondition) {
        let left: [Waiting] = state.withLock { state in
            state.isStalled = condition != .storing
            guard state.isStalled else { return [] }
            defer { state.waiting = [:] }
            return Array(state.waiting.values)
        }
        for waiting in left { waiting.continuation.resume(returning: Self.unavailable) }
    }

    private static let unavailable = HubError(
        .serviceUnavailable, "the hub cannot store events now; send the message again later")
}
