public import Primitives

/// A cloud-to-device message on its way to a device.
public struct C2DDelivery: Hashable, Sendable {
    /// Names this delivery until the device's PUBACK completes it.
    public let lockToken: UniqueID
    /// The property bag as it goes into the topic, percent-encoded; system properties first.
    public let bagText: String
    public let payload: [UInt8]

    public init(lockToken: UniqueID, bagText: String, payload: [UInt8]) {
        self.lockToken = lockToken
        self.bagText = bagText
        self.payload = payload
    }
}

/// What the rooms behind a session send down to its device.
public enum DeviceBound: Hashable, Sendable {
    /// A direct method; goes out at QoS 0, so it is lost when the connection dies.
    case methodRequest(name: String, rid: String, payload: [UInt8])
    /// Desired properties as the service wrote them, with the version they made.
    case desiredChanged(version: Int64, patch: [UInt8])
    /// At QoS 1; the PUBACK comes back as `DeviceServices.cloudToDeviceCompleted`.
    case cloudToDevice(C2DDelivery)
    /// An encoded `Receipt` for a gateway: what of its batches was quarantined, and why.
    case receipt([UInt8])
    /// Ends the connection.
    case close(reason: DisconnectReason)
}

/// What a twin request is answered with.
public struct TwinAnswer: Hashable, Sendable {
    /// HTTP-like: 200 with a body, 204 after a patch, 4xx, 5xx.
    public let status: Int
    /// Goes into the topic as `$version`; of the reported section after a patch.
    public let version: Int64?
    public let body: [UInt8]

    public init(status: Int, version: Int64? = nil, body: [UInt8] = []) {
        self.status = status
        self.version = version
        self.body = body
    }
}
