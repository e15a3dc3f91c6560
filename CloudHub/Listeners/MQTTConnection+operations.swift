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
        if let child, !shared.dependencies.intake.maySpeak(link.identity.device, for: child.device) {
            refuseForeign(child, operation, ticket)
            return
        }
        switch operation {
        case .twinGet(let rid):
            services.twinRequested(who) { answer in
                link.onLoop { $0.twinAnswered(answer, rid: rid, child: child, ticket) }
            }
        case .reportedPatch(let rid, let version):
            services.reportedPatched(who, patch: body, ifVersion: version) { answer in
                link.onLoop { $0.twinAnswered(answer, rid: rid, child: child, ticket) }
            }
        case .methodAnswer(let status, let rid):
            services.methodAnswered(who, rid: rid, status: status, payload: body)
            settle(ticket)
        }
    }

    /// A gateway asked about a device that is not its child: 404, as for one that does not exist, and no closed
    /// connection, because its other children must not suffer.
    private func refuseForeign(_ child: HubIdentity, _ operation: DeviceOperation, _ ticket: PublishTicket?) {
        shared.foreignChildRefused(child.device, gateway: attached?.dispatch.identity.device)
        switch operation {
        case .twinGet(let rid), .reportedPatch(let rid, _):
            twinAnswered(TwinAnswer(status: 404, version: nil, body: []), rid: rid, child: child, ticket)
        case .methodAnswer: settle(ticket)
        }
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
        if let next = attached?.outbound.takeFirstWaiting() { cloudToDevice(next.message, for: next.target) }
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
        case .cloudToDevice(let message): cloudToDevice(message, for: target ?? identity)
        case .receipt(let bytes):
            guard qos(.receipts, nil) != nil else { return }
            publish(HubTopics.receipts, bytes, child: nil, .atMostOnce)
        case .close(let reason): close(reason)
        }
    }

    private func cloudToDevice(_ message: C2DDelivery, for target: HubIdentity) {
        guard let identity = attached?.dispatch.identity, attached?.outbound.holds(message.lockToken) == false else {
            return
        }
        let child = target == identity ? nil : target
        guard let qos = qos(.cloudToDevice, child) else { return }
        let topic = HubTopics.cloudToDevice(to: target, bag: PropertyBag()) + message.bagText
        switch session.sendRequested(qos) {
        case .send(let delivery):
            if case .atLeastOnce(let id) = delivery {
                attached?.outbound.sent(id, .init(target: target, lockToken: message.lockToken))
            }
            publish(topic, message.payload, child: child, delivery)
            // At QoS 0 there is no acknowledgement to wait for.
            if qos == .atMostOnce {
                shared.dependencies.services.cloudToDeviceCompleted(target, lockToken: message.lockToken)
            }
        case .windowFull: attached?.outbound.wait(message, for: target)
        case .notConnected: break
        }
    }

    private func qos(_ kind: DeviceSubscription, _ child: HubIdentity?) -> QoS? {
        attached?.subscriptions.qos(kind, child: child?.device)
    }

    private func publish(_ topic: String, _ payload: [UInt8], child: HubIdentity?, _ delivery: Publish.Delivery) {
        let name = child.map { HubTopics.child($0.device, topic) } ?? topic
        guard let publish = Publish(topicName: name, payload: ByteBuffer(bytes: payload), delivery: delivery) else {
            shared.undeliverable(name, device: attached?.dispatch.identity)
            return
        }
        send(.publish(publish))
    }
}
