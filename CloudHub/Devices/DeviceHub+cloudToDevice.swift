public import HubContract
import Logging
public import Primitives
import Registry
import Sessions
import Synchronization

/// A message for a device, as the service side hands it in.
public struct C2DMessage: Sendable {
    /// Goes out as `$.mid`; at most 128 characters.
    public var id: String
    /// Application properties and system properties other than `$.to`, `$.mid` and `$.exp`, which the hub sets.
    public var properties: PropertyBag
    public var payload: [UInt8]
    /// `nil`: an hour from now.
    public var expiresAt: WallInstant?
    /// Whether its outcome is kept until somebody handled it, over a restart too.
    public var wantsOutcome: Bool

    public init(
        id: String, properties: PropertyBag = PropertyBag(), payload: [UInt8] = [], expiresAt: WallInstant? = nil,
        wantsOutcome: Bool = false
    ) {
        self.id = id
        self.properties = properties
        self.payload = payload
        self.expiresAt = expiresAt
        self.wantsOutcome = wantsOutcome
    }
}

extension DeviceHub {
    /// Messages that wait for one device. Source: IoT Hub quotas.
    public static let queueMax = 50
    /// Deliveries without acknowledgement after which a message is given up. Source: IoT Hub, C2D configuration.
    public static let deliveriesMax = 10
    /// Bytes of payload and properties together. Source: IoT Hub quotas.
    public static let cloudToDeviceBytesMax = 64 * 1024
    /// Bytes of the topic that carries the properties, on a gateway's connection. Source: MQTT 3.1.1 section 1.5.3.
    public static let topicBytesMax = 65_535
    /// Source: IoT Hub, C2D configuration: default and longest time to live.
    public static let timeToLiveDefault = Duration.seconds(3600)
    public static let timeToLiveMax = Duration.seconds(2 * 86_400)

    // MARK: - From the service

    /// Queues a message; returns when it is durable. A connected device gets it at once, any other when it comes.
    ///
    /// - Throws: 404001 unknown device; 400 for a module, a bad id or a time that is over or too far off; 413001 too
    ///   large, as a whole or in its properties; 403004 when `queueMax` messages wait; 503 when the store failed.
    public func sendCloudToDevice(_ target: HubIdentity, message: C2DMessage) async throws(HubError) {
        var checked = try checked(message, for: target)
        let link = start(checked, to: target)
        // Counted before it is made, like every delivery: who asks later must not be told that it was never handed over.
        checked.deliveries = link == nil ? 0 : 1
        let queued = checked
        let result: Result<Void, any Error> = await withCheckedContinuation { continuation in
            store.enqueue(queued, for: target.device, most: Self.queueMax) { [self] result in
                switch result {
                case .success:
                    mailbox.added(to: target.device, expiresAt: queued.expiresAt)
                    sendAtOnce(queued, to: target, startedOn: link)
                case .failure: link.map { mailbox.startFailed(queued.token, of: target.device, on: $0) }
                }
                continuation.resume(returning: result)
            }
        }
        do {
            try result.get()
        } catch let error as HubError {
            throw error
        } catch {
            throw Self.unavailable(error)
        }
    }

    /// How many messages wait for the device.
    public func cloudToDeviceCount(of device: DeviceID) -> Int { mailbox.count(of: device) }

    /// Takes everything out of the device's queue.
    /// - Returns: how many messages that were.
    public func purgeCloudToDevice(of device: DeviceID) async throws(HubError) -> Int {
        guard registry.device(device) != nil else { throw Self.unknown(HubIdentity(device)) }
        do {
            let ended = try await store.purge(device)
            tell(ended)
            return ended.count
        } catch {
            throw Self.unavailable(error)
        }
    }

    /// Calls `observer` with the end of every message, after it is durable; on the store's thread. Observers live as
    /// long as the hub.
    public func onOutcome(_ observer: @escaping @Sendable (C2DOutcome) -> Void) {
        outcomeObservers.withLock { $0.append(observer) }
    }

    /// Outcomes that nobody said to have handled, oldest first: what a restart may have cut short.
    public func storedOutcomes() async throws(HubError) -> [C2DOutcome] {
        do { return try await store.storedOutcomes() } catch { throw Self.unavailable(error) }
    }

    /// What has become of a message with `wantsOutcome`, by the id that it was sent under.
    public func cloudToDeviceFate(of messageID: String, for device: DeviceID) async throws(HubError) -> C2DFate {
        do { return try await store.fate(ofMessage: messageID, for: device) } catch { throw Self.unavailable(error) }
    }

    /// Forgets outcomes once their consequence is durable elsewhere.
    public func outcomesHandled(_ tokens: [UniqueID]) async throws(HubError) {
        do { try await store.outcomesHandled(tokens) } catch { throw Self.unavailable(error) }
    }

    // MARK: - From the session

    /// For a gateway this also opens the queues of those children whose messages its link takes.
    public func cloudToDeviceReady(_ who: HubIdentity) {
        guard who.module == nil else { return }
        deliverWaiting(who)
        for child in registry.children(of: who.device) where mailbox.count(of: child) > 0 {
            deliverWaiting(HubIdentity(child))
        }
    }

    public func cloudToDeviceCompleted(_ who: HubIdentity, lockToken: UniqueID) {
        activity.active(who, at: clock())
        store.complete(lockToken, of: who.device) { [self] result in
            switch result {
            case .success(let outcome?): tell([outcome])
            case .success(nil): break
            case .failure(let error): logFailure(error, doing: "complete a cloud-to-device message", who)
            }
        }
    }

