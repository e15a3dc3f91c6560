public import MQTTCodec

/// The messages sent to a client that it has not acknowledged, and the packet identifiers they hold.
/// Source: MQTT 3.1.1 sections 2.3.1, 4.3.2 and 4.3.3 (sender).
public struct InflightWindow: Sendable {
    private enum Stage: Equatable {
        /// QoS 1 sent. Exit: PUBACK frees the identifier.
        case awaitingPubAck
        /// QoS 2 sent. Exit: PUBREC, to `awaitingPubComp`.
        case awaitingPubRec
        /// PUBREL sent. Exit: PUBCOMP frees the identifier.
        case awaitingPubComp
    }

    /// What an acknowledgement means here.
    public enum Outcome: Equatable, Sendable {
        /// The message has arrived; its identifier is free again.
        case completed
        /// A PUBREC: answer with PUBREL.
        case release
        /// No message holds this identifier. A client may acknowledge what an earlier connection sent.
        case unknown
        /// A message holds it, but with the other QoS.
        case mismatched
    }

    /// Most messages under way, 1 … 65 535.
    public let countMax: Int
    private var entries: [(id: PacketID, stage: Stage)] = []
    private var next = PacketID.first

    public init(countMax: Int) {
        precondition((1...65_535).contains(countMax), "an inflight window holds 1 … 65 535 messages")
        self.countMax = countMax
    }

    public var count: Int { entries.count }
    public var isFull: Bool { entries.count >= countMax }

    /// Takes the next free identifier for a message of QoS 1 or 2. `nil` when the window is full.
    public mutating func reserve(_ qos: QoS) -> PacketID? {
        guard !isFull else { return nil }
        var id = next
        while entries.contains(where: { $0.id == id }) { id = id.successor }
        next = id.successor
        entries.append((id, Self.firstStage(qos)))
        return id
    }

    /// Frees the identifier of a message that was never sent.
    public mutating func release(_ id: PacketID) { entries.removeAll { $0.id == id } }

    public mutating func pubAckReceived(_ id: PacketID) -> Outcome {
        completed(id, in: .awaitingPubAck)
    }

    /// A repeated PUBREC is answered again.
    public mutating func pubRecReceived(_ id: PacketID) -> Outcome {
        guard let index = entries.firstIndex(where: { $0.id == id }) else { return .unknown }
        guard entries[index].stage != .awaitingPubAck else { return .mismatched }
        entries[index].stage = .awaitingPubComp
        return .release
    }

    public mutating func pubCompReceived(_ id: PacketID) -> Outcome {
        completed(id, in: .awaitingPubComp)
    }

    private mutating func completed(_ id: PacketID, in stage: Stage) -> Outcome {
        guard let index = entries.firstIndex(where: { $0.id == id }) else { return .unknown }
        guard entries[index].stage == stage else { return .mismatched }
        entries.remove(at: index)
        return .completed
    }

    private static func firstStage(_ qos: QoS) -> Stage {
        switch qos {
        case .atMostOnce: preconditionFailure("a message of QoS 0 has no packet identifier")
        case .atLeastOnce: .awaitingPubAck
        case .exactlyOnce: .awaitingPubRec
        }
    }
}
