/// A peer broke the rules of WebSocket. Trying the same again does not help.
public struct WebSocketError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What was wrong with its frame.
    public enum Problem: Sendable, Equatable, CaseIterable {
        case reservedBits, unknownOpcode, unmasked, text, messageInMessage, continuesNothing, fragmentedControl
        case longControl, lengthEncoding, tooLong, closeCode, closeReason
    }

    public let problem: Problem

    init(_ problem: Problem) { self.problem = problem }

    /// What the peer is told in the close frame. Source: RFC 6455 section 7.4.1.
    public var closeCode: UInt16 {
        switch problem {
        case .text: 1003
        case .closeReason: 1007
        case .tooLong: 1009
        case .reservedBits, .unknownOpcode, .unmasked, .messageInMessage, .continuesNothing, .fragmentedControl,
            .longControl, .lengthEncoding, .closeCode:
            1002
        }
    }

    public var isRetryable: Bool { false }

    /// For the operator.
    public var description: String {
        switch problem {
        case .reservedBits: "a frame uses reserved bits, but no extension was agreed"
        case .unknownOpcode: "a frame has an opcode that does not exist"
        case .unmasked: "a frame is not masked, as every client's must be"
        case .text: "a text frame came, but MQTT travels in binary frames"
        case .messageInMessage: "a new message began before the fragmented one before it ended"
        case .continuesNothing: "a continuation came without a message to continue"
        case .fragmentedControl: "a control frame is fragmented"
        case .longControl: "a control frame is longer than \(WebSocketFrame.controlBytesMax) bytes"
        case .lengthEncoding: "a frame writes its length with more bytes than it needs, or none that fits 63 bits"
        case .tooLong: "a frame is longer than the largest MQTT packet"
        case .closeCode: "a close frame has a code that may not be sent"
        case .closeReason: "a close frame gives a reason that is not UTF-8"
        }
    }
}
