import DriverRuntime
import Glibc
import Logging
import MQTTClient
import Primitives
import SouthboundAPI
import Telemetry

extension BrokerLink {
    /// Returns when the driver is stopped.
    func serve(_ connection: BrokerConnection) throws(Ending) {
        while !mailbox.isStopping {
            let now = clock.monotonic()
            expireCommands(now: now)
            try acknowledge(connection)
            do throws(ClientError) {
                try connection.session.timerFired(now: now)
            } catch {
                throw ending(error)
            }
            try flush(connection)
            takeEvents()
            let mayRead = events.isEmpty && flights.hasRoom
            let wanted = (mayRead ? Int16(POLLIN) : 0) | (connection.wantsWrite ? Int16(POLLOUT) : 0)
            let limit = now + .seconds(3600)
            let deadline =
                [connection.session.deadline, mailbox.nextDeadline, desk.nextDeadline, limit]
                .compactMap { $0 }.min() ?? limit
            guard wait(connection, for: wanted, until: deadline) & ~Int16(POLLOUT) != 0 else { continue }
            // Without being asked for, only its end is told.
            guard mayRead else { throw ending(.lost(BrokerConnection.Lost(code: 0))) }
            events = try read(connection)[...]
        }
    }

    /// - Throws: when something was refused: it and all behind it must come again.
    private func acknowledge(_ connection: BrokerConnection) throws(Ending) {
        guard let error = settle(connection) else { return }
        throw Ending(
            reason: "the readings cannot be kept: \(error)",
            advice: "the broker keeps them and repeats them when there is room again", isStoreRefusal: true)
    }

    /// What is on its way to the disk is waited for, and acknowledged, before the connection is left.
    func end(_ connection: BrokerConnection) throws(Ending) {
        let deadline = clock.monotonic() + Self.endTime
        if !flights.isEmpty { sink.hurry() }
        while true {
            try acknowledge(connection)
            try flush(connection)
            if flights.isEmpty || clock.monotonic() >= deadline { break }
            mailbox.wake.wait(until: deadline)
        }
        connection.session.disconnect()
        try write(connection)
    }

    /// Looks at what was read, as far as there is room, and hands it over.
    private func takeEvents() {
        guard !events.isEmpty else { return }
        let (time, quality) = clock.wall()
        stamp = MessageReader.Stamp(time: time, clock: quality, quality: .good)
        while flights.hasRoom, !events.isEmpty {
            while let event = events.popFirst() {
                take(event)
                if readings.count >= Self.readingsPerDeliveryMax
                    || flight.payloadBytes >= Self.payloadBytesPerDeliveryMax
                    || flights.total.messages + flight.messages >= Flights.messagesMax
                {
                    break
                }
            }
            handOver()
        }
        // The broker sends nothing more, or we take nothing more, before something is acknowledged.
        if flights.total.messages >= config.inflightMax || !flights.hasRoom { sink.hurry() }
    }

    private func handOver() {
        defer {
            readings.removeAll(keepingCapacity: true)
            flight = Flights.Flight()
        }
        let answering = health.takeAnswering()
        guard !readings.isEmpty || !answering.isEmpty else {
            if flight.messages > 0 { flights.began(flight, isDelivered: false) }
            return
        }
        let changes = answering.map {
            DeviceHealth(device: $0, answers: true, reason: "", time: stamp.time, clock: stamp.clock)
        }
        flight.readings = readings.count
        flight.devices = answering
        flight.tellsLearned = learned.isChanged
        let delivery = Delivery(
            driver: config.name, readings: readings, health: changes, mark: flight.messages > 0 ? repeats.mark : nil,
            learned: learned.isChanged ? learned.devices : nil, series: series)
        learned.wereHandedOver()
        hand(delivery, flight)
    }

