import NIOHTTP1

/// What the first bytes of an HTTP connection ask for.
enum FirstLine {
    enum Route: Equatable {
        /// IoT Hub's path for MQTT over WebSocket.
        case webSocket
        /// Everything else, for the router to judge.
        case pages
    }

    /// Source: IoT Hub, MQTT support: the path is `/$iothub/websocket`; some clients escape the dollar sign.
    private static let webSocketStarts = ["GET /$iothub/websocket", "GET /%24iothub/websocket"].map { Array($0.utf8) }

    /// - Returns: `nil` when more bytes are needed, which is never so once there are 26.
    static func route(_ bytes: some Collection<UInt8>) -> Route? {
        var isUndecided = false
        for start in webSocketStarts where bytes.prefix(start.count).elementsEqual(start.prefix(bytes.count)) {
            switch bytes.dropFirst(start.count).first {
            case UInt8(ascii: " "), UInt8(ascii: "?"): return .webSocket
            case nil: isUndecided = true
            default: break
            }
        }
        return isUndecided ? nil : .pages
    }

    /// Whether a later request of the connection asks for it too.
    static func isWebSocket(_ head: HTTPRequestHead) -> Bool {
        route("\(head.method) \(head.uri) ".utf8) == .webSocket
    }
}
