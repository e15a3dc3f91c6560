import NIOCore
public import Primitives

/// A client's first packet. Source: MQTT 3.1.1 section 3.1.
///
///     0x10 length ┆ 00 04 "MQTT" ┆ 04 ┆ flags ┆ keep alive, 2 bytes ┆
///     client identifier ┆ [will topic ┆ will message] ┆ [user name] ┆ [password]
///
///     flags: 7 user name │ 6 password │ 5 will retain │ 4–3 will QoS │ 2 will │ 1 clean session │ 0 reserved
public struct Connect: Equatable, Sendable {
    /// May be empty; the session decides whether that is allowed.
    public var clientID: String
    public var isCleanSession: Bool
    /// Zero turns keep alive off. Unit: seconds.
    public var keepAliveSeconds: UInt16
    public var will: Will?
    public var userName: String?
    /// Any bytes, not only text. Only together with a user name.
    public var password: Secret?

    public init(
        clientID: String, isCleanSession: Bool, keepAliveSeconds: UInt16, will: Will? = nil,
        credentials: (userName: String, password: Secret?)? = nil
    ) {
        self.clientID = clientID
        self.isCleanSession = isCleanSession
        self.keepAliveSeconds = keepAliveSeconds
        self.will = will
        userName = credentials?.userName
        password = credentials?.password
    }

    public static func == (left: Connect, right: Connect) -> Bool {
        left.clientID == right.clientID && left.isCleanSession == right.isCleanSession
            && left.keepAliveSeconds == right.keepAliveSeconds && left.will == right.will
            && left.userName == right.userName && samePassword(left.password, right.password)
    }

    private static func samePassword(_ left: Secret?, _ right: Secret?) -> Bool {
        switch (left, right) {
        case (nil, nil): true
        case (let left?, let right?): left.matches(right.bytes)
        case (nil, _?), (_?, nil): false
        }
    }
}

/// What the hub publishes for a client that is lost without DISCONNECT. It is kept for the whole connection, so it owns
/// its bytes. Source: MQTT 3.1.1 section 3.1.2.5.
public struct Will: Equatable, Sendable {
    public var topicName: String
    public var payload: [UInt8]
    public var qos: QoS
    public var isRetained: Bool

    public init(topicName: String, payload: [UInt8], qos: QoS, isRetained: Bool = false) {
        self.topicName = topicName
        self.payload = payload
        self.qos = qos
        self.isRetained = isRetained
    }
}

extension Connect {
    /// Section 3.1.2.2.
    static let protocolLevel: UInt8 = 4

    private enum Flag {
        static let reserved: UInt8 = 1
        static let cleanSession: UInt8 = 1 << 1
        static let will: UInt8 = 1 << 2
        static let willQoSShift: UInt8 = 3
        static let willQoS: UInt8 = 0b11 << 3
        static let willRetain: UInt8 = 1 << 5
        static let password: UInt8 = 1 << 6
        static let userName: UInt8 = 1 << 7
    }

    init(from body: inout BodyReader, limits: CodecLimits) throws(DecodeError) {
        try Self.checkProtocol(&body)
        let flagsOffset = body.offset
        let flags = try body.byte()
        if let problem = Self.fault(inFlags: flags) { throw body.error(problem, at: flagsOffset) }
        keepAliveSeconds = try body.uint16()
        isCleanSession = flags & Flag.cleanSession != 0
        clientID = try body.text()
        if flags & Flag.will != 0 {
            guard let qos = QoS(rawValue: (flags & Flag.willQoS) >> Flag.willQoSShift) else {
                throw body.error(.qosReserved, at: flagsOffset)
            }
            let topic = try body.topicName(bytesMax: limits.topicBytesMax)
            let payload = try body.lengthPrefixed()
            will = Will(
                topicName: String(decoding: body.bytes(in: topic), as: UTF8.self),
                payload: Array(body.bytes(in: payload)), qos: qos,
                isRetained: flags & Flag.willRetain != 0)
        }
        if flags & Flag.userName != 0 { userName = try body.text() }
        if flags & Flag.password != 0 { password = Secret(body.bytes(in: try body.lengthPrefixed())) }
    }

    private static func checkProtocol(_ body: inout BodyReader) throws(DecodeError) {
        let start = body.offset
        let name = body.bytes(in: try body.lengthPrefixed())
        // "MQIsdp" was the name up to MQTT 3.1: such a client is told its level, as a too new one is (section 3.1.2.2).
        guard name.elementsEqual("MQTT".utf8) || name.elementsEqual("MQIsdp".utf8) else {
            throw body.error(.protocolNameUnknown, at: start)
        }
        let levelOffset = body.offset
        let level = try body.byte()
        guard level == protocolLevel, name.count == 4 else {
            throw body.error(.protocolLevelUnsupported(level), at: levelOffset)
        }
    }

    private static func fault(inFlags flags: UInt8) -> DecodeError.Problem? {
        if flags & Flag.reserved != 0 { return .connectFlagReserved }
        if flags & Flag.will == 0, flags & (Flag.willQoS | Flag.willRetain) != 0 { return .willFlagsWithoutWill }
        if flags & Flag.userName == 0, flags & Flag.password != 0 { return .passwordWithoutUserName }
        return nil
    }

    private var bodyBytes: Int {
        var count = 10 + 2 + clientID.utf8.count
        if let will { count += 2 + will.topicName.utf8.count + 2 + will.payload.count }
        if let userName { count += 2 + userName.utf8.count }
        if let password { count += 2 + password.bytes.count }
        return count
    }

    private var flags: UInt8 {
        var flags = isCleanSession ? Flag.cleanSession : 0
        if let will {
            flags |= Flag.will | will.qos.rawValue << Flag.willQoSShift | (will.isRetained ? Flag.willRetain : 0)
        }
        if userName != nil { flags |= Flag.userName }
        if password != nil { flags |= Flag.password }
        return flags
    }

    func write(into buffer: inout ByteBuffer) {
        precondition(userName != nil || password == nil, "a password needs a user name")
        buffer.writeFixedHeader(PacketType.connect.firstByte, bodyBytes: bodyBytes)
        buffer.writeText("MQTT")
        buffer.writeInteger(Self.protocolLevel)
        buffer.writeInteger(flags)
        buffer.writeInteger(keepAliveSeconds)
        buffer.writeText(clientID)
        if let will {
            buffer.writeText(will.topicName)
            buffer.writeBinary(will.payload)
        }
        if let userName { buffer.writeText(userName) }
        if let password { buffer.writeBinary(password.bytes) }
    }
}
