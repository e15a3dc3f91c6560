public import HubContract
import Logging
public import Primitives
import Registry
import Sessions
import Throttles
import Synchronization

/// A message for a device, as the service side hands it in.
public struct C2DMessage: Sendable {
    /// Goes out as `$.mid`; at most 128 characters.
    public var id: String
    /// Application properties and system properties other than `$.to`, `$.mid` and `$.exp`, which the hub sets. The
    /// property `iothub-ack` says which ends the sender wants feedback about.
    public var properties: PropertyBag
    public var payload: [UInt8]
    /// `nil`: the hub's own time to live from now.
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

/// What an operator may set about cloud-to-device messages. Source: IoT Hub, C2D configuration options.
public struct CloudToDeviceOptions: Sendable, Hashable {
    /// Of a message that names no expiry. Default 1 h. Range 1 min … 2 d.
    public var timeToLive = Duration.seconds(3600)
    /// Deliveries without an acknowledgement after which a message is given up. Default 10. Range 1 … 100.
    public var deliveriesMax = DeviceHub.deliveriesMax
    /// How long a message that was received over HTTPS stays locked. Default 60 s. Range 1 s … 5 min.
    public var lockTime = Duration.seconds(60)
    /// How long feedback is kept for whoever asks for it. Default 2 d. Range 1 min … 2 d.
    public var feedbackTime = Duration.seconds(2 * 86_400)

    public init() {}
}

extension DeviceHub {
    /// Messages that wait for one device. Source: IoT Hub quotas.
    public static let queueMax = 50
    /// Deliveries without acknowledgement after which a message is given up, unless the operator says otherwise.
    /// Source: IoT Hub, C2D configuration options.
    public static let deliveriesMax = 10
    /// Bytes of payload and properties together. Source: IoT Hub quotas.
    public static let cloudToDeviceBytesMax = 64 * 1024
    /// Source: IoT Hub, C2D configuration: the longest time to live.
    public static let timeToLiveMax = Duration.seconds(2 * 86_400)
    /// Bytes of the topic that carries the properties, on a gateway's connection. Source: MQTT 3.1.1 section 1.5.3.
    public static let topicBytesMax = 65_535

    // MARK: - From the service

    /// Queues a message; returns when it is durable. A connected device gets it at once, any other when it comes.
    ///
    /// - Throws: 404001 unknown device; 400 for a module, a bad id, a bad `iothub-ack` or a time that is over or too far
    ///   off; 413001 too large; 429001 too often; 403004 when `queueMax` messages wait; 503 when the store failed.
    public func sendCloudToDevice(_ target: HubIdentity, message: C2DMessage) async throws(HubError) {
        var checked = try checked(message, for: target)
        if let refusal = throttle(.cloudToDevice, target) { throw refusal }
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
        try Self.unwrap(result)
    }

    /// How many messages wait for the device.
    public func cloudToDeviceCount(of device: DeviceID) -> Int { mailbox.count(of: device) }

    /// Takes everything out of the device's queue.
    /// - Returns: how many messages that were.
    public func purgeCloudToDevice(of device: DeviceID) async throws(HubError) -> Int {
        guard registry.device(device) != nil else { throw Self.unknown(HubIdentity(device)) }
        do {
            let ended = try await store.purge(device, now: clock())
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
        let now = clock()
        activity.active(who, at: now)
        store.complete(lockToken, of: who.device, now: now) { [self] result in
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
            who.device, at: moment,
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

    func tell(_ outcomes: [C2DOutcome]) {
        guard !outcomes.isEmpty else { return }
        for outcome in outcomes { mailbox.removed(outcome.token, from: outcome.device) }
        for observer in outcomeObservers.withLock({ $0 }) {
            for outcome in outcomes { observer(outcome) }
        }
    }

    var moment: QueueMoment {
        QueueMoment(now: clock(), deliveriesMax: options.deliveriesMax, lockTime: options.lockTime)
    }

    static func unwrap<T>(_ result: Result<T, any Error>) throws(HubError) -> T {
        do {
            return try result.get()
        } catch let error as HubError {
            throw error
        } catch {
            throw unavailable(error)
        }
    }

    // MARK: - Checks

    private func checked(_ message: C2DMessage, for target: HubIdentity) throws(HubError) -> QueuedMessage {
        guard target.module == nil else {
            throw HubError(.invalidOperation, "\(target) is a module; cloud-to-device messages go to devices")
        }
        guard let device = registry.device(target.device) else { throw Self.unknown(target) }
        guard (1...128).contains(message.id.count) else {
            throw HubError(.argumentInvalid, "a message id has 1 to 128 characters")
        }
        let now = clock()
        let expiry = message.expiresAt ?? now + options.timeToLive
        guard expiry > now, expiry - now <= Self.timeToLiveMax else {
            throw HubError(
                .argumentInvalid, "the message expires at \(expiry), which is over already or more than two days off")
        }
        let ack = message.properties.value(C2DAck.propertyName) ?? C2DAck.none.rawValue
        guard let ack = C2DAck(rawValue: ack.lowercased()) else {
            throw HubError(
                .argumentInvalid, "\(C2DAck.propertyName) is none, positive, negative or full, not '\(ack.prefix(64))'")
        }
        var random = SystemRandomNumberGenerator()
        return QueuedMessage(
            token: .random(using: &random), messageID: message.id,
            bagText: try bag(of: message, for: target.device, expiry),
            payload: message.payload, expiresAt: expiry, wantsOutcome: message.wantsOutcome, enqueuedAt: now, ack: ack,
            generationID: device.generationID)
    }

    private func bag(
        of message: C2DMessage, for device: DeviceID, _ expiry: WallInstant
    ) throws(HubError) -> String {
        var entries = [
            PropertyBag.Entry("$.to", "/devices/\(device)/messages/deviceBound"),
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
        let topic = HubTopics.child(device, HubTopics.cloudToDevice(to: HubIdentity(device), bag: PropertyBag()))
        let topicBytes = topic.utf8.count + bag.utf8.count
        guard topicBytes <= Self.topicBytesMax else {
            throw HubError(
                .messageTooLarge,
                "the message's properties make its MQTT topic \(topicBytes) bytes long; a topic has at most "
                    + "\(Self.topicBytesMax), so shorten the properties or put what they say into the body")
        }
        return bag
    }
}
