import MQTTCodec
import NIOCore
import Primitives

/// Packets that MQTT can express, from a seed.
struct RandomPackets {
    var random: SeededRandom

    init(seed: UInt64) { random = SeededRandom(seed: seed) }

    mutating func next() -> Packet {
        let id = packetID()
        switch PacketType.allCases.randomElement(using: &random) ?? .pingReq {
        case .connect: return .connect(connect())
        case .connAck:
            let code = ConnectReturnCode.allCases.randomElement(using: &random) ?? .accepted
            return .connAck(code == .accepted ? .accepted(isSessionPresent: flag()) : .refused(code))
        case .publish: return .publish(publish())
        case .pubAck: return .pubAck(id)
        case .pubRec: return .pubRec(id)
        case .pubRel: return .pubRel(id)
        case .pubComp: return .pubComp(id)
        case .subscribe:
            return .subscribe(
                Subscribe(
                    packetID: id,
                    requests: (0...Int.random(in: 0...5, using: &random)).map { _ in
                        Subscribe.Request(topicFilter: topic() + (flag() ? "/#" : "/+"), qosMax: qos())
                    }))
        case .subAck:
            return .subAck(
                SubAck(
                    packetID: id,
                    codes: (0...Int.random(in: 0...5, using: &random)).map { _ in
                        SubAck.Code.allCases.randomElement(using: &random) ?? .failure
                    }))
        case .unsubscribe:
            return .unsubscribe(
                Unsubscribe(
                    packetID: id, topicFilters: (0...Int.random(in: 0...5, using: &random)).map { _ in topic() }))
        case .unsubAck: return .unsubAck(id)
        case .pingReq: return .pingReq
        case .pingResp: return .pingResp
        case .disconnect: return .disconnect
        }
    }

    mutating func publish() -> Publish {
        let delivery: Publish.Delivery =
            switch qos() {
            case .atMostOnce: .atMostOnce
            case .atLeastOnce: .atLeastOnce(packetID())
            case .exactlyOnce: .exactlyOnce(packetID())
            }
        guard
            let publish = Publish(
                topicName: topic(), payload: ByteBuffer(bytes: bytes(upTo: 300)), delivery: delivery,
                isDuplicate: flag(), isRetained: flag())
        else { preconditionFailure("random topics are valid") }
        return publish
    }

    mutating func bytes(upTo countMax: Int) -> [UInt8] {
        (0..<Int.random(in: 0...countMax, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
    }

    mutating func flag() -> Bool { Bool.random(using: &random) }

    private mutating func connect() -> Connect {
        var connect = Connect(
            clientID: flag() ? topic() : "", isCleanSession: flag(),
            keepAliveSeconds: UInt16.random(in: 0...UInt16.max, using: &random))
        if flag() {
            connect.will = Will(topicName: topic(), payload: bytes(upTo: 40), qos: qos(), isRetained: flag())
        }
        if flag() {
            connect.userName = topic()
            if flag() { connect.password = Secret(bytes(upTo: 40)) }
        }
        return connect
    }

    private mutating func packetID() -> PacketID {
        PacketID(UInt16.random(in: 1...UInt16.max, using: &random)) ?? .first
    }

    private mutating func qos() -> QoS { QoS.allCases.randomElement(using: &random) ?? .atMostOnce }

    private mutating func topic() -> String {
        let alphabet: [Character] = [
            "a", "Z", "/", "$", "?", "=", "%", "\u{1}", "é", "\u{FEFF}", "☃", "𪛔", "\u{10FFFF}",
        ]
        return String(
            (0...Int.random(in: 0...40, using: &random)).compactMap { _ in
                alphabet.randomElement(using: &random)
            })
    }
}
