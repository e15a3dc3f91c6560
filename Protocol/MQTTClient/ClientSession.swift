public import Primitives

/// The client's end of one MQTT 3.1.1 connection, without a socket.
///
///     idle ──started──► awaitingAnswer ──CONNACK 0──► active ──disconnect──► ended
///                             └── refusal, violation, silence: throws ──────► ended
///
/// The shell passes in what arrived and writes what stands in `output`. It publishes and subscribes at QoS 1; a message
/// from the server is acknowledged when the shell says that it is dealt with, and in the order in which the messages
/// came (MQTT 3.1.1, [MQTT-4.6.0-2]). What the server has not acknowledged is not sent again by the session: whoever
/// published it keeps it and publishes it on the next connection.
public struct ClientSession: Sendable {
    private enum State: Sendable {
        /// Nothing sent. Exit: `awaitingAnswer`.
        case idle
        /// CONNECT sent. Exits: `active`, `ended`.
        case awaitingAnswer
        /// Exit: `ended`.
        case active
        /// No exit.
        case ended
    }

    private struct Owed: Sendable {
        let ticket: ClientMessage.Ticket
        var isDealtWith = false
    }

    public let limits: ClientLimits
    /// To be written, as far as the socket takes it.
    public var output = ByteQueue()
    private let login: ClientLogin
    private var state = State.idle
    private var input = ByteQueue()
    private var inflight: Set<UInt16> = []
    private var subscriptions: [UInt16: Int] = [:]
    private var owed: [Owed] = []
    private var owedIDs: Set<UInt16> = []
    /// Bytes of an over-large payload that are still to come.
    private var passingOver = 0
    private var lastID: UInt16 = 0
    private var lastSent = MonotonicInstant(nanoseconds: 0)
    private var lastHeard = MonotonicInstant(nanoseconds: 0)
    private var pingSent: MonotonicInstant?

    public init(_ login: ClientLogin, limits: ClientLimits = ClientLimits()) {
        self.login = login
        self.limits = limits
    }

    public var clientID: String { login.clientID }
    public var isAccepted: Bool { state == .active }
    /// Whether `publish` has a place left.
    public var canPublish: Bool { state == .active && inflight.count < limits.inflightCountMax }

    /// The connection stands: sends CONNECT.
    public mutating func started(now: MonotonicInstant) {
        precondition(state == .idle, "a session is good for one connection")
        state = .awaitingAnswer
        lastHeard = now
        output.appendConnect(login)
        lastSent = now
    }

    /// Takes what arrived, in pieces of any size.
    ///
    /// - Returns: what it means, in order. Bytes of a packet that is not complete yet are kept.
    /// - Throws: the end of the session; nothing more may be passed in.
    public mutating func received(
        _ bytes: UnsafeRawBufferPointer, now: MonotonicInstant
    ) throws(ClientError) -> [ClientEvent] {
        lastHeard = now
        input.append(contentsOf: bytes)
        var events: [ClientEvent] = []
        do throws(ClientError) {
            let limits = limits
            passOver()
            while let (packet, count) = try input.withBytes({ (bytes) throws(ClientError) in
                try ReceivedPacket.read(bytes, limits)
            }) {
                input.removeFirst(count)
                if let event = try handle(packet) { events.append(event) }
                passOver()
            }
        } catch {
            state = .ended
            throw error
        }
        return events
    }

    private mutating func passOver() {
        guard passingOver > 0 else { return }
        let count = min(passingOver, input.count)
        input.removeFirst(count)
        passingOver -= count
    }

    /// Publishes at QoS 1. `nil` when there is no place left (see `canPublish`), or the topic is empty or over 65 535
    /// bytes.
    public mutating func publish(
        _ topic: String, _ payload: [UInt8], isRetained: Bool = false, now: MonotonicInstant
    ) -> PublishID? {
        guard canPublish, (1...65_535).contains(topic.utf8.count) else { return nil }
        let id = freeID()
        inflight.insert(id)
        output.appendPublish(topic, payload, id: id, isRetained: isRetained)
        lastSent = now
        return PublishID(value: id)
    }

    /// Asks for QoS 1 on every filter; `.subscribed` answers.
    public mutating func subscribe(_ filters: [String], now: MonotonicInstant) {
        subscribe(filters.map { ClientFilter($0) }, now: now)
    }

