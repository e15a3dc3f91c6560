internal import Connectivity
internal import DriverRuntime
internal import HubContract
internal import Logging
internal import Outbox
internal import Primitives
internal import Telemetry

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
}

extension UplinkLoop {
    func received(topic: String, payload: [UInt8]) throws(LinkFailure) {
        let child: DeviceID?
        let publish: HubPublish
        do throws(TopicError) {
            (child, publish) = try HubTopics.delivery(topic, to: identity)
        } catch {
            logger.warning("the hub sent a message that was not understood", metadata: ["reason": "\(error)"])
            return
        }
        let device = child ?? settings.gateway
        switch publish {
        case .methodRequest(let name, let rid):
            try methodCalled(name, rid: rid, payload: payload, child: child)
        case .cloudToDevice(let bagText): try commandReceived(bagText, payload: payload, device: device)
        case .receipt: receiptReceived(payload)
        case .desiredChanged(let version):
            logger.info("desired properties changed", metadata: ["device": "\(device)", "version": "\(version)"])
            if child == nil { desiredChanged(version) }
        case .twinResponse(let status, let rid, _): twinAnswered(status, rid: rid, payload: payload)
        case .moduleInput: break
        }
    }

    // MARK: Direct methods

    private func methodCalled(_ name: String, rid: String, payload: [UInt8], child: DeviceID?) throws(LinkFailure) {
        let call = CommandCall(
            device: child ?? settings.gateway, name: name, payload: payload,
            deadline: SystemTime.monotonic + settings.methodTimeMax)
        guard commands.methodCount < CommandQueue.methodCountMax else {
            let topic = Self.answerTopic(status: 429, rid: rid, child: child)
            _ = try transport?.publish(
                topic, Array(#"{"error":"too many commands are under way at this gateway"}"#.utf8))
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
            guard connection == self.connection, let transport, transport.isAccepted else {
                logger.warning(
                    "a command's answer came after the connection had ended; the hub has given it up",
                    metadata: ["device": "\(call.device)", "command": "\(call.name)"])
                return
            }
            // A failure to queue shows at the next write, as the loss of the link.
            _ = try? transport.publish(topic, answer.payload)
        case .queued(let messageID):
            commands.queuedCount -= 1
            end(messageID, outcome: answer.isExecuted ? "executed" : "failed with status \(answer.status)")
        }
    }

    // MARK: Cloud-to-device commands

    /// Keeps the command before its PUBACK leaves. What cannot be a command is dropped with a warning: the hub would
    /// only send it again.
    private func commandReceived(_ bagText: String, payload: [UInt8], device: DeviceID) throws(LinkFailure) {
        let bag: PropertyBag
        do throws(PropertyBagError) {
            bag = try PropertyBag(parsing: bagText)
        } catch {
            logger.warning(
                "a cloud-to-device message was dropped: its properties cannot be read",
                metadata: ["device": "\(device)", "reason": "\(error)"])
            return
        }
        guard let name = bag.value("method-name"), !name.isEmpty else {
            logger.warning(
                "a cloud-to-device message was dropped: it has no property method-name, so it asks for no command",
                metadata: ["device": "\(device)"])
            return
        }
        let messageID = bag.system("mid") ?? "sha1:" + Hex.encode(GatewayCrypto.sha1(Array(bagText.utf8) + payload))
        let command = QueuedCommand(
            messageID: "\(device)/\(messageID)", device: device, name: name, payload: payload,
            expiresAt: bag.system("exp").flatMap { WallInstant($0) })
        do throws(OutboxError) {
            let isNew = try store.keepCommand(command)
            commands.mayWait = true
            if !isNew {
                logger.info("a command came again and is not repeated", metadata: ["device": "\(device)"])
            }
        } catch {
            // Its PUBACK is queued already and must not leave: the connection goes, and the hub sends it again.
            throw LinkFailure(.lost(detail: "a command could not be kept: \(error)"))
        }
    }

    /// Begins commands that wait in the store, the oldest first.
    func startCommands() {
        while commands.mayWait, commands.queuedCount < CommandQueue.queuedCountMax {
            let command: QueuedCommand?
            do throws(OutboxError) {
                command = try store.beginCommand()
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
            let left = expiresAt - SystemTime.wall
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
            deadline: SystemTime.monotonic + limit)
        commands.queuedCount += 1
        let mailbox = mailbox
        handler.perform(call) { answer in
            mailbox.post {
                $0.answers.append(.init(purpose: .queued(messageID: command.messageID), call: call, answer: answer))
            }
        }
    }

    private func end(_ messageID: String, outcome: String) {
        twin.changed(now: SystemTime.monotonic)
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
            try store.keepReceipt(payload, at: SystemTime.wall)
        } catch {
            logger.error("a receipt could not be kept", metadata: ["reason": "\(error)"])
        }
        twin.changed(now: SystemTime.monotonic)
        guard let receipt = Receipt(parsing: payload) else {
            logger.warning("a receipt of the hub cannot be read")
            return
        }
        for entry in receipt.entries {
            logger.warning(
                "the hub could not accept records of this gateway and keeps them in quarantine",
                metadata: [
                    "records": "\(entry.run.map(\.description) ?? "all of a batch")", "code": "\(entry.code.rawValue)",
                    "reason": "\(entry.reason)",
                ])
        }
    }
}