    // MARK: - Delivery

    /// Takes everything that waits and is not under way on this link already, and sends it. The store counts each delivery
    /// before it is made, so that a message that kills its device is given up one day.
    func deliverWaiting(_ who: HubIdentity) {
        guard let link = link(to: who), mailbox.startsTaking(who.device, for: link) else { return }
        store.takeForDelivery(
            who.device, now: clock(), deliveriesMax: Self.deliveriesMax,
            underWay: { [self] in self.link(to: who) === link ? mailbox.underWay(to: who.device, on: link) : nil },
            completion: { [self] result in
                switch result {
                case .success(let (messages, ended)):
                    tell(ended)
                    let tokens = self.link(to: who) === link ? messages.map(\.token) : nil
                    guard mailbox.taken(tokens, of: who.device, on: link) else { return }
                    for message in messages { deliver(message, to: who, on: link) }
                case .failure(let error):
                    _ = mailbox.taken(nil, of: who.device, on: link)
                    logFailure(error, doing: "read the cloud-to-device queue", who)
                }
            })
    }

    /// The link on which the message will go out as soon as it is durable; `nil` when it has to wait.
    private func start(_ message: QueuedMessage, to who: HubIdentity) -> (any DeviceLink)? {
        guard let link = link(to: who), mailbox.starts(message.token, of: who.device, on: link) else { return nil }
        return link
    }

    /// Runs in commit order. As long as the queue was not opened on this link, `deliverWaiting` sends the message in
    /// its place in the queue.
    private func sendAtOnce(_ message: QueuedMessage, to who: HubIdentity, startedOn link: (any DeviceLink)?) {
        guard let link else { return deliverWaiting(who) }
        guard self.link(to: who) === link, mailbox.isUnderWay(message.token, of: who.device, on: link) else {
            mailbox.startFailed(message.token, of: who.device, on: link)
            return deliverWaiting(who)
        }
        deliver(message, to: who, on: link)
    }

    private func link(to who: HubIdentity) -> (any DeviceLink)? { connected.link(for: who, subscribed: .cloudToDevice) }

    private func deliver(_ message: QueuedMessage, to who: HubIdentity, on link: any DeviceLink) {
        let delivery = C2DDelivery(lockToken: message.token, bagText: message.bagText, payload: message.payload)
        link.deliver(.cloudToDevice(delivery), to: who)
    }

    // MARK: - Ends

    func expireDue() async {
        let now = clock()
        guard mailbox.isExpiryDue(at: now) else { return }
        do {
            let (ended, next) = try await store.expire(now: now)
            mailbox.sweptUntil(now, next: next)
            tell(ended)
        } catch {
            logger.warning(
                "expired messages could not be taken out of their queues; the next attempt follows",
                metadata: ["error": "\(error)"])
        }
    }

    private func tell(_ outcomes: [C2DOutcome]) {
        guard !outcomes.isEmpty else { return }
        for outcome in outcomes { mailbox.removed(outcome.token, from: outcome.device) }
        for observer in outcomeObservers.withLock({ $0 }) {
            for outcome in outcomes { observer(outcome) }
        }
    }

    private func checked(_ message: C2DMessage, for target: HubIdentity) throws(HubError) -> QueuedMessage {
        guard target.module == nil else {
            throw HubError(.invalidOperation, "\(target) is a module; cloud-to-device messages go to devices")
        }
        guard registry.device(target.device) != nil else { throw Self.unknown(target) }
        guard (1...128).contains(message.id.count) else {
            throw HubError(.argumentInvalid, "a message id has 1 to 128 characters")
        }
        let now = clock()
        let expiry = message.expiresAt ?? now + Self.timeToLiveDefault
        guard expiry > now, expiry - now <= Self.timeToLiveMax else {
            throw HubError(
                .argumentInvalid, "the message expires at \(expiry), which is over already or more than two days off")
        }
        var entries = [
            PropertyBag.Entry("$.to", "/devices/\(target.device)/messages/deviceBound"),
            PropertyBag.Entry("$.mid", message.id), PropertyBag.Entry("$.exp", expiry.description),
        ]
        entries += message.properties.entries.filter { !["$.to", "$.mid", "$.exp"].contains($0.name) }
        let bag = PropertyBag(entries).encoded()
        guard message.payload.count + bag.utf8.count <= Self.cloudToDeviceBytesMax else {
            throw HubError(
                .messageTooLarge,
                "the message has \(message.payload.count + bag.utf8.count) bytes with its properties; at most "
                    + "\(Self.cloudToDeviceBytesMax) are taken")
        }
        // A device may get a gateway while the message waits.
        let topic = HubTopics.child(target.device, HubTopics.cloudToDevice(to: target, bag: PropertyBag()) + bag)
        guard topic.utf8.count <= Self.topicBytesMax else {
            throw HubError(
                .messageTooLarge,
                "the message's properties make its MQTT topic \(topic.utf8.count) bytes long; a topic has at most "
                    + "\(Self.topicBytesMax), so shorten the properties or put what they say into the body")
        }
        var random = SystemRandomNumberGenerator()
        return QueuedMessage(
            token: .random(using: &random), messageID: message.id, bagText: bag, payload: message.payload,
            expiresAt: expiry, wantsOutcome: message.wantsOutcome)
    }
}
