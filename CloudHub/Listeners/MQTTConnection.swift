import EventLog
import HubContract
import Ingest
import MQTTCodec
import MQTTSession
import NIOCore
import Primitives
import Sessions
import Throttles

/// One MQTT connection: decodes, asks its machines, does what they say. Never leaves its event loop.
///
/// The whole way of a message runs in this one handler: from the decrypted bytes into the loop's group, without a
/// further hop or copy.
final class MQTTConnection: ChannelInboundHandler, ChannelOutboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// What exists from CONNACK on.
    struct Attached {
        let dispatch: SessionDispatch
        let link: ConnectionLink
        var subscriptions: SubscriptionTable
        let isCleanSession: Bool
        let willBag: String?
        /// When the credential runs out, on the monotonic clock, and what the connection ends with then.
        let expiresAt: MonotonicInstant?
        let expiry: DisconnectReason
        var outbound = OutboundDeliveries()
        /// Whoever has to know that the device is gone has been told.
        var hasEnded = false
    }

    let shard: LoopShard
    let shared: ListenerShared
    var session: ServerSession
    var attached: Attached?
    /// The CONNECT whose client certificate is being checked; nothing is read meanwhile.
    var opening: Opening?
    let clientChain: ClientChain
    /// What this connection's events are written with; of nobody before CONNACK.
    var stamp = EventStamp.nobody
    /// Set while the channel is active.
    private(set) var context: ChannelHandlerContext?
    private var decoder: PacketDecoder
    /// The start of a packet whose rest has not arrived; our own copy, so that the TLS layer keeps its buffer.
    private var partial: ByteBuffer?
    private var timer: Scheduled<Void>?
    private var isReadHeld = false
    /// What may wait in the hub for one device to read it: all messages of its queue, and as much again. Unit: bytes.
    private static let unreadBytesMax = 8 << 20
    /// Twin requests that the hub has not answered.
    var twinOperationsUnderWay = 0
    /// From so many on, nothing more is read until some are answered; what one read brought is still taken.
    static let twinOperationsMax = 64
    /// What this device may send, and until when it has sent too much.
    var pace = Pace(nil)
    var pacedUntil = MonotonicInstant(nanoseconds: .min)
    var paceTimer: Scheduled<Void>?
    /// What the channel says of itself, kept here because asking it costs on every read.
    private var isWritable = true
    private var isClosing = false
    private var enteredGroup: UInt64 = 0
    private var collectedTicket: PublishTicket?
    private var collectedReceipts: [[UInt8]] = []
    private(set) var closeReason: DisconnectReason?
    private static let heldTimerInterval = Duration.seconds(5)

    init(shard: LoopShard, shared: ListenerShared, clientChain: ClientChain) {
        self.clientChain = clientChain
        self.shard = shard
        self.shared = shared
        decoder = PacketDecoder(limits: shared.codecLimits)
        session = ServerSession(limits: shared.sessionLimits, now: shard.now)
    }

    // MARK: - The socket

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { opened() }
    }

    func channelActive(context: ChannelHandlerContext) {
        opened()
        context.fireChannelActive()
    }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    private func opened() {
        shard.opened(self)
        shard.counts.connectionsOpened += 1
        arm(session.deadline)
    }

    func channelInactive(context: ChannelHandlerContext) {
        timer?.cancel()
        timer = nil
        paceTimer?.cancel()
        paceTimer = nil
        shard.closed(self)
        shard.counts.connectionsClosed += 1
        ended()
        attached?.link.cut()
        attached = nil
        opening = nil
        partial = nil
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isClosing else { return }
        var buffer = Self.unwrapInboundIn(data)
        shard.counts.bytesReceived += UInt64(buffer.readableBytes)
        if var whole = partial.take() {
            whole.writeBuffer(&buffer)
            takeKept(&whole)
        } else {
            takePackets(from: &buffer)
            if buffer.readableBytes > 0 {
                var copy = context.channel.allocator.buffer(capacity: buffer.readableBytes)
                copy.writeImmutableBuffer(buffer)
                partial = copy
            }
        }
    }

    private func takeKept(_ bytes: inout ByteBuffer) {
        takePackets(from: &bytes)
        guard bytes.readableBytes > 0 else { return }
        bytes.discardReadBytes()
        partial = bytes
    }

    /// The CONNECT is decided: goes on with what the client sent behind it.
    func readOn() {
        if var kept = partial.take() { takeKept(&kept) }
        resumeReading()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let violation = error as? TransportViolation { return close(.protocolViolation(violation.sentence)) }
        // A failing socket or handshake ends in channelInactive; what it was is for the log.
        shared.transportFailed(error, device: attached?.dispatch.identity, from: context.remoteAddress)
        context.close(promise: nil)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        isWritable = context.channel.isWritable
        if isWritable { resumeReading() }
        context.fireChannelWritabilityChanged()
    }

    // MARK: - Back pressure

    func read(context: ChannelHandlerContext) {
        guard mustHold else {
            context.read()
            return
        }
        guard !isReadHeld else { return }
        isReadHeld = true
        if shard.isFull { shard.hold(self) }
        if isPaced { waitForPace(isNew: true) }
    }

    func resumeReading() {
        guard isReadHeld, let context else { return }
        if mustHold {
            if shard.isFull { shard.hold(self) }
            if isPaced { waitForPace(isNew: false) }
            return
        }
        isReadHeld = false
        context.read()
    }

    private var mustHold: Bool {
        guard attached != nil else { return opening != nil }
        return isHubBusy || !isWritable || isPaced
    }

    /// Whether the hub itself has to catch up before it takes more of this connection.
    private var isHubBusy: Bool {
        shard.isFull || !session.wantsReading || twinOperationsUnderWay >= Self.twinOperationsMax
    }

    // MARK: - Packets

    private func takePackets(from buffer: inout ByteBuffer) {
        let now = shard.now
        while !isClosing, opening == nil {
            do throws(DecodeError) {
                guard let packet = try decoder.next(from: &buffer) else { return }
                perform(session.packetReceived(packet, now: now), now: now)
            } catch {
                perform(session.malformedPacket(error))
                return
            }
        }
    }

    private func perform(_ action: ServerSession.PacketAction, now: MonotonicInstant) {
        switch action {
        case .deliver(let publish, let ticket): published(publish, ticket, now: now)
        case .reply(let packet): send(packet)
        case .authenticate(let connect): authenticate(connect, now: now)
        case .subscribe(let subscribe): subscribed(subscribe)
        case .unsubscribe(let unsubscribe): unsubscribed(unsubscribe)
        case .outboundAcknowledged(let id): acknowledged(id)
        case .refuse(let answer, let reason):
            send(.connAck(answer))
            close(reason.disconnectReason)
        case .close(let reason): close(reason.disconnectReason)
        case .ignore: break
        }
    }

    private func perform(_ action: ServerSession.RefuseAction) {
        switch action {
        case .refuse(let answer, let reason):
            send(.connAck(answer))
            close(reason.disconnectReason)
        case .close(let reason): close(reason.disconnectReason)
        case .ignore: break
        }
    }

    private func published(_ publish: Publish, _ ticket: PublishTicket?, now: MonotonicInstant) {
        shard.counts.messagesReceived += 1
        switch attached?.dispatch.publishReceived(publish) {
        case .telemetry(let bag):
            count(now: now)
            telemetry(publish, bag: bag, ticket)
        case .childTelemetry(let child, let bagText):
            count(now: now)
            childTelemetry(child, bagText, publish, ticket)
        case .operation(let who, let operation): operate(who, operation, publish.payload, ticket)
        case .close(let reason): close(reason)
        case nil: preconditionFailure("the session delivers only after CONNACK")
        }
    }

    private func telemetry(_ publish: Publish, bag: Range<Int>, _ ticket: PublishTicket?) {
        publish.topic.withUnsafeReadableBytes { topic in
            let bagBytes = UnsafeRawBufferPointer(rebasing: topic[bag])
            if publish.isRetained || TelemetryIntake.mayBeBatch(bag: bagBytes) {
                unusual(publish, bagText: String(decoding: bagBytes, as: UTF8.self))
            } else {
                publish.payload.withUnsafeReadableBytes { body in
                    append(source: .telemetry, bag: bagBytes, body: body)
                }
            }
        }
        awaitCommit(ticket)
    }

    /// Enters this connection into the group that is being filled.
    func awaitCommit(_ ticket: PublishTicket?, receipt: [UInt8]? = nil) {
        if let ticket { collectedTicket = ticket }
        if let receipt { collectedReceipts.append(receipt) }
        guard enteredGroup != shard.groupNumber else { return }
        enteredGroup = shard.groupNumber
        shard.enter(self)
    }

    func append(
        source: EventSource, bag: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer, batch: BatchMark? = nil
    ) {
        shard.builder.append(&stamp, source: source, bag: bag, body: body, batch: batch)
    }

    /// What this connection put into the group that is sealed now.
    func takeCollected() -> (ticket: PublishTicket?, receipts: [[UInt8]]) {
        defer {
            collectedTicket = nil
            if !collectedReceipts.isEmpty { collectedReceipts = [] }
        }
        return (collectedTicket, collectedReceipts)
    }

    /// Whether the device itself is at the other end.
    func isGateway(_ device: DeviceID) -> Bool {
        guard let identity = attached?.dispatch.identity else { return false }
        return identity.module == nil && identity.device == device
    }

    /// The group is durable: writes the acknowledgements that may go.
    func committed(through ticket: PublishTicket?, into bytes: inout ByteBuffer) {
        guard let ticket, session.publishesCommitted(through: ticket) == .acknowledge else { return }
        takeAcknowledgements(into: &bytes)
    }

    /// Sends what `committed` wrote.
    func send(_ acknowledgements: ByteBuffer, receipts: [[UInt8]]) {
        guard let context, !isClosing else { return }
        for receipt in receipts { deliver(.receipt(receipt), to: nil) }
        if acknowledgements.readableBytes > 0 {
            context.writeAndFlush(Self.wrapOutboundOut(acknowledgements), promise: nil)
        }
        resumeReading()
    }

    /// An operation is settled: its acknowledgement goes unless telemetry before it is still on its way.
    func settle(_ ticket: PublishTicket?) {
        guard let ticket, session.publishCommitted(ticket) == .acknowledge, let context else { return }
        var bytes = context.channel.allocator.buffer(capacity: 16)
        takeAcknowledgements(into: &bytes)
        shard.counts.acknowledgementsSent += UInt64(bytes.readableBytes / 4)
        context.writeAndFlush(Self.wrapOutboundOut(bytes), promise: nil)
        resumeReading()
    }

    private func takeAcknowledgements(into bytes: inout ByteBuffer) {
        session.takeAcknowledgements { acknowledgement in
            switch acknowledgement {
            case .pubAck(let id): PacketWriter.writePubAck(id, into: &bytes)
            case .pubRec(let id): PacketWriter.writePubRec(id, into: &bytes)
            }
        }
    }

    // MARK: - Sending and closing

    func send(_ packet: Packet) {
        guard let context else { return }
        var bytes = context.channel.allocator.buffer(capacity: 64)
        packet.encode(into: &bytes)
        context.writeAndFlush(Self.wrapOutboundOut(bytes), promise: nil)
        if !isWritable { closeWhenUnread(context) }
    }

    /// What goes down without being asked for is not held back by reading less: a device that does not take it is let go.
    private func closeWhenUnread(_ context: ChannelHandlerContext) {
        let waiting = try? context.channel.syncOptions?.getOption(.bufferedWritableBytes)
        if let waiting, waiting > Self.unreadBytesMax { close(.notReading) }
    }

    /// Ends the connection; only the first reason counts.
    func close(_ reason: DisconnectReason, isLogged: Bool = false) {
        guard !isClosing else { return }
        isClosing = true
        closeReason = reason
        shard.counts.closesByReason[reason.label, default: 0] += 1
        _ = session.closeRequested()
        if !isLogged { shared.closes(reason, device: attached?.dispatch.identity, from: context?.remoteAddress) }
        // Now, not when the socket is gone: TLS waits some seconds for an answer that a dead device does not give.
        ended()
        context?.close(promise: nil)
    }

    // MARK: - The timer

    func arm(_ sessionDeadline: MonotonicInstant?) {
        timer?.cancel()
        timer = nil
        guard let deadline = [sessionDeadline, attached?.expiresAt].compactMap(\.self).min() else { return }
        let at = NIODeadline.uptimeNanoseconds(UInt64(max(0, deadline.nanoseconds)))
        // Held strongly until it fires or the socket is gone: a weak reference would make every retain slower.
        timer = shard.eventLoop.assumeIsolated().scheduleTask(deadline: at) { self.timerFired() }
    }

    private func timerFired() {
        let now = shard.now
        if let expiry = attached?.expiresAt, now >= expiry {
            close(attached?.expiry ?? .tokenExpired)
            return
        }
        // Whoever is not read cannot be blamed for silence.
        if isReadHeld, isHubBusy || isPaced {
            arm(now + Self.heldTimerInterval)
            return
        }
        switch session.timerFired(now: now) {
        case .rearm(let deadline): arm(deadline)
        case .close(let reason): close(reason.disconnectReason)
        case .ignore: arm(nil)
        }
    }
}

extension Optional {
    fileprivate mutating func take() -> Wrapped? {
        defer { self = nil }
        return self
    }
}
