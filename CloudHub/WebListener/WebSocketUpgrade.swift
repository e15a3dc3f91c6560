import Crypto
import NIOCore
import NIOHTTP1
import Primitives

/// Judges the request that asks for MQTT over WebSocket. Source: RFC 6455 section 4.2, MQTT 3.1.1 section 6.
enum WebSocketUpgrade {
    enum Answer {
        /// 101 with these headers.
        case accept(HTTPHeaders)
        /// What is wrong and what to do is for the client's developer and for the log.
        case refuse(HTTPResponseStatus, HTTPHeaders, String)
    }

    private static let version = "13"
    private static let subprotocol = "mqtt"
    private static let acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    private static let keyBytes = 16

    static func answer(_ head: HTTPRequestHead) -> Answer {
        let headers = head.headers
        guard head.version == .http1_1, names("upgrade", in: headers[canonicalForm: "connection"]),
            names("websocket", in: headers[canonicalForm: "upgrade"])
        else {
            return .refuse(
                .upgradeRequired, ["upgrade": "websocket", "connection": "upgrade"],
                "this path is for WebSocket; ask for an upgrade, or use another path")
        }
        guard headers["sec-websocket-version"] == [version] else {
            return .refuse(
                .upgradeRequired, ["sec-websocket-version": version], "only version \(version) of WebSocket is spoken")
        }
        guard !headers.contains(name: "transfer-encoding"), headers["content-length"].allSatisfy({ $0 == "0" }) else {
            return .refuse(.badRequest, [:], "the request for an upgrade has a body; send none")
        }
        let keys = headers["sec-websocket-key"]
        guard keys.count == 1, let key = keys.first, Base64.decode(key)?.count == keyBytes else {
            return .refuse(.badRequest, [:], "Sec-WebSocket-Key is not \(keyBytes) bytes in Base64")
        }
        guard headers[canonicalForm: "sec-websocket-protocol"].contains(where: { $0 == subprotocol }) else {
            return .refuse(
                .badRequest, [:], "no WebSocket subprotocol is spoken but '\(subprotocol)'; offer it")
        }
        return .accept([
            "upgrade": "websocket", "connection": "upgrade", "sec-websocket-accept": accept(key),
            "sec-websocket-protocol": subprotocol,
        ])
    }

    /// Writes a refusal; the caller closes.
    static func write(
        _ status: HTTPResponseStatus, _ headers: HTTPHeaders, _ sentence: String, to context: ChannelHandlerContext
    ) {
        let body = ByteBuffer(string: sentence + "\n")
        var all = headers
        all.add(name: "content-type", value: "text/plain; charset=utf-8")
        all.add(name: "content-length", value: String(body.readableBytes))
        all.replaceOrAdd(name: "connection", value: status == .upgradeRequired ? "upgrade, close" : "close")
        let head = HTTPResponseHead(version: .http1_1, status: status, headers: all)
        context.write(NIOAny(HTTPServerResponsePart.head(head)), promise: nil)
        context.write(NIOAny(HTTPServerResponsePart.body(.byteBuffer(body))), promise: nil)
        context.writeAndFlush(NIOAny(HTTPServerResponsePart.end(nil)), promise: nil)
    }

    /// What takes HTTP apart and puts it together on the connection of a handler behind it.
    struct HTTPHandlers {
        private let encoder: ChannelHandlerContext
        private let decoder: ChannelHandlerContext

        init(of context: ChannelHandlerContext) throws {
            let operations = context.pipeline.syncOperations
            encoder = try operations.context(handlerType: HTTPResponseEncoder.self)
            decoder = try operations.context(handlerType: ByteToMessageHandler<HTTPRequestDecoder>.self)
        }

        /// Says 101, and goes with whoever granted it: what came behind the request goes to the next handler.
        ///
        /// The date is there for devices without a clock, which learn the time from it.
        func leave(_ context: ChannelHandlerContext, _ headers: HTTPHeaders, now: WallInstant) {
            var headers = headers
            headers.add(name: "date", value: now.httpDate)
            let head = HTTPResponseHead(version: .http1_1, status: .switchingProtocols, headers: headers)
            context.write(NIOAny(HTTPServerResponsePart.head(head)), promise: nil)
            context.writeAndFlush(NIOAny(HTTPServerResponsePart.end(nil)), promise: nil)
            let operations = context.pipeline.syncOperations
            operations.removeHandler(context: encoder, promise: nil)
            operations.removeHandler(context: context, promise: nil)
            // It hands over the frames that came with the request.
            operations.removeHandler(context: decoder, promise: nil)
        }
    }

    private static func names(_ token: String, in values: [Substring]) -> Bool {
        values.contains { $0.lowercased() == token }
    }

    private static func accept(_ key: String) -> String {
        Base64.encode(Array(Insecure.SHA1.hash(data: Array((key + acceptGUID).utf8))))
    }
}
