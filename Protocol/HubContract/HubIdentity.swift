public import Primitives

/// Who a connection or an operation is about: a device, or a module of it.
public struct HubIdentity: Hashable, Sendable, CustomStringConvertible {
    public let device: DeviceID
    /// Same alphabet and length as a device id.
    public let module: String?

    public init(device: DeviceID, module: String? = nil) {
        self.device = device
        self.module = module
    }

    /// Reads `D` or `D/M`; `nil` when a part is not an id.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = parts.first, let device = DeviceID(first) else { return nil }
        if parts.count == 2 {
            guard let module = DeviceID(parts[1]) else { return nil }
            self.init(device: device, module: module.text)
        } else {
            self.init(device: device)
        }
    }

    /// `D` or `D/M`, as in an MQTT client id.
    public var description: String { module.map { device.text + "/" + $0 } ?? device.text }
}
