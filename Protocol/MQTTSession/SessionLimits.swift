public import MQTTCodec

/// The limits of one client's session.
public struct SessionLimits: Equatable, Sendable {
    /// How long a new connection may take to send CONNECT and be answered. Default 10 s.
    public var connectTimeout: Duration
    /// The longest silence that any keep alive buys. Default 1767 s (Source: Azure IoT Hub).
    public var silenceMax: Duration
    /// The best QoS of a received PUBLISH; a better one closes the connection. Default QoS 1 (Source: Azure IoT Hub).
    public var publishQoSMax: QoS
    /// Received messages without an answer at which the shell should stop reading. Default 1024.
    public var unansweredPauseCount: Int
    /// Received messages without an answer that close the connection: what one read can still bring after the pause.
    /// Default 16 384. Four bytes each, taken only when needed.
    public var unansweredCountMax: Int
    /// SUBSCRIBE and UNSUBSCRIBE packets waiting for the shell's answer. Default 32.
    public var subscriptionAnswersMax: Int
    /// Messages sent to the client that it has not acknowledged. Default 64.
    public var inflightCountMax: Int

    public init(
        connectTimeout: Duration = .seconds(10), silenceMax: Duration = .seconds(1767),
        publishQoSMax: QoS = .atLeastOnce
    ) {
        self.connectTimeout = connectTimeout
        self.silenceMax = silenceMax
        self.publishQoSMax = publishQoSMax
        unansweredPauseCount = 1024
        unansweredCountMax = 16_384
        subscriptionAnswersMax = 32
        inflightCountMax = 64
    }

    /// Fails our own configuration, never a peer.
    func check() {
        precondition(connectTimeout > .zero && silenceMax > .zero, "time limits are positive")
        precondition(
            1 <= unansweredPauseCount && unansweredPauseCount <= unansweredCountMax,
            "reading pauses at or before the limit that closes")
        precondition(subscriptionAnswersMax >= 1, "at least one SUBSCRIBE may wait")
    }
}