    /// Queues what waits and writes all that the socket takes.
    private func flush(_ connection: BrokerConnection) throws(Ending) {
        let room = desk.isFull ? 0 : CommandDesk.countMax
        for command in mailbox.takeCommands(room, now: clock.monotonic()).toSend { send(command, connection) }
        try write(connection)
        if !connection.wantsWrite { repeats.acknowledgementsWritten() }
    }

    private func send(_ command: CommandPublish, _ connection: BrokerConnection) {
        guard !desk.isFull else {
            mailbox.end(command.id, .failed(reason: "too many commands are on their way already; try again"))
            return
        }
        let sent = connection.session.publish(
            command.topic, command.payload, isRetained: command.isRetained, now: clock.monotonic())
        guard let sent else {
            mailbox.end(command.id, .failed(reason: "the command could not be published: its topic is none"))
            return
        }
        desk.handed(command, messageID: Int32(sent.value))
    }
}

// MARK: - What the broker says

extension BrokerLink {
    private func take(_ event: ClientEvent) {
        switch event {
        case .accepted: break
        case .acknowledged(let id): confirmed(Int32(id.value))
        case .subscribed(let granted): subscribed(isRefused: granted.contains(false))
        case .message(let message): received(message, payloadBytes: message.payload.count)
        case .overLargeMessage(let message, let payloadBytes): received(message, payloadBytes: payloadBytes)
        }
    }

    private func subscribed(isRefused: Bool) {
        if isSubscriptionAwaited { mailbox.count { $0.connections += 1 } }
        isSubscriptionAwaited = false
        guard isRefused else { return }
        isSubscribed = false
        logger.error(
            "the local broker refuses a subscription; its readings will not come",
            metadata: ["advice": "check the broker's access rules for this user"])
    }

    private func confirmed(_ messageID: Int32) {
        if let ended = desk.brokerConfirmed(messageID: messageID) { reply(ended) }
    }

    private func received(_ message: ClientMessage, payloadBytes: Int) {
        mailbox.count { $0.messages += 1 }
        flight.payloadBytes += message.payload.count
        if let ticket = message.ticket {
            flight.messages += 1
            let digest = RepeatFilter.digest(topic: message.topic.utf8, payload: message.payload)
            if repeats.isRepeat(packetID: ticket.id, digest: digest, isMarked: message.isDuplicate) {
                mailbox.count { $0.repeats += 1 }
                return
            }
        }
        guard payloadBytes <= config.payloadBytesMax else {
            return refuse(message.topic, .oversize(bytes: payloadBytes, bytesMax: config.payloadBytesMax))
        }
        read(message)
    }

    private func read(_ message: ClientMessage) {
        let topic = message.topic
        let isAnswer = desk.awaitsAnswer(on: topic)
        if isAnswer, let ended = desk.messageReceived(topic: topic, payload: message.payload) { reply(ended) }
        do throws(MessageProblem) {
            var stamp = stamp
            // A retained message is the last known state, from nobody knows when.
            if message.isRetained { stamp.quality = .uncertain }
            let device = try message.payload.withUnsafeBufferPointer { (payload) throws(MessageProblem) in
                try reader.read(topic: topic, payload: payload, stamp: stamp, into: &readings)
            }
            if health.heard(device) {
                mailbox.learn(device)
                learned.heard(device)
            }
        } catch {
            if error == .unmappedTopic, isAnswer || isAnswerTopic(topic) { return }
            refuse(topic, error)
        }
    }

    private func isAnswerTopic(_ topic: String) -> Bool {
        answerFilters.contains { TopicTemplate($0)?.captures(of: topic) != nil }
    }

    private func refuse(_ topic: String, _ problem: MessageProblem) {
        mailbox.count { $0.refused += 1 }
        switch warnings.occurred(topic, now: clock.monotonic()) {
        case .holdBack: break
        case .log(let heldBackCount):
            logger.warning(
                "a local MQTT message cannot be read and is left out; mend the sensor or the topic mapping",
                metadata: [
                    "topic": "\(topic)", "problem": "\(problem)", "more_since_last": "\(heldBackCount)",
                ])
        }
    }
}
