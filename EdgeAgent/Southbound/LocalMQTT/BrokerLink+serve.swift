import CMosquitto
import Glibc
import Logging
import Primitives
import SouthboundAPI
import Telemetry

extension BrokerLink {
    private static let tickInterval = Duration.seconds(1)

    /// Reads, delivers, then writes, in that order and no other: `write` is what sends the acknowledgements of all that
    /// was read. Returns when the driver is stopped.
    func serve(_ handle: borrowing MosquittoHandle) throws(Ending) {
        var nextTick = clock.monotonic() + Self.tickInterval
        while !mailbox.isStopping {
            let now = clock.monotonic()
            expireCommands(now: now)
            if now >= nextTick {
                try check(handle.tick(), doing: "keep the connection alive")
                nextTick = now + Self.tickInterval
            }
            try flush(handle)
            let wanted = Int16(POLLIN) | (handle.wantsWrite ? Int16(POLLOUT) : 0)
            let deadline = [nextTick, mailbox.nextDeadline, desk.nextDeadline].compactMap { $0 }.min() ?? nextTick
            let events = wait(handle, for: wanted, until: deadline)
            if events & ~Int16(POLLOUT) != 0 {
                let ending = readAvailable(handle)
                try deliver()
                if let ending {
                    // What is kept is acknowledged if the socket still takes it; else the broker's repeats are known.
                    try? flush(handle)
                    throw ending
                }
            }
        }
    }

    /// Reads until nothing is there or a delivery is full; gives the reason when the connection has ended.
    private func readAvailable(_ handle: borrowing MosquittoHandle) -> Ending? {
        let (time, quality) = clock.wall()
        stamp = MessageReader.Stamp(time: time, clock: quality, quality: .good)
        for _ in 0..<Self.readsMax {
            let status = handle.read()
            do throws(Ending) {
                try check(status, doing: "read from the broker")
            } catch {
                return error
            }
            guard readings.count < Self.readingsPerDeliveryMax,
                payloadByteCount < Self.payloadBytesPerDeliveryMax
            else { return nil }
            var entry = pollfd(fd: handle.socket, events: Int16(POLLIN), revents: 0)
            guard poll(&entry, 1, 0) > 0 else { return nil }
        }
        return nil
    }

    /// Hands over what was read and returns when it is durable.
    private func deliver() throws(Ending) {
        defer { forgetDelivery() }
        let answering = health.takeAnswering()
        if !readings.isEmpty || !answering.isEmpty {
            let changes = answering.map {
                DeviceHealth(device: $0, answers: true, reason: "", time: stamp.time, clock: stamp.clock)
            }
            let delivery = Delivery(
                driver: config.name, readings: readings, health: changes, mark: qos1Count > 0 ? repeats.mark : nil,
                learned: learned.isChanged ? learned.devices : nil)
            do {
                try wait(for: delivery)
            } catch {
                health.notReported(answering)
                throw Ending(
                    reason: "the readings cannot be kept: \(error)",
                    advice: "the broker keeps them and repeats them when there is room again",
                    isStoreRefusal: true)
            }
            learned.wereKept()
            storeAccepted()
            let count = UInt64(readings.count)
            mailbox.count { $0.readings += count }
        }
        repeats.deliveryKept()
    }

    /// Queues what waits and writes all that the socket takes.
    private func flush(_ handle: borrowing MosquittoHandle) throws(Ending) {
        let room = desk.isFull ? 0 : CommandDesk.countMax
        for command in mailbox.takeCommands(room, now: clock.monotonic()).toSend { send(command, handle) }
        guard handle.wantsWrite else {
            repeats.acknowledgementsWritten()
            return
        }
        try check(handle.write(), doing: "write to the broker")
        if !handle.wantsWrite { repeats.acknowledgementsWritten() }
    }

    private func send(_ command: CommandPublish, _ handle: borrowing MosquittoHandle) {
        guard !desk.isFull else {
            mailbox.end(command.id, .failed(reason: "too many commands are on their way already; try again"))
            return
        }
        let (status, messageID) = handle.publish(
            topic: command.topic, payload: command.payload, isRetained: command.isRetained)
        guard status == MOSQ_ERR_SUCCESS.rawValue else {
            mailbox.end(
                command.id,
                .failed(reason: "the command could not be published: \(MosquittoHandle.text(of: status))"))
            return
        }
        desk.handed(command, messageID: messageID)
    }
}

// MARK: - What libmosquitto calls, inside `read`

extension BrokerLink {
    static let callbacks = MosquittoHandle.Callbacks(
        connected: { _, context, code, flags in
            BrokerLink.of(context)?.connectAnswer = (code, flags & 1 != 0)
        },
        received: { _, context, message in
            guard let message else { return }
            BrokerLink.of(context)?.received(message.pointee)
        },
        confirmed: { _, context, messageID in
            BrokerLink.of(context)?.confirmed(messageID)
        },
        subscribed: { _, context, _, count, granted in
            let codes = UnsafeBufferPointer(start: granted, count: Int(count))
            BrokerLink.of(context)?.subscribed(isRefused: codes.contains { $0 > 2 })
        })

    private static func of(_ context: UnsafeMutableRawPointer?) -> BrokerLink? {
        context.map { Unmanaged<BrokerLink>.fromOpaque($0).takeUnretainedValue() }
    }

    private func subscribed(isRefused: Bool) {
        subscriptionsAwaited -= 1
        if subscriptionsAwaited == 0 { mailbox.count { $0.connections += 1 } }
        guard isRefused else { return }
        isSubscribed = false
        logger.error(
            "the local broker refuses a subscription; its readings will not come",
            metadata: ["advice": "check the broker's access rules for this user"])
    }

    private func confirmed(_ messageID: Int32) {
        if let ended = desk.brokerConfirmed(messageID: messageID) { reply(ended) }
    }

    private func received(_ message: mosquitto_message) {
        mailbox.count { $0.messages += 1 }
        guard let topicStart = message.topic else { return }
        let payload = UnsafeBufferPointer(
            start: message.payload?.assumingMemoryBound(to: UInt8.self), count: Int(max(message.payloadlen, 0)))
        payloadByteCount += payload.count
        let topicLength = strlen(topicStart)
        let isRepeat = topicStart.withMemoryRebound(to: UInt8.self, capacity: topicLength) { bytes in
            guard message.qos == 1 else { return false }
            qos1Count += 1
            let topicBytes = UnsafeBufferPointer(start: bytes, count: topicLength)
            return repeats.isRepeat(
                packetID: UInt16(truncatingIfNeeded: message.mid),
                digest: RepeatFilter.digest(topic: topicBytes, payload: payload))
        }
        if isRepeat {
            mailbox.count { $0.repeats += 1 }
            return
        }
        read(topic: String(validatingCString: topicStart), payload: payload, isRetained: message.retain)
    }

    private func read(topic: String?, payload: UnsafeBufferPointer<UInt8>, isRetained: Bool) {
        guard let topic else { return refuse("", .topicNotUTF8) }
        let isAnswer = desk.awaitsAnswer(on: topic)
        if isAnswer, let ended = desk.messageReceived(topic: topic, payload: Array(payload)) { reply(ended) }
        do throws(MessageProblem) {
            var stamp = stamp
            // A retained message is the last known state, from nobody knows when.
            if isRetained { stamp.quality = .uncertain }
            let device = try reader.read(topic: topic, payload: payload, stamp: stamp, into: &readings)
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
