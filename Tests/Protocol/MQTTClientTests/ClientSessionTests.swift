import MQTTClient
import MQTTCodec
import NIOCore
import Primitives
import Testing

/// The client's half, with the hub's own codec as the other side: what one writes, the other must read.
@Suite struct ClientSessionTests {
    private static let start = MonotonicInstant(nanoseconds: 5_000_000_000)

    private static func login(keepAlive: UInt16 = 60) throws -> ClientLogin {
        try #require(
            ClientLogin(
                clientID: "gw", userName: "hub/gw/?api-version=2021-04-12", password: Secret("token".utf8),
                keepAliveSeconds: keepAlive))
    }

    /// A session and the server that it talks to.
    private struct Pair {
        var session: ClientSession
        private var decoder = PacketDecoder()
        private var toServer = ByteBuffer()

        init(_ limits: ClientLimits = ClientLimits(), accepted: Bool = true) throws {
            session = ClientSession(try login(), limits: limits)
            session.started(now: start)
            guard accepted else { return }
            _ = try sent()
            #expect(try receive(bytes: [0x20, 2, 0, 0]) == [.accepted(isSessionPresent: false)])
        }

        /// What the client has written since the last time, as packets.
        mutating func sent() throws -> [Packet] {
            let bytes = session.output.withBytes { Array($0) }
            session.output.removeFirst(bytes.count)
            toServer.writeBytes(bytes)
            var packets: [Packet] = []
            while let packet = try decoder.next(from: &toServer) { packets.append(packet) }
            return packets
        }

        mutating func firstSent() throws -> Packet {
            let packets = try sent()
            return try #require(packets.first)
        }

        mutating func publish(_ topic: String, _ payload: [UInt8] = [], at now: MonotonicInstant = start) throws
            -> PublishID
        {
            let id = session.publish(topic, payload, now: now)
            return try #require(id)
        }

        mutating func receive(_ packets: Packet..., at now: MonotonicInstant = start) throws -> [ClientEvent] {
            var buffer = ByteBuffer()
            for packet in packets { packet.encode(into: &buffer) }
            return try receive(bytes: Array(buffer.readableBytesView), at: now)
        }

        mutating func receive(bytes: [UInt8], at now: MonotonicInstant = start) throws -> [ClientEvent] {
            try bytes.withUnsafeBytes { try session.received($0, now: now) }
        }
    }

    private static func message(_ id: UInt16?, topic: String = "t", _ payload: String = "p") throws -> Packet {
        let delivery = try id.map { Publish.Delivery.atLeastOnce(try #require(PacketID($0))) }
        return .publish(
            try #require(
                Publish(topicName: topic, payload: ByteBuffer(string: payload), delivery: delivery ?? .atMostOnce)))
    }

    @Test func connectSaysWhoIsThereAndKeepsTheSession() throws {
        var pair = try Pair(accepted: false)
        guard case .connect(let connect) = try pair.firstSent() else {
            Issue.record("the first packet is CONNECT")
            return
        }
        #expect(connect.clientID == "gw" && connect.userName == "hub/gw/?api-version=2021-04-12")
        #expect(connect.password?.bytes == Array("token".utf8))
        #expect(!connect.isCleanSession && connect.will == nil && connect.keepAliveSeconds == 60)
    }

    @Test func withoutATokenThereIsNoPassword() throws {
        let login = try #require(ClientLogin(clientID: "gw", userName: "u", password: nil, keepAliveSeconds: 60))
        var session = ClientSession(login)
        session.started(now: Self.start)
        var buffer = ByteBuffer(bytes: session.output.withBytes { Array($0) })
        var decoder = PacketDecoder()
        guard case .connect(let connect) = try decoder.next(from: &buffer) else {
            Issue.record("the first packet is CONNECT")
            return
        }
        #expect(connect.password == nil && connect.userName == "u")
    }

    @Test func withoutAUserNameThereIsNoneAndNoPassword() throws {
        #expect(ClientLogin(clientID: "gw", userName: nil, password: Secret("x".utf8), keepAliveSeconds: 60) == nil)
        let login = try #require(ClientLogin(clientID: "gw", userName: nil, password: nil, keepAliveSeconds: 60))
        var session = ClientSession(login)
        session.started(now: Self.start)
        var buffer = ByteBuffer(bytes: session.output.withBytes { Array($0) })
        var decoder = PacketDecoder()
        guard case .connect(let connect) = try decoder.next(from: &buffer) else {
            Issue.record("the first packet is CONNECT")
            return
        }
        #expect(connect.password == nil && connect.userName == nil)
    }

    @Test func aSessionThatTheServerKeptIsToldApart() throws {
        var pair = try Pair(accepted: false)
        #expect(try pair.receive(bytes: [0x20, 2, 1, 0]) == [.accepted(isSessionPresent: true)])
    }

    @Test func aRepetitionIsMarkedAsTheServerMarkedIt() throws {
        var pair = try Pair()
        for (flags, id, isDuplicate) in [(0x32, 9, false), (0x3A, 10, true)] as [(UInt8, UInt8, Bool)] {
            let events = try pair.receive(bytes: [flags, 5, 0, 1, 0x74, 0, id])
            guard case .message(let message) = events.first else {
                Issue.record("a message was expected")
                continue
            }
            #expect(message.isDuplicate == isDuplicate)
        }
    }

    @Test func filtersHaveTheQualityThatWasAskedForAndRetainedMessagesSayIt() throws {
        var pair = try Pair()
        pair.session.subscribe([ClientFilter("a", qualityOfService: 0), ClientFilter("b")], now: Self.start)
        guard case .subscribe(let subscribe) = try pair.firstSent() else {
            Issue.record("a SUBSCRIBE was expected")
            return
        }
        #expect(subscribe.requests.map(\.qosMax.rawValue) == [0, 1])
        let events = try pair.receive(bytes: [0x31, 4, 0, 1, 0x74, 0x70])
        guard case .message(let message) = events.first else {
            Issue.record("a message was expected")
            return
        }
        #expect(message.isRetained && message.topic == "t" && message.payload == [0x70])
        #expect(!message.isDuplicate)
        _ = pair.session.publish("a", [], isRetained: true, now: Self.start)
        guard case .publish(let publish) = try pair.firstSent() else {
            Issue.record("a PUBLISH was expected")
            return
        }
        #expect(publish.isRetained)
    }

    @Test func theOldestMessagesAreAcknowledgedTogether() throws {
        var pair = try Pair()
        for id in [UInt16(7), 3, 9] { _ = try pair.receive(try Self.message(id)) }
        pair.session.acknowledgeOldest(2, now: Self.start)
        #expect(try pair.sent().map(Self.acknowledgedID) == [7, 3])
        #expect(try pair.receive(try Self.message(9)).isEmpty, "it was delivered, and is owed still")
        #expect(try pair.receive(try Self.message(7)).count == 1, "its identifier is free again")
        pair.session.acknowledgeOldest(9, now: Self.start)
        #expect(try pair.sent().map(Self.acknowledgedID) == [9, 7])
    }

    private static func acknowledgedID(_ packet: Packet) -> UInt16? {
        if case .pubAck(let id) = packet { id.value } else { nil }
    }

    /// However the stream is cut: named without its payload, owed to the server, and the next one is read.
    @Test(arguments: [1, 5, 100, 4096]) func anOverLargeMessageIsPassedOverWhenThatIsWanted(piece: Int) throws {
        var pair = try Pair(ClientLimits(packetBytesMax: 200, passesOverLargeMessages: true))
        var buffer = ByteBuffer()
        try Self.message(4, topic: "big", String(repeating: "x", count: 1000)).encode(into: &buffer)
        try Self.message(5, topic: "next").encode(into: &buffer)
        let bytes = Array(buffer.readableBytesView)
        var events: [ClientEvent] = []
        for start in stride(from: 0, to: bytes.count, by: piece) {
            events += try pair.receive(bytes: Array(bytes[start..<min(start + piece, bytes.count)]))
        }
        try #require(events.count == 2)
        guard case .overLargeMessage(let large, payloadBytes: 1000) = events[0], case .message(let next) = events[1]
        else {
            Issue.record("\(events)")
            return
        }
        #expect(large.topic == "big" && large.payload.isEmpty && next.topic == "next")
        pair.session.acknowledgeOldest(2, now: Self.start)
        #expect(try pair.sent().map(Self.acknowledgedID) == [4, 5])
    }

    @Test(arguments: [0, 1, 127, 128, 16_383, 16_384, 200_000]) func publishesOfEverySizeAreReadByTheHub(size: Int)
        throws
    {
        var pair = try Pair()
        let payload = (0..<size).map { UInt8(truncatingIfNeeded: $0) }
        let id = try pair.publish("devices/gw/messages/events/", payload)
        guard case .publish(let publish) = try pair.firstSent(), let packetID = publish.packetID else {
            Issue.record("a PUBLISH of QoS 1 was expected")
            return
        }
        #expect(
            publish.topicName == "devices/gw/messages/events/" && Array(publish.payload.readableBytesView) == payload)
        #expect(try pair.receive(.pubAck(packetID)) == [.acknowledged(id)])
        #expect(try pair.receive(.pubAck(packetID)) == [])
    }

    @Test func theWindowBoundsWhatTheServerHasNotAcknowledged() throws {
        var pair = try Pair(ClientLimits(inflightCountMax: 2))
        let first = try pair.publish("a", [])
        _ = try pair.publish("b")
        let third = pair.session.publish("c", [], now: Self.start)
        #expect(!pair.session.canPublish && third == nil)
        let ids = try pair.sent().map { packet in
            guard case .publish(let publish) = packet else { return UInt16(0) }
            return publish.packetID?.value ?? 0
        }
        #expect(ids.count == 2 && Set(ids).count == 2)
        #expect(try pair.receive(.pubAck(try #require(PacketID(ids[0])))) == [.acknowledged(first)])
        #expect(pair.session.canPublish)
    }

    @Test func identifiersAreFreeAgainAndNeverZeroAfterAWholeRound() throws {
        var pair = try Pair()
        for _ in 0..<70_000 {
            _ = try pair.publish("a", [])
            guard case .publish(let publish) = try pair.firstSent(), let id = publish.packetID else {
                return
            }
            _ = try pair.receive(.pubAck(id))
        }
    }

    @Test func subscriptionsAreToldOneByOne() throws {
        var pair = try Pair()
        pair.session.subscribe(["a/#", "b", "c/+"], now: Self.start)
        guard case .subscribe(let subscribe) = try pair.firstSent() else {
            Issue.record("a SUBSCRIBE was expected")
            return
        }
        #expect(subscribe.requests == ["a/#", "b", "c/+"].map { .init(topicFilter: $0, qosMax: .atLeastOnce) })
        let answer = SubAck(packetID: subscribe.packetID, codes: [.grantedAtLeastOnce, .failure, .grantedAtMostOnce])
        #expect(try pair.receive(.subAck(answer)) == [.subscribed([true, false, true])])
    }

    @Test func nothingIsAcknowledgedByItselfAndTheOrderIsKept() throws {
        var pair = try Pair()
        let events = try pair.receive(
            try Self.message(7), try Self.message(nil), try Self.message(9), try Self.message(8))
        let tickets = events.compactMap { event -> ClientMessage.Ticket? in
            guard case .message(let message) = event else { return nil }
            return message.ticket
        }
        #expect(events.count == 4 && tickets.count == 3)
        #expect(try pair.sent() == [])
        pair.session.acknowledge(tickets[2], now: Self.start)
        pair.session.acknowledge(tickets[1], now: Self.start)
        #expect(try pair.sent() == [])
        pair.session.acknowledge(tickets[0], now: Self.start)
        #expect(try pair.sent() == [7, 9, 8].map { .pubAck(try #require(PacketID($0))) })
        pair.session.acknowledge(tickets[0], now: Self.start)
        #expect(try pair.sent() == [])
    }

    @Test func aRepetitionBeforeTheAcknowledgementIsOneMessage() throws {
        var pair = try Pair()
        #expect(try pair.receive(try Self.message(7)).count == 1)
        #expect(try pair.receive(try Self.message(7)) == [])
    }

    @Test func aServerThatWaitsForNoAcknowledgementIsLeft() throws {
        var pair = try Pair(ClientLimits(unacknowledgedCountMax: 2))
        _ = try pair.receive(try Self.message(1), try Self.message(2))
        #expect(throws: ClientError.tooManyUnacknowledged(countMax: 2)) { try pair.receive(try Self.message(3)) }
    }

    @Test(arguments: [1, 2, 3, 4, 5] as [UInt8]) func refusalsKeepTheirCode(code: UInt8) throws {
        var pair = try Pair(accepted: false)
        #expect(throws: ClientError.refused(code: code)) { try pair.receive(bytes: [0x20, 2, 0, code]) }
        #expect(!pair.session.isAccepted && pair.session.deadline == nil)
    }

    @Test func bytesMayArriveOneByOne() throws {
        var pair = try Pair()
        var buffer = ByteBuffer()
        try Self.message(7, topic: "ä/b", "payload").encode(into: &buffer)
        var events: [ClientEvent] = []
        for byte in buffer.readableBytesView { events += try pair.receive(bytes: [byte]) }
        guard case .message(let message) = try #require(events.first) else { return }
        #expect(message.topic == "ä/b" && message.payload == Array("payload".utf8))
    }

    static let malformed: [(String, [UInt8])] = [
        ("CONNACK a second time", [0x20, 2, 0, 0]), ("a reserved type", [0x00, 0]), ("a client's packet", [0xC0, 0]),
        ("QoS 2", [0x34, 5, 0, 1, 0x61, 0, 1]), ("QoS 3", [0x36, 5, 0, 1, 0x61, 0, 1]),
        ("a repetition of QoS 0", [0x38, 3, 0, 1, 0x61]), ("identifier zero", [0x40, 2, 0, 0]),
        ("a wildcard topic", [0x30, 3, 0, 1, 0x23]), ("an empty topic", [0x30, 2, 0, 0]),
        ("a topic that is no UTF-8", [0x30, 3, 0, 1, 0xFF]), ("a topic longer than its packet", [0x30, 3, 0, 9, 0x61]),
        ("bytes behind the end", [0x40, 3, 0, 1, 0]), ("an unasked SUBACK", [0x90, 3, 0, 1, 1]),
        ("a SUBACK without codes", [0x90, 2, 0, 1]), ("a length of five bytes", [0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1]),
        ("too long a packet, told by its header", [0x30, 0xFF, 0xFF, 0x7F]), ("flags on a PUBACK", [0x41, 2, 0, 1]),
    ]

    @Test(arguments: malformed.indices) func whatIsNoMQTTEndsTheSession(index: Int) throws {
        var pair = try Pair()
        let (what, bytes) = Self.malformed[index]
        do {
            _ = try pair.receive(bytes: bytes)
            Issue.record("\(what) was taken")
        } catch ClientError.malformed {
            #expect(!pair.session.isAccepted)
        }
    }

    @Test func randomBytesNeverTrap() throws {
        var random = SeededRandom(seed: 7)
        for _ in 0..<3000 {
            var pair = try Pair()
            let first: [UInt8] = [0x20, 0x30, 0x32, 0x40, 0x90, 0xD0, UInt8.random(in: 0...255, using: &random)]
            var bytes = [first.randomElement(using: &random) ?? 0]
            for _ in 0..<Int.random(in: 1...40, using: &random) {
                bytes.append(UInt8.random(in: 0...(bytes.count < 3 ? 12 : 255), using: &random))
            }
            _ = try? pair.receive(bytes: bytes)
        }
    }

    // MARK: Keep alive

    private static func at(_ seconds: Int) -> MonotonicInstant { start + .seconds(seconds) }

    @Test func aQuietConnectionIsAskedAndASilentOneIsLeft() throws {
        var pair = try Pair()
        #expect(pair.session.deadline == Self.at(60))
        try pair.session.timerFired(now: Self.at(59))
        #expect(try pair.sent() == [])
        try pair.session.timerFired(now: Self.at(60))
        #expect(try pair.sent() == [.pingReq])
        #expect(try pair.receive(.pingResp, at: Self.at(61)) == [])
        #expect(pair.session.deadline == Self.at(120))
        try pair.session.timerFired(now: Self.at(120))
        try pair.session.timerFired(now: Self.at(179))
        #expect(throws: ClientError.silent) { try pair.session.timerFired(now: Self.at(180)) }
    }

    @Test func sendingAloneDoesNotHideADeadServer() throws {
        var pair = try Pair()
        for second in stride(from: 10, through: 60, by: 10) {
            _ = pair.session.publish("a", [], now: Self.at(second))
        }
        try pair.session.timerFired(now: Self.at(60))
        #expect(try pair.sent().last == .pingReq)
    }

    @Test func hearingAloneIsNoSignOfLife() throws {
        var pair = try Pair()
        for second in stride(from: 10, through: 60, by: 10) {
            _ = try pair.receive(try Self.message(nil), at: Self.at(second))
        }
        try pair.session.timerFired(now: Self.at(60))
        #expect(try pair.sent() == [.pingReq])
    }

    @Test func disconnectIsTheLastWord() throws {
        var pair = try Pair()
        pair.session.disconnect()
        #expect(try pair.sent() == [.disconnect])
        let late = pair.session.publish("a", [], now: Self.start)
        #expect(late == nil)
        pair.session.disconnect()
        #expect(try pair.sent() == [])
    }
}
