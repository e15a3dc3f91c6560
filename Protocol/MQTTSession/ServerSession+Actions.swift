public import MQTTCodec
public import Primitives

extension ServerSession {
    /// What to do with a received packet.
    public enum PacketAction: Equatable, Sendable {
        /// Ask the registry, then call `connectAccepted` or `connectRefused`. Until then pass no further packet in.
        indirect case authenticate(Connect)
        /// Send it, flush, close.
        case refuse(ConnAck, CloseReason)
        /// Hand the message on. With a ticket, call `publishCommitted` once it is durable; without one (QoS 0) nothing
        /// more is expected.
        case deliver(Publish, PublishTicket?)
        /// Send it.
        case reply(Packet)
        /// Call `subscribeAnswered` once the subscriptions are durable. All filters are well-formed.
        case subscribe(Subscribe)
        /// Call `unsubscribeAnswered` once it is durable.
        case unsubscribe(Unsubscribe)
        /// The client has the message that was sent under this identifier.
        case outboundAcknowledged(PacketID)
        case close(CloseReason)
        case ignore
    }

    /// What to do after the registry said yes.
    public enum AcceptAction: Equatable, Sendable {
        /// Send it; set the session's timer to `timer`, or stop it when `nil`.
        case accept(ConnAck, timer: MonotonicInstant?)
        /// The connection ended while the registry was asked.
        case ignore
    }

    /// What to do after the registry said no, or with bytes that are not MQTT.
    public enum RefuseAction: Equatable, Sendable {
        /// Send it, flush, close.
        case refuse(ConnAck, CloseReason)
        case close(CloseReason)
        case ignore
    }

    /// What to do after messages became durable.
    public enum CommitAction: Equatable, Sendable {
        /// Call `takeAcknowledgements`.
        case acknowledge
        /// An earlier message is not durable yet; its commit will let this one's answer go too.
        case awaitEarlier
        /// The connection has ended, or it was answered before.
        case ignore
    }

    /// What to do after the shell settled a SUBSCRIBE or UNSUBSCRIBE.
    public enum AnswerAction: Equatable, Sendable {
        case reply(Packet)
        case ignore
    }

    /// Whether a message may be sent to the client now.
    public enum SendAction: Equatable, Sendable {
        /// Send it with this QoS and identifier.
        case send(Publish.Delivery)
        /// Wait for `.outboundAcknowledged`.
        case windowFull
        case notConnected
    }

    /// What to do after the session's timer fired.
    public enum TimerAction: Equatable, Sendable {
        case rearm(at: MonotonicInstant)
        case close(CloseReason)
        case ignore
    }

    /// What to do after the hub wanted the connection closed.
    public enum CloseAction: Equatable, Sendable {
        case close
        case ignore
    }

    /// What to do after the socket is gone.
    public enum LossAction: Equatable, Sendable {
        case publishWill(Will)
        case nothing
    }
}
