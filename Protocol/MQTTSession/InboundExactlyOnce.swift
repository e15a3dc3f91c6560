import MQTTCodec

/// The packet identifiers of QoS 2 messages that were received and not released: the receiver's half of "exactly once".
/// Source: MQTT 3.1.1 section 4.3.3, method A.
///
/// It belongs to the session, not to the connection: a shell that keeps sessions keeps it and hands it to the next
/// connection.
public struct InboundExactlyOnce: Equatable, Sendable {
    enum Stage: Equatable, Sendable {
        /// Delivered, not durable yet; PUBREC has not gone. Exit: `received`.
        case committing
        /// PUBREC has gone. Exit: PUBREL forgets it.
        case received
    }

    enum PublishOutcome: Equatable {
        case isNew
        /// The same message again while PUBREC is still to come: nothing to do.
        case isCommitting
        /// The same message again after PUBREC: answer it again, deliver nothing.
        case isReceived
    }

    private var stages: [PacketID: Stage] = [:]

    public init() {}

    /// What a later connection needs of it: an identifier whose message did not become durable is not part of it.
    public var resumable: InboundExactlyOnce {
        var copy = self
        copy.stages = stages.filter { $0.value == .received }
        return copy
    }

    public var count: Int { stages.count }

    func publishOutcome(_ id: PacketID) -> PublishOutcome {
        switch stages[id] {
        case nil: .isNew
        case .committing: .isCommitting
        case .received: .isReceived
        }
    }

    mutating func publishReceived(_ id: PacketID) { stages[id] = .committing }

    mutating func pubRecSent(_ id: PacketID) { stages[id] = .received }

    /// `false` when PUBREL came before our PUBREC, which no correct client does.
    mutating func pubRelReceived(_ id: PacketID) -> Bool {
        guard stages[id] != .committing else { return false }
        stages[id] = nil
        return true
    }
}
