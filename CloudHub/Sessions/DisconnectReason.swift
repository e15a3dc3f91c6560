/// Why a connection ended, in words for the operator.
public enum DisconnectReason: Hashable, Sendable {
    /// The device sent DISCONNECT.
    case leftByItself
    /// The socket closed or failed without a DISCONNECT.
    case connectionLost
    /// Nothing came for one and a half times the keep-alive.
    case keepAliveExpired
    /// Too much of what the hub sent waits for the device to read it.
    case notReading
    /// The same identity connected again; IoT Hub's 400027.
    case takenOver
    /// The SAS token that opened the connection has run out.
    case tokenExpired
    /// The certificate that opened the connection, or one above it, has run out.
    case certificateExpired
    case deviceDisabled
    case deviceRemoved
    /// Its keys or thumbprints were changed.
    case credentialsChanged
    /// The authority that its certificate comes from was taken out of the hub.
    case authorityRemoved
    /// Its certificate, or one above it, is in a revocation list.
    case certificateRevoked
    /// The bytes or the packets broke MQTT 3.1.1; the sentence says how.
    case protocolViolation(String)
    /// Well-formed, but nothing that an IoT Hub takes; the sentence says what.
    case refused(String)
    case hubStopping

    /// What is wrong, and what to do where something can be done.
    public var sentence: String {
        switch self {
        case .leftByItself: "the device disconnected"
        case .connectionLost: "the connection was lost"
        case .keepAliveExpired: "nothing was heard for one and a half times the keep-alive"
        case .notReading: "the device does not read what it is sent; look at its program and its network"
        case .takenOver: "the same identity connected again; use one connection per device identity"
        case .tokenExpired: "the SAS token expired; the device must connect with a new one"
        case .certificateExpired: "the device's certificate ran out; give it a new one"
        case .deviceDisabled: "the device was disabled in the registry"
        case .deviceRemoved: "the device was removed from the registry"
        case .credentialsChanged: "the device's credentials were changed"
        case .authorityRemoved: "the authority of the device's certificate was removed from the hub"
        case .certificateRevoked: "the device's certificate was revoked by its authority"
        case .protocolViolation(let what): "the device broke the MQTT protocol: \(what)"
        case .refused(let what): "the device asked for something this hub does not take: \(what)"
        case .hubStopping: "the hub is stopping"
        }
    }

    /// A short constant name for metrics; never made of what a peer sent.
    public var label: String {
        switch self {
        case .leftByItself: "left"
        case .connectionLost: "lost"
        case .keepAliveExpired: "keep_alive"
        case .notReading: "not_reading"
        case .takenOver: "taken_over"
        case .tokenExpired: "token_expired"
        case .certificateExpired: "certificate_expired"
        case .deviceDisabled: "disabled"
        case .deviceRemoved: "removed"
        case .credentialsChanged: "credentials_changed"
        case .authorityRemoved: "authority_removed"
        case .certificateRevoked: "certificate_revoked"
        case .protocolViolation: "protocol"
        case .refused: "refused"
        case .hubStopping: "stopping"
        }
    }
}
