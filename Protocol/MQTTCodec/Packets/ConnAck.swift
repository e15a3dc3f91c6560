import NIOCore

/// The hub's answer to CONNECT. Source: MQTT 3.1.1 section 3.2.
///
///     0x20 0x02 ┆ 0000000 session-present ┆ return code
public struct ConnAck: Equatable, Sendable {
    /// Always `false` when the connection is refused.
    public let isSessionPresent: Bool
    public let code: ConnectReturnCode

    private init(isSessionPresent: Bool, code: ConnectReturnCode) {
        self.isSessionPresent = isSessionPresent
        self.code = code
    }

    public static func accepted(isSessionPresent: Bool) -> ConnAck {
        ConnAck(isSessionPresent: isSessionPresent, code: .accepted)
    }

    public static func refused(_ code: ConnectReturnCode) -> ConnAck {
        precondition(code != .accepted, "a refusal needs a code that says why")
        return ConnAck(isSessionPresent: false, code: code)
    }

    init(from body: inout BodyReader) throws(DecodeError) {
        let flags = try body.byte()
        guard flags <= 1 else { throw body.error(.connAckFlagsReserved(flags), at: body.offset - 1) }
        let raw = try body.byte()
        guard let code = ConnectReturnCode(rawValue: raw) else {
            throw body.error(.connectReturnCodeReserved(raw), at: body.offset - 1)
        }
        guard flags == 0 || code == .accepted else {
            throw body.error(.sessionPresentWithRefusal, at: body.offset - 2)
        }
        self.init(isSessionPresent: flags == 1, code: code)
    }

    func write(into buffer: inout ByteBuffer) {
        buffer.writeFixedHeader(PacketType.connAck.firstByte, bodyBytes: 2)
        buffer.writeInteger(UInt8(isSessionPresent ? 1 : 0))
        buffer.writeInteger(code.rawValue)
    }
}

/// Why a connection is refused. Source: MQTT 3.1.1 section 3.2.2.3.
public enum ConnectReturnCode: UInt8, Sendable, CaseIterable {
    case accepted = 0
    case protocolLevelUnsupported = 1
    case identifierRejected = 2
    case serverUnavailable = 3
    case badUserNameOrPassword = 4
    case notAuthorized = 5
}
