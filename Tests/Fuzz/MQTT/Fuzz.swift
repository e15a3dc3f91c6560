import MQTTCodec
import MQTTSession
import NIOCore
import Primitives

private let unansweredMax = limit(8, canary: 3)

/// libFuzzer calls this with bytes of its own making. Nothing may trap, and what holds for every stream is asserted:
/// the cut of the stream does not matter, what was read can be written and read again, the limits hold, the session
/// answers in order and says nothing after its end.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = fuzzed(start, count)
    let whole = decode(bytes, chunk: bytes.count)
    // The first byte chooses how the stream is cut the second time.
    let cut = decode(bytes, chunk: 1 + Int(bytes.first ?? 0) % 7)
    hold(whole.packets == cut.packets, "the cut of the stream changed the packets")
    hold(whole.error == cut.error, "the cut of the stream changed the error")
    for packet in whole.packets { checkRoundTrip(packet) }
    drive(bytes)
    return 0
}

private func decode(_ bytes: [UInt8], chunk: Int) -> (packets: [Packet], error: DecodeError?) {
    var decoder = PacketDecoder(limits: CodecLimits(packetBytesMax: 4096, connectBytesMax: 1024))
    var buffer = ByteBuffer()
    var packets: [Packet] = []
    var index = 0
    do throws(DecodeError) {
        while index < bytes.count {
            let end = min(index + chunk, bytes.count)
            buffer.writeBytes(bytes[index..<end])
            index = end
            while let packet = try decoder.next(from: &buffer) { packets.append(packet) }
            hold(buffer.readableBytes <= 4096 + chunk, "more is kept than a packet may have")
        }
    } catch {
        hold(error.offset >= 0 && error.offset <= 4096, "the offset lies outside the packet")
        hold(!error.description.isEmpty && !error.isRetryable, "an error without a text, or one to try again")
        return (packets, error)
    }
    return (packets, nil)
}

private func checkRoundTrip(_ packet: Packet) {
    var buffer = ByteBuffer()
    packet.encode(into: &buffer)
    var decoder = PacketDecoder(limits: .protocolMaximum)
    guard let again = try? decoder.next(from: &buffer) else { fatalError("a written packet cannot be read") }
    hold(again == packet && buffer.readableBytes == 0, "a written packet is read as another")
}

/// A session behind a shell that also does what a registry, a store and a service side would do; the bytes choose.
private func drive(_ bytes: [UInt8]) {
    var shell = Shell(choices: bytes)
    shell.run(bytes)
}

private struct Shell: ~Copyable {
    private var session: ServerSession
    private var decoder = PacketDecoder(limits: CodecLimits(packetBytesMax: 4096))
    private var choices: [UInt8]
    private var now = MonotonicInstant(nanoseconds: 0)
    private var isEnded = false
    private var tickets: [PublishTicket] = []
    private var owed: [Acknowledgement] = []

    init(choices: [UInt8]) {
        self.choices = choices.reversed()
        var limits = SessionLimits(publishQoSMax: (choices.last ?? 0) & 1 == 0 ? .exactlyOnce : .atLeastOnce)
        limits.inflightCountMax = 4
        limits.subscriptionAnswersMax = 4
        limits.unansweredPauseCount = 4
        limits.unansweredCountMax = 8
        session = ServerSession(limits: limits, now: now)
    }

    private mutating func choice() -> UInt8 { choices.popLast() ?? 0 }

    mutating func run(_ bytes: [UInt8]) {
        // Half of the runs start behind a good CONNECT, so that the active state is reached at once.
        if choice() & 1 == 0 {
            perform(
                session.packetReceived(
                    .connect(Connect(clientID: "d", isCleanSession: true, keepAliveSeconds: 60)), now: now))
        }
        var buffer = ByteBuffer(bytes: bytes)
        do throws(DecodeError) {
            while let packet = try decoder.next(from: &buffer) {
                perform(session.packetReceived(packet, now: now))
                shellTurn()
            }
        } catch {
            let action = session.malformedPacket(error)
            hold(!isEnded || action == .ignore, "an ended session acted")
            isEnded = true
        }
        _ = session.connectionLost()
        hold(session.connectionLost() == .nothing, "the will is published once")
        hold(session.deadline == nil && !session.wantsReading, "a lost session waits for something")
    }

    private mutating func perform(_ action: ServerSession.PacketAction) {
        hold(!isEnded || action == .ignore, "an ended session acted")
        switch action {
        case .authenticate:
            if choice() % 8 == 7 {
                _ = session.connectRefused(.notAuthorized)
                isEnded = true
            } else {
                _ = session.connectAccepted(sessionPresent: true, now: now)
            }
        case .deliver(let publish, let ticket):
            hold((ticket == nil) == (publish.qos == .atMostOnce), "tickets are for QoS 1 and 2")
            if let ticket, let id = publish.packetID {
                hold(tickets.last.map { $0 < ticket } ?? true, "tickets grow")
                tickets.append(ticket)
                owed.append(publish.qos == .exactlyOnce ? .pubRec(id) : .pubAck(id))
                hold(owed.count <= unansweredMax, "the limit of unanswered messages is passed")
            }
        case .subscribe(let subscribe):
            _ = session.subscribeAnswered(subscribe.packetID, codes: subscribe.requests.map { _ in .failure })
        case .unsubscribe(let unsubscribe): _ = session.unsubscribeAnswered(unsubscribe.packetID)
        case .refuse, .close: isEnded = true
        case .reply(let packet): checkRoundTrip(packet)
        case .outboundAcknowledged, .ignore: break
        }
    }

    private mutating func shellTurn() {
        switch choice() % 8 {
        case 0: commit(upTo: tickets.count)
        case 1: commit(upTo: 1)
        case 2: _ = session.sendRequested(.atLeastOnce)
        case 3: _ = session.sendRequested(.exactlyOnce)
        case 4:
            now = now + .seconds(Int(choice()))
            if case .close = session.timerFired(now: now) { isEnded = true }
        case 5 where choice() % 16 == 0:
            _ = session.closeRequested()
            isEnded = true
        case 6:
            if let ticket = tickets.last { _ = session.publishCommitted(ticket) }
        default: break
        }
    }

    private mutating func commit(upTo count: Int) {
        guard count > 0, tickets.count >= count else { return }
        _ = session.publishesCommitted(through: tickets[count - 1])
        var taken: [Acknowledgement] = []
        session.takeAcknowledgements { taken.append($0) }
        hold(!isEnded || taken.isEmpty, "an ended session acknowledged")
        hold(taken == Array(owed.prefix(taken.count)), "acknowledgements left in another order")
        hold(isEnded || taken.count >= count, "a durable message was not acknowledged")
        owed.removeFirst(taken.count)
        tickets.removeFirst(min(max(taken.count, count), tickets.count))
    }
}
