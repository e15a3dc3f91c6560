import MQTTClient
import MQTTCodec
import NIOCore
import Primitives

private let limits = ClientLimits(
    inflightCountMax: 4, unacknowledgedCountMax: 4, packetBytesMax: 1024, passesOverLargeMessages: true)
private let unacknowledgedMax = limit(4, canary: 2)

/// libFuzzer calls this with bytes of its own making: what a server sends to the gateway. Whatever that is, the gateway
/// sends only what the hub's decoder can read, and keeps within its limits.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = fuzzed(start, count)
    let whole = read([bytes[...]])
    hold(whole == read(pieces(of: bytes)), "the cut of the stream changed what it means")
    drive(bytes)
    return 0
}

private struct Reading: Equatable {
    var events: [ClientEvent] = []
    var error: ClientError?
}

private func makeSession() -> ClientSession {
    guard
        let login = ClientLogin(
            clientID: "d", userName: "h/d/", password: Secret(Array("k".utf8)), keepAliveSeconds: 60)
    else { fatalError("the login fits") }
    return ClientSession(login, limits: limits)
}

private let accepted: [UInt8] = [0x20, 2, 0, 0]

private func feed(
    _ piece: some Sequence<UInt8>, to session: inout ClientSession, now: MonotonicInstant
) throws(ClientError) -> [ClientEvent] {
    var queue = ByteQueue()
    queue.append(contentsOf: Array(piece))
    return try queue.withBytes { (bytes) throws(ClientError) in try session.received(bytes, now: now) }
}

/// Behind a good CONNACK, so that the active state is reached at once.
private func read(_ stream: [ArraySlice<UInt8>]) -> Reading {
    var session = makeSession()
    let now = MonotonicInstant(nanoseconds: 0)
    session.started(now: now)
    var reading = Reading()
    do throws(ClientError) {
        for piece in [accepted[...]] + stream {
            reading.events += try feed(piece, to: &session, now: now)
        }
    } catch {
        reading.error = error
        // What came before a mistake in the same piece is not told: only the error counts then.
        reading.events = []
    }
    return reading
}

/// A shell that publishes, subscribes, acknowledges and lets time pass; the bytes choose.
private func drive(_ bytes: [UInt8]) {
    var session = makeSession()
    var now = MonotonicInstant(nanoseconds: 0)
    var owed: [ClientMessage.Ticket] = []
    var sent: Set<PublishID> = []
    session.started(now: now)
    if bytes.last.map({ $0 & 1 == 0 }) ?? true {
        _ = try? feed(accepted, to: &session, now: now)
    }
    do throws(ClientError) {
        for (number, piece) in pieces(of: bytes).enumerated() {
            for event in try feed(piece, to: &session, now: now) { take(event, &owed, &sent) }
            guard session.isAccepted else { continue }
            switch bytes[bytes.count - 1 - number % bytes.count] % 8 {
            case 0:
                if let id = session.publish("t", [1], now: now) { sent.insert(id) }
                hold(sent.count <= limits.inflightCountMax, "more is under way than the limit")
            case 1: session.subscribe(["a/#"], now: now)
            case 2: if !owed.isEmpty { session.acknowledge(owed.removeFirst(), now: now) }
            case 3: if let last = owed.popLast() { session.acknowledge(last, now: now) }
            case 4:
                now = now + .seconds(61)
                try session.timerFired(now: now)
            default: break
            }
        }
    } catch {
        hold(!session.isAccepted && session.deadline == nil, "a broken session stands")
    }
    session.disconnect()
    checkOutput(session.output)
}

private func take(
    _ event: ClientEvent, _ owed: inout [ClientMessage.Ticket], _ sent: inout Set<PublishID>
) {
    switch event {
    case .message(let message), .overLargeMessage(let message, _):
        hold(!message.topic.isEmpty && message.payload.count <= limits.packetBytesMax, "a message that cannot be")
        guard let ticket = message.ticket else { return }
        owed.append(ticket)
        hold(owed.count <= unacknowledgedMax, "the limit of unacknowledged messages is passed")
    case .acknowledged(let id): hold(sent.remove(id) != nil, "an acknowledgement of nothing")
    case .accepted, .subscribed: break
    }
}

/// Another's decoder reads every packet of it.
private func checkOutput(_ output: ByteQueue) {
    var buffer = output.withBytes { ByteBuffer(bytes: $0) }
    var decoder = PacketDecoder(limits: .protocolMaximum)
    var isFirst = true
    do throws(DecodeError) {
        while let packet = try decoder.next(from: &buffer) {
            if case .connect = packet { hold(isFirst, "a second CONNECT") } else { hold(!isFirst, "no CONNECT first") }
            isFirst = false
        }
    } catch {
        fatalError("the gateway sent what the hub cannot read")
    }
    hold(buffer.readableBytes == 0 && !isFirst, "the gateway sent half a packet, or nothing")
}
