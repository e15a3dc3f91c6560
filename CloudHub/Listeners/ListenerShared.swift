import HubContract
import Journal
import Logging
import MQTTCodec
import MQTTSession
import NIOCore
import Primitives
import Sessions
import Throttles

/// What all connections of a listener share: what they ask, their limits, and how they speak to the operator.
final class ListenerShared: Sendable {
    let dependencies: MQTTDependencies
    let codecLimits = CodecLimits()
    let sessionLimits: SessionLimits
    private let complaints = Complaints()

    init(dependencies: MQTTDependencies, connectTimeout: Duration) {
        self.dependencies = dependencies
        sessionLimits = SessionLimits(connectTimeout: connectTimeout)
    }

    // MARK: - The operator's log

    func connected(_ identity: HubIdentity, isSessionPresent: Bool) {
        dependencies.logger.debug(
            "device connected", metadata: ["device": "\(identity)", "sessionPresent": "\(isSessionPresent)"])
    }

    func connectRefused(
        _ sentence: String, _ kind: JournalEntry.Kind, device: String, from address: SocketAddress?
    ) {
        // One that is throttled has shown its credential.
        note(kind, device, sentence, address, isProven: kind == .throttled)
        guard mayComplain(about: "connect " + device) else { return }
        dependencies.logger.warning(
            "a device was refused",
            metadata: [
                "device": "\(device.prefix(256))", "reason": "\(sentence)",
                "address": "\(address?.ipAddress ?? "unknown")",
            ])
    }

    /// The journal and not the log, which has had the failure without the name.
    func handshakeFailed(_ sentence: String, showing certificate: [UInt8], from address: SocketAddress?) {
        guard let name = dependencies.nameIn(certificate), !name.isEmpty else { return }
        note(
            .refused, name, "a TLS handshake with a certificate of its name failed: \(sentence)", address,
            isProven: false)
    }

    func closes(_ reason: DisconnectReason, device: HubIdentity?, from address: SocketAddress?) {
        if let device {
            note(reason == .takenOver ? .takenOver : .disconnected, device.description, reason.sentence, address)
        }
        let address = address?.ipAddress ?? "unknown"
        let metadata: Logger.Metadata = [
            "device": "\(device?.description ?? "before CONNECT")", "reason": "\(reason.sentence)",
            "address": "\(address)",
        ]
        switch reason {
        case .leftByItself, .connectionLost, .hubStopping:
            dependencies.logger.debug("connection closed", metadata: metadata)
        // The operator's doing, or what was to be expected.
        case .tokenExpired, .certificateExpired, .deviceDisabled, .deviceRemoved, .credentialsChanged,
            .authorityRemoved, .certificateRevoked:
            dependencies.logger.info("connection closed", metadata: metadata)
        case .keepAliveExpired, .notReading, .takenOver, .protocolViolation, .refused:
            guard mayComplain(about: "close \(device?.description ?? "from " + address)") else { return }
            dependencies.logger.warning("connection closed", metadata: metadata)
        }
    }

    /// The records are acknowledged and kept apart: they would never be taken, however often they came.
    func quarantined(_ count: Int, _ reason: String, gateway: HubIdentity) {
        note(.quarantined, gateway.description, reason)
        guard mayComplain(about: "quarantine \(gateway)") else { return }
        dependencies.logger.warning(
            "records were quarantined",
            metadata: ["device": "\(gateway)", "records": "\(count)", "reason": "\(reason)"])
    }

    func subscriptionRefused(_ sentence: String, device: HubIdentity) {
        note(.denied, device.description, "a subscription was refused: \(sentence)")
        guard mayComplain(about: "subscribe \(device)") else { return }
        dependencies.logger.warning(
            "a subscription was refused", metadata: ["device": "\(device)", "reason": "\(sentence)"])
    }

    func childRefused(_ child: DeviceID, isDisabled: Bool, gateway: DeviceID?) {
        if let gateway {
            let what =
                isDisabled ? "is disabled; enable it in the registry" : "is not its child; create it with --parent"
            note(.denied, gateway.text, "it asked for \(child), which \(what)")
        }
        guard mayComplain(about: "\(isDisabled ? "disabled" : "foreign") child of \(gateway?.text ?? "")") else {
            return
        }
        dependencies.logger.warning(
            isDisabled
                ? "a gateway asked for a child that is disabled; enable it in the registry, or remove it from the gateway"
                : "a gateway asked for a device that is not its child; create the device with --parent, or correct the gateway",
            metadata: ["gateway": "\(gateway?.text ?? "")", "child": "\(child)"])
    }

    /// Somebody sends more than it may: the next is read when the limits allow it.
    func paced(_ device: HubIdentity?, isWholeHub: Bool, from address: SocketAddress?) {
        guard let device, let sentence = dependencies.throttles?.telemetrySentence(isWholeHub: isWholeHub) else {
            return
        }
        note(.throttled, device.description, sentence, address)
        guard mayComplain(about: "pace \(isWholeHub ? "" : device.description)") else { return }
        dependencies.logger.warning(
            "a device was throttled",
            metadata: [
                "device": "\(device)", "reason": "\(sentence)", "address": "\(address?.ipAddress ?? "unknown")",
            ])
    }

    private func note(
        _ kind: JournalEntry.Kind, _ name: String, _ sentence: String, _ address: SocketAddress? = nil,
        isProven: Bool = true
    ) {
        dependencies.journal?.note(kind, of: name, sentence, address: address?.ipAddress, isProven: isProven)
    }

    func undeliverable(_ topic: String, device: HubIdentity?) {
        if let device { note(.denied, device.description, "a message for it has a topic that MQTT cannot write") }
        guard mayComplain(about: "undeliverable") else { return }
        dependencies.logger.error(
            "a message could not be written because its topic is none",
            metadata: ["device": "\(device?.description ?? "")", "topicBytes": "\(topic.utf8.count)"])
    }

    func transportFailed(_ error: any Error, device: HubIdentity?, from address: SocketAddress?) {
        if let sentence = HandshakeFailure.sentence(error, on: .mqtt) {
            guard mayComplain(about: sentence) else { return }
            dependencies.logger.warning(
                "a TLS handshake failed",
                metadata: ["address": "\(address?.ipAddress ?? "unknown")", "reason": "\(sentence)"])
            return
        }
        guard mayComplain(about: "transport") else { return }
        dependencies.logger.debug(
            "connection failed",
            metadata: ["device": "\(device?.description ?? "before CONNECT")", "reason": "\(error)"])
    }

    private func mayComplain(about subject: String) -> Bool { complaints.mayComplain(about: subject) }
}

extension CloseReason {
    /// In the words of the rooms behind the listener.
    var disconnectReason: DisconnectReason {
        switch self {
        case .clientDisconnected: .leftByItself
        case .keepAliveTimedOut: .keepAliveExpired
        case .connectTimedOut, .malformed, .protocolViolation: .protocolViolation("\(self)")
        case .qosUnsupported, .refused: .refused("\(self)")
        case .closedByHub: .hubStopping
        }
    }
}

extension LoopShard {
    /// The loop's clock: one reading of the monotonic clock.
    var now: MonotonicInstant {
        MonotonicInstant(nanoseconds: Int64(clamping: eventLoop.now.uptimeNanoseconds))
    }
}
