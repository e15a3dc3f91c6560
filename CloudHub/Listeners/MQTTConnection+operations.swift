import EventLog
import HubContract
import Ingest
import MQTTCodec
import MQTTSession
import NIOCore
import Primitives
import Sessions

/// Everything but telemetry: twins, methods, subscriptions, and what goes down.
extension MQTTConnection {
    // MARK: - Up

    /// The PUBACK of a twin request goes with its answer, because only then the patch is durable.
    func operate(_ who: HubIdentity, _ operation: DeviceOperation, _ payload: ByteBuffer, _ ticket: PublishTicket?) {
        guard let link = attached?.link else { return }
        // The log's next commit says nothing about the hub's own database.
        if let ticket { session.publishSettlesAlone(ticket) }
        let services = shared.dependencies.services
        let body = Array(payload.readableBytesView)
        let child = who == attached?.dispatch.identity ? nil : who
        if let child {
            switch shared.dependencies.intake.right(of: link.identity.device, for: child.device) {
            case .granted: break
            case .foreign: return refuse(child, status: 404, operation, ticket)
            case .disabled: return refuse(child, status: 401, operation, ticket)
            }
        }
        switch operation {
        case .twinGet(let rid):
            twinOperationsUnderWay += 1
            services.twinRequested(who) { answer in
                link.onLoop { $0.twinSettled(answer, rid: rid, child: child, ticket) }
            }
        case .reportedPatch(let rid, let version):
            twinOperationsUnderWay += 1
            services.reportedPatched(who, patch: body, ifVersion: version) { answer in
                link.onLoop { $0.twinSettled(answer, rid: rid, child: child, ticket) }
            }
        case .methodAnswer(let status, let rid):
            services.methodAnswered(who, rid: rid, status: status, payload: body)
            settle(ticket)
        case .timeGet(let rid):
            settle(ticket)
            guard qos(.timeResponses, nil) != nil else { return }
            let answer = HubTime(
                time: shared.dependencies.now(), batchEncodings: TelemetryIntake.batchEncodings)
            publish(HubTopics.timeResponse(rid: rid), answer.encoded(), child: nil, .atMostOnce)
        }
    }

    /// A gateway asked about a device that is not its child (404, as for one that does not exist) or is disabled (401). The
    /// connection stays, because its other children must not suffer.
    private func refuse(
        _ child: HubIdentity, status: Int, _ operation: DeviceOperation, _ ticket: PublishTicket?
    ) {
        shared.childRefused(child.device, isDisabled: status == 401, gateway: attached?.dispatch.identity.device)
        switch operation {
        case .twinGet(let rid), .reportedPatch(let rid, _):
            twinAnswered(TwinAnswer(status: status, version: nil, body: []), rid: rid, child: child, ticket)
        case .methodAnswer, .timeGet: settle(ticket)
        }
    }

    private func twinSettled(_ answer: TwinAnswer, rid: String, child: HubIdentity?, _ ticket: PublishTicket?) {
        twinOperationsUnderWay -= 1
        twinAnswered(answer, rid: rid, child: child, ticket)
        resumeReading()
    }

    private func twinAnswered(_ answer: TwinAnswer, rid: String, child: HubIdentity?, _ ticket: PublishTicket?) {
        settle(ticket)
        let topic = HubTopics.twinResponse(rid: rid, status: answer.status, version: answer.version)
        publish(topic, answer.body, child: child, .atMostOnce)
    }

    func subscribed(_ subscribe: Subscribe) {
        guard let attached else { return }
        var table = attached.subscriptions
        let outcome = table.subscribe(subscribe, as: attached.dispatch.identity)
        for refusal in outcome.refusals { shared.subscriptionRefused(refusal, device: attached.dispatch.identity) }
        change(to: table) { connection in
            connection.answer(connection.session.subscribeAnswered(subscribe.packetID, codes: outcome.codes))
            connection.tellReady(outcome.granted)
        }
    }

    func unsubscribed(_ unsubscribe: Unsubscribe) {
        guard let attached else { return }
        var table = attached.subscriptions
        table.unsubscribe(unsubscribe.topicFilters, as: attached.dispatch.identity)
        change(to: table) { $0.answer($0.session.unsubscribeAnswered(unsubscribe.packetID)) }
    }

