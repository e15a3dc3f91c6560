public import HubContract
import Logging
public import Primitives
import Registry

/// A message that a device received over HTTPS and holds under a lock.
public struct LockedMessage: Sendable {
    /// What it is completed, rejected or abandoned with.
    public let lock: UniqueID
    public let waiting: WaitingMessage
}

/// One message of a queue, as an operator sees it.
public struct QueueEntry: Sendable {
    public let waiting: WaitingMessage
    /// Whether the device has it in hand: on its way over MQTT, or locked over HTTPS.
    public let isHeld: Bool
}

/// What a device does with its queue over HTTPS, what an operator sees of it, and what senders learn.
extension DeviceHub {
    /// Feedback records in one batch. Source: IoT Hub, message feedback.
    public static let feedbackBatchMax = 64
    /// Feedback records that are kept; the oldest go first.
    public static let feedbackMax = 10_000
    /// How long a batch of feedback stays locked. Source: IoT Hub, message feedback.
    static let feedbackLockTime = Duration.seconds(60)

    // MARK: - The device, over HTTPS

    /// The oldest message that nobody holds, locked; `nil` when there is none.
    /// - Throws: 503 when the store failed.
    public func receiveCloudToDevice(_ device: DeviceID) async throws(HubError) -> LockedMessage? {
        var random = SystemRandomNumberGenerator()
        let lock = UniqueID.random(using: &random)
        let moment = moment
        activity.active(HubIdentity(device), at: moment.now)
        // Asking costs a write; an empty queue is known from memory.
        guard mailbox.count(of: device) > 0 else { return nil }
        do {
            let (message, ended) = try await store.receive(device, lock: lock, at: moment) { [mailbox] in
                mailbox.underWay(to: device)
            }
            tell(ended)
            if message != nil { mailbox.due(at: moment.now + moment.lockTime) }
            return message.map { LockedMessage(lock: lock, waiting: $0) }
        } catch {
            throw Self.unavailable(error)
        }
    }

    /// Completes, rejects or abandons what the device holds under `lock`.
    /// - Throws: 412002 when the lock is over or never was; 503.
    public func settleCloudToDevice(
        _ device: DeviceID, lock: UniqueID, as settlement: C2DSettlement
    ) async throws(HubError) {
        let moment = moment
        activity.active(HubIdentity(device), at: moment.now)
        let settled: SettledMessage?
        do { settled = try await store.settle(lock, of: device, as: settlement, at: moment) } catch {
            throw Self.unavailable(error)
        }
        switch settled {
        case .ended(let outcome): tell([outcome])
        case .waitsAgain: deliverWaiting(HubIdentity(device))
        case nil:
            throw HubError(
                .deviceMessageLockLost,
                "the lock \(lock) is over: the message expired, was purged, or waits for its next delivery")
        }
    }

    // MARK: - The operator

    /// What waits for the device, oldest first.
    /// - Throws: 404001 unknown device; 503.
    public func cloudToDeviceQueue(of device: DeviceID) async throws(HubError) -> [QueueEntry] {
        guard registry.device(device) != nil else { throw Self.unknown(HubIdentity(device)) }
        let now = clock()
        do {
            let underWay = mailbox.underWay(to: device)
            return try await store.waiting(for: device).map { waiting in
                let isLocked = waiting.lockedUntil.map { $0 > now } ?? false
                return QueueEntry(waiting: waiting, isHeld: isLocked || underWay.contains(waiting.message.token))
            }
        } catch {
            throw Self.unavailable(error)
        }
    }

    // MARK: - The sender

    /// The oldest feedback that nobody holds, at most `feedbackBatchMax` records, locked for a minute.
    /// - Returns: `nil` when there is none.
    public func takeFeedback() async throws(HubError) -> (lock: UniqueID, records: [C2DFeedback])? {
        var random = SystemRandomNumberGenerator()
        let lock = UniqueID.random(using: &random)
        let now = clock()
        do {
            let records = try await store.takeFeedback(
                most: Self.feedbackBatchMax, lock: lock, now: now, until: now + Self.feedbackLockTime)
            return records.isEmpty ? nil : (lock, records)
        } catch {
            throw Self.unavailable(error)
        }
    }

    /// Removes the batch that is held under `lock`, or gives it back.
    /// - Throws: 412002 when the lock is over; 503.
    public func settleFeedback(_ lock: UniqueID, isDone: Bool) async throws(HubError) {
        let isHeld: Bool
        do { isHeld = try await store.settleFeedback(lock, isDone: isDone, now: clock()) } catch {
            throw Self.unavailable(error)
        }
        guard isHeld else {
            throw HubError(.deviceMessageLockLost, "the lock \(lock) is over; read the feedback again")
        }
    }

    /// The newest feedback, newest first; takes nothing.
    public func feedback(of device: DeviceID?, most: Int) async throws(HubError) -> [C2DFeedback] {
        do { return try await store.feedback(of: device, most: most) } catch { throw Self.unavailable(error) }
    }

    // MARK: - Upkeep

    func sweepQueues() async {
        let moment = moment
        guard mailbox.isDue(at: moment.now) else { return }
        do {
            let sweep = try await store.sweep(at: moment)
            mailbox.sweptUntil(moment.now, next: sweep.nextDue)
            tell(sweep.ended)
            for device in sweep.unlocked { deliverWaiting(HubIdentity(device)) }
        } catch {
            logger.warning(
                "expired messages could not be taken out of their queues; the next attempt follows",
                metadata: ["error": "\(error)"])
        }
    }

    func forgetOldFeedback() async {
        let limit = Duration.zero - options.feedbackTime
        do { try await store.forgetFeedback(before: clock() + limit) } catch {
            logger.warning(
                "old message feedback could not be removed; the next attempt follows", metadata: ["error": "\(error)"])
        }
    }
}
