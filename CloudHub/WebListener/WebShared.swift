import Listeners
import Logging
import NIOCore

/// What all connections of the port share: where they go, their limits, and how they speak to the operator.
final class WebShared: Sendable {
    let http: HTTPConnections
    let mqtt: MQTTConnections
    let limits: WebLimits
    private let logger: Logger
    private let complaints = Complaints()

    init(http: HTTPConnections, mqtt: MQTTConnections, limits: WebLimits, logger: Logger) {
        self.http = http
        self.mqtt = mqtt
        self.limits = limits
        self.logger = logger
    }

    func handshakeFailed(_ error: any Error, _ chain: ClientChain, from address: SocketAddress?) {
        mqtt.noteFailedHandshake(error, chain, on: .web, from: address)
        guard let sentence = HandshakeFailure.sentence(error, on: .web), complaints.mayComplain(about: sentence) else {
            return
        }
        logger.warning("a TLS handshake failed", metadata: metadata(sentence, address))
    }

    func webSocketRefused(_ sentence: String, from address: SocketAddress?) {
        guard complaints.mayComplain(about: "refused " + (address?.ipAddress ?? "")) else { return }
        logger.warning("a WebSocket was refused", metadata: metadata(sentence, address))
    }

    private func metadata(_ reason: String, _ address: SocketAddress?) -> Logger.Metadata {
        ["reason": "\(reason)", "address": "\(address?.ipAddress ?? "unknown")"]
    }
}
