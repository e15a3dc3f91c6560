internal import Connectivity
internal import DriverRuntime
internal import HubContract
internal import HubTransport
internal import Logging
internal import MQTTClient
internal import Outbox
internal import Primitives
internal import Telemetry
internal import Timekeeping

/// What the gateway subscribes to, for itself and for every child.
enum HubSubscriptions {
    static func filters(of identity: HubIdentity) -> [String] {
        [
            HubTopics.filter(.methods, of: identity),
            HubTopics.filter(.methods, scope: .everyChild, of: identity),
            HubTopics.filter(.cloudToDevice, of: identity),
            HubTopics.filter(.cloudToDevice, scope: .everyChild, of: identity),
            HubTopics.filter(.twinResponses, of: identity),
            HubTopics.filter(.desiredChanges, of: identity),
            HubTopics.filter(.receipts, of: identity),
            HubTopics.filter(.timeResponses, of: identity),
        ]
    }
}

/// How many commands are under way.
struct CommandQueue {
    /// Method calls without an answer; over it a call is answered 429.
    static let methodCountMax = 64
    /// Cloud-to-device commands that run at the same time: one dead device does not hold up the others.
    static let queuedCountMax = 8

    var methodCount = 0
    var queuedCount = 0
    /// Commands may wait in the store.
    var mayWait = false
    /// Commands that the store could not keep yet, so that the hub has no acknowledgement for them. The session's own
    /// limit bounds them; they end with the link, and the hub sends them again.
    var withheld: [(command: QueuedCommand, ticket: ClientMessage.Ticket)] = []
    var withheldRetryAt = MonotonicInstant(nanoseconds: 0)
}

extension UplinkLoop {
    /// Acknowledges the message, unless it is a command that is not durable yet.
    func received(_ message: ClientMessage) {
        let child: DeviceID?
        let publish: HubPublish
        do throws(TopicError) {
            (child, publish) = try HubTopics.delivery(message.topic, to: identity)
        } catch {
            logger.warning("the hub sent a message that was not understood", metadata: ["reason": "\(error)"])
            acknowledge(message.ticket)
            return
        }
        if case .cloudToDevice(let bagText) = publish {
            commandReceived(bagText, message, device: child ?? settings.gateway)
        } else {
            received(publish, payload: message.payload, child: child)
            acknowledge(message.ticket)
        }
    }

    private func acknowledge(_ ticket: ClientMessage.Ticket?) {
        if let ticket { transport?.acknowledge(ticket, now: world.now) }
    }

    private func received(_ publish: HubPublish, payload: [UInt8], child: DeviceID?) {
        let device = child ?? settings.gateway
        switch publish {
        case .methodRequest(let name, let rid):
            methodCalled(name, rid: rid, payload: payload, child: child)
        case .receipt: receiptReceived(payload)
        case .desiredChanged(let version):
            logger.info("desired properties changed", metadata: ["device": "\(device)", "version": "\(version)"])
            if child == nil { desiredChanged(version) }
        case .twinResponse(let status, let rid, _): twinAnswered(status, rid: rid, payload: payload)
        case .time(let rid): timeAnswered(payload, rid: rid)
        case .cloudToDevice, .moduleInput: break
        }
    }

    // MARK: Direct methods