    /// Stores the subscriptions of a session that outlives its connection, then goes on.
    private func change(to table: SubscriptionTable, then: @escaping @Sendable (MQTTConnection) -> Void) {
        guard let link = attached?.link, let identity = attached?.dispatch.identity else { return }
        let isUnchanged = table == attached?.subscriptions
        attached?.subscriptions = table
        shared.dependencies.connected.setSubscriptions(table.entries, of: link)
        guard !isUnchanged, attached?.isCleanSession == false else {
            then(self)
            return
        }
        shared.dependencies.services.subscriptionsChanged(identity, to: table.entries) { isDurable in
            link.onLoop { connection in
                guard isDurable else {
                    connection.close(.refused("a subscription, because the hub could not store it"))
                    return
                }
                then(connection)
            }
        }
    }

    private func answer(_ action: ServerSession.AnswerAction) {
        switch action {
        case .reply(let packet):
            send(packet)
            resumeReading()
        case .ignore: break
        }
    }

    func acknowledged(_ id: PacketID) {
        if let delivery = attached?.outbound.acknowledged(id) {
            shared.dependencies.services.cloudToDeviceCompleted(delivery.target, lockToken: delivery.lockToken)
        }
        // One that comes to nothing leaves its place to the next.
        while let next = attached?.outbound.takeFirstWaiting() {
            if cloudToDevice(next.message, for: next.target) { break }
        }
    }

    // MARK: - Down

    /// `target` is a child, or `nil` for the connection's own identity.
    func deliver(_ message: DeviceBound, to target: HubIdentity?) {
        guard let identity = attached?.dispatch.identity else { return }
        switch message {
        case .methodRequest(let name, let rid, let payload):
            guard qos(.methods, target) != nil else { return }
            publish(HubTopics.methodRequest(name: name, rid: rid), payload, child: target, .atMostOnce)
        case .desiredChanged(let version, let patch):
            guard qos(.desiredChanges, target) != nil else { return }
            publish(HubTopics.desiredPush(version: version), patch, child: target, .atMostOnce)
        case .cloudToDevice(let message): _ = cloudToDevice(message, for: target ?? identity)
        case .receipt(let bytes):
            guard qos(.receipts, nil) != nil else { return }
            publish(HubTopics.receipts, bytes, child: nil, .atMostOnce)
        case .close(let reason): close(reason)
        }
    }

    /// - Returns: whether it took a place in the window, or found none.
    private func cloudToDevice(_ message: C2DDelivery, for target: HubIdentity) -> Bool {
        guard let identity = attached?.dispatch.identity, attached?.outbound.holds(message.lockToken) == false else {
            return false
        }
        let child = target == identity ? nil : target
        guard let qos = qos(.cloudToDevice, child) else { return false }
        let topic = HubTopics.cloudToDevice(to: target, bag: PropertyBag()) + message.bagText
        switch session.sendRequested(qos) {
        case .send(let delivery):
            let isSent = publish(topic, message.payload, child: child, delivery)
            if case .atLeastOnce(let id) = delivery {
                guard isSent else {
                    session.sendAbandoned(id)
                    return false
                }
                attached?.outbound.sent(id, .init(target: target, lockToken: message.lockToken))
                return true
            }
            // At QoS 0 there is no acknowledgement to wait for.
            if isSent { shared.dependencies.services.cloudToDeviceCompleted(target, lockToken: message.lockToken) }
            return false
        case .windowFull:
            attached?.outbound.wait(message, for: target)
            return true
        case .notConnected: return true
        }
    }

    private func qos(_ kind: DeviceSubscription, _ child: HubIdentity?) -> QoS? {
        attached?.subscriptions.qos(kind, child: child?.device)
    }

    /// - Returns: `false` when it cannot be written, which the log says.
    @discardableResult
    private func publish(
        _ topic: String, _ payload: [UInt8], child: HubIdentity?, _ delivery: Publish.Delivery
    ) -> Bool {
        let name = child.map { HubTopics.child($0.device, topic) } ?? topic
        guard let publish = Publish(topicName: name, payload: ByteBuffer(bytes: payload), delivery: delivery) else {
            shared.undeliverable(name, device: attached?.dispatch.identity)
            return false
        }
        send(.publish(publish))
        return true
    }
}