    /// `.subscribed` answers.
    public mutating func subscribe(_ filters: [ClientFilter], now: MonotonicInstant) {
        precondition(state == .active && !filters.isEmpty, "filters are asked for on a connection that stands")
        let id = freeID()
        subscriptions[id] = filters.count
        output.appendSubscribe(filters, id: id)
        lastSent = now
    }

    /// A message is dealt with. Its PUBACK leaves as soon as those of all earlier ones have.
    public mutating func acknowledge(_ ticket: ClientMessage.Ticket, now: MonotonicInstant) {
        guard state == .active, let index = owed.firstIndex(where: { $0.ticket == ticket }) else { return }
        owed[index].isDealtWith = true
        acknowledgeOldest(owed.prefix { $0.isDealtWith }.count, now: now)
    }

    /// So many of the messages that are not acknowledged yet are dealt with, the ones that came first.
    public mutating func acknowledgeOldest(_ count: Int, now: MonotonicInstant) {
        guard state == .active, count > 0 else { return }
        for entry in owed.prefix(count) {
            output.appendPubAck(entry.ticket.id)
            owedIDs.remove(entry.ticket.id)
        }
        owed.removeFirst(min(count, owed.count))
        lastSent = now
    }

    /// Queues DISCONNECT, after which nothing is sent any more.
    public mutating func disconnect() {
        if state == .active { output.appendDisconnect() }
        state = .ended
    }

    // MARK: Keep alive

    /// When `timerFired` wants to be called next; `nil` while no session stands.
    public var deadline: MonotonicInstant? {
        guard state == .active else { return nil }
        if let pingSent { return pingSent + interval }
        return min(lastSent, lastHeard) + interval
    }

    /// Sends a ping when one is due. After as long without a word again the server is taken for dead.
    public mutating func timerFired(now: MonotonicInstant) throws(ClientError) {
        guard let deadline, now >= deadline else { return }
        if pingSent != nil {
            state = .ended
            throw .silent
        }
        pingSent = now
        output.appendPing()
        lastSent = now
    }

    private var interval: Duration { .seconds(Int(login.keepAliveSeconds)) }

    // MARK: What arrives

    private mutating func handle(_ packet: ReceivedPacket) throws(ClientError) -> ClientEvent? {
        pingSent = nil
        switch (state, packet) {
        case (.awaitingAnswer, .connAck(let isSessionPresent, code: 0)):
            state = .active
            return .accepted(isSessionPresent: isSessionPresent)
        case (.awaitingAnswer, .connAck(_, let code)): throw .refused(code: code)
        case (.active, .publish(let message)): return try owes(message) ? .message(message) : nil
        case (.active, .publishHead(let message, let payloadBytes)):
            passingOver = payloadBytes
            return try owes(message) ? .overLargeMessage(message, payloadBytes: payloadBytes) : nil
        case (.active, .pubAck(let id)):
            return inflight.remove(id).map { .acknowledged(PublishID(value: $0)) }
        case (.active, .subAck(let id, let codes)):
            guard let count = subscriptions.removeValue(forKey: id), count == codes.count else {
                throw .malformed("a SUBACK that answers no SUBSCRIBE")
            }
            return .subscribed(codes.map { $0 <= 2 })
        case (.active, .pingResp): return nil
        case (.idle, _), (.awaitingAnswer, _), (.active, .connAck), (.ended, _):
            throw .malformed("a packet out of turn")
        }
    }

    /// Whether it is news: one that is sent once more although its acknowledgement is still to come is delivered once.
    private mutating func owes(_ message: ClientMessage) throws(ClientError) -> Bool {
        guard let ticket = message.ticket else { return true }
        guard !owedIDs.contains(ticket.id) else { return false }
        guard owed.count < limits.unacknowledgedCountMax else {
            throw .tooManyUnacknowledged(countMax: limits.unacknowledgedCountMax)
        }
        owed.append(Owed(ticket: ticket))
        owedIDs.insert(ticket.id)
        return true
    }

    private mutating func freeID() -> UInt16 {
        repeat {
            lastID = lastID == .max ? 1 : lastID + 1
        } while inflight.contains(lastID) || subscriptions[lastID] != nil
        return lastID
    }
}