    private func methodCalled(_ name: String, rid: String, payload: [UInt8], child: DeviceID?) {
        let call = CommandCall(
            device: child ?? settings.gateway, name: name, payload: payload,
            deadline: world.now + settings.methodTimeMax)
        guard commands.methodCount < CommandQueue.methodCountMax else {
            let topic = Self.answerTopic(status: 429, rid: rid, child: child)
            // Without a place for the answer the caller learns it by its own time limit.
            let body = Array(#"{"error":"too many commands are under way at this gateway"}"#.utf8)
            _ = transport?.publish(topic, body, now: world.now)
            return
        }
        commands.methodCount += 1
        let (mailbox, connection) = (mailbox, connection)
        handler.perform(call) { answer in
            let topic = Self.answerTopic(status: answer.status, rid: rid, child: child)
            mailbox.post {
                $0.answers.append(
                    .init(purpose: .method(topic: topic, connection: connection), call: call, answer: answer))
            }
        }
    }

    private static func answerTopic(status: Int, rid: String, child: DeviceID?) -> String {
        let topic = HubTopics.methodResponse(status: status, rid: rid)
        return child.map { HubTopics.child($0, topic) } ?? topic
    }

    func answered(_ answered: UplinkMailbox.Answer) {
        let (call, answer) = (answered.call, answered.answer)
        logger.log(
            level: answer.isExecuted ? .info : .warning, "a command ended",
            metadata: ["device": "\(call.device)", "command": "\(call.name)", "status": "\(answer.status)"])
        switch answered.purpose {
        case .method(let topic, let connection):
            commands.methodCount -= 1
            if call.device == settings.gateway, call.name == "ReplayRange", answer.isExecuted { replayStarted() }
            guard connection == self.connection, let transport, transport.isAccepted else {
                logger.warning(
                    "a command's answer came after the connection had ended; the hub has given it up",
                    metadata: ["device": "\(call.device)", "command": "\(call.name)"])
                return
            }
            if transport.publish(topic, answer.payload, now: world.now) == nil {
                logger.warning(
                    "a command's answer found no place; too much is waiting for the hub's acknowledgement",
                    metadata: ["device": "\(call.device)", "command": "\(call.name)"])
            }
        case .queued(let messageID):
            commands.queuedCount -= 1
            end(messageID, outcome: answer.isExecuted ? "executed" : "failed with status \(answer.status)")
        }
    }

    // MARK: Cloud-to-device commands

    /// Keeps the command before its PUBACK leaves. What cannot be a command is dropped with a warning: the hub would
    /// only send it again.
    private func commandReceived(_ bagText: String, _ message: ClientMessage, device: DeviceID) {
        let bag: PropertyBag
        do throws(PropertyBagError) {
            bag = try PropertyBag(parsing: bagText)
        } catch {
            logger.warning(
                "a cloud-to-device message was dropped: its properties cannot be read",
                metadata: ["device": "\(device)", "reason": "\(error)"])
            acknowledge(message.ticket)
            return
        }
        guard let name = bag.value("method-name"), !name.isEmpty else {
            logger.warning(
                "a cloud-to-device message was dropped: it has no property method-name, so it asks for no command",
                metadata: ["device": "\(device)"])
            acknowledge(message.ticket)
            return
        }
        let payload = message.payload
        let messageID = bag.system("mid") ?? "sha1:" + Hex.encode(GatewayCrypto.sha1(Array(bagText.utf8) + payload))
        let command = QueuedCommand(
            messageID: "\(device)/\(messageID)", device: device, name: name, payload: payload,
            expiresAt: bag.system("exp").flatMap { WallInstant($0) })
        do throws(OutboxError) {
            try keep(command, message.ticket)
        } catch {
            logger.error(
                "a command could not be kept; the hub gets no acknowledgement until it is",
                metadata: ["device": "\(device)", "reason": "\(error)"])
            // Without a ticket the hub does not know whether it arrived, and does not care.
            guard let ticket = message.ticket else { return }
            commands.withheld.append((command, ticket))
            commands.withheldRetryAt = world.now + .seconds(1)
        }
    }

    private func keep(_ command: QueuedCommand, _ ticket: ClientMessage.Ticket?) throws(OutboxError) {
        let isNew = try store.keepCommand(command)
        commands.mayWait = true
        if command.expiresAt != nil, clock.now().quality != .synchronised {
            logger.warning(
                "a command that expires waits until this gateway knows the time; set its clock or open https_port to it",
                metadata: ["device": "\(command.device)", "command": "\(command.name)"])
        }
        if !isNew {
            logger.info("a command came again and is not repeated", metadata: ["device": "\(command.device)"])
        }
        acknowledge(ticket)
    }

    /// Tries once a second to keep what the store refused, in the order in which it came.
    func keepWithheld() {
        while let (command, ticket) = commands.withheld.first, world.now >= commands.withheldRetryAt {
            do throws(OutboxError) {
                try keep(command, ticket)
                commands.withheld.removeFirst()
                logger.info("a command could be kept at last", metadata: ["device": "\(command.device)"])
            } catch {
                commands.withheldRetryAt = world.now + .seconds(1)
            }
        }
    }

    /// Begins commands that wait in the store, the oldest first.
    func startCommands() {
        // Whether a command has expired cannot be said before the time is known: a guess would end one that is good, or
        // execute one too late.
        let isTimeKnown = clock.now().quality == .synchronised
        while commands.mayWait, commands.queuedCount < CommandQueue.queuedCountMax {
            let command: QueuedCommand?
            do throws(OutboxError) {
                command = try store.beginCommand(isTimeKnown: isTimeKnown)
            } catch {
                logger.error("a waiting command could not be begun", metadata: ["reason": "\(error)"])
                return
            }
            guard let command else {
                commands.mayWait = false
                return
            }
            begin(command)
        }
    }

    private func begin(_ command: QueuedCommand) {
        var limit = settings.methodTimeMax
        if let expiresAt = command.expiresAt {
            let left = expiresAt - clock.now().time
            guard left > .zero else {
                logger.warning(
                    "a command came too late and was not executed",
                    metadata: ["device": "\(command.device)", "command": "\(command.name)", "expired": "\(expiresAt)"])
                end(command.messageID, outcome: "expired")
                return
            }
            limit = min(limit, left)
        }
        let call = CommandCall(
            device: command.device, name: command.name, payload: command.payload,
            deadline: world.now + limit)
        commands.queuedCount += 1
        let mailbox = mailbox
        handler.perform(call) { answer in
            mailbox.post {
                $0.answers.append(.init(purpose: .queued(messageID: command.messageID), call: call, answer: answer))
            }
        }
    }

    private func end(_ messageID: String, outcome: String) {
        twin.changed(now: world.now)
        do throws(OutboxError) {
            try store.endCommand(messageID, outcome: outcome)
        } catch {
            // It stays begun, so it is not executed again; the next start of the agent ends it.
            logger.error("the end of a command could not be noted", metadata: ["reason": "\(error)"])
        }
    }

    // MARK: Receipts

    private func receiptReceived(_ payload: [UInt8]) {
        do throws(OutboxError) {
            try store.keepReceipt(payload, at: clock.now().time)
        } catch {
            logger.error("a receipt could not be kept", metadata: ["reason": "\(error)"])
        }
        twin.changed(now: world.now)
        guard let receipt = Receipt(parsing: payload) else {
            logger.warning("a receipt of the hub cannot be read")
            return
        }
        for entry in receipt.entries {
            var metadata: Logger.Metadata = [
                "records": "\(entry.run.map(\.description) ?? "all of a batch")", "code": "\(entry.code.rawValue)",
                "reason": "\(entry.reason)",
            ]
            if let first = entry.first {
                metadata["device"] = "\(first.device)"
                metadata["metric"] = "\(first.metric)"
                metadata["time"] = "\(first.time)"
            }
            logger.warning(
                "the hub could not accept records of this gateway and keeps them in quarantine", metadata: metadata)
        }
    }
}
