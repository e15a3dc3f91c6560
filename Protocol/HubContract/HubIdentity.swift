public import Primitives

/// Who speaks: a device, or a module of one. Also the MQTT client identifier: `D` or `D/M`.
public struct HubIdentity: Hashable, Sendable, CustomStringConvertible {
    public let device: DeviceID
    /// Same characters and length as a device id; `nil` for the device itself.
    public let module: String?

    /// For parts that are known to be good; `module` has the alphabet and length of a device id.
    public init(device: DeviceID, module: String? = nil) {
        self.device = device
        self.module = module
    }

    public init(_ device: DeviceID) { self.init(device: device) }

    /// `nil` when the module's name has a character or a length that a device id could not have either.
    public init?(_ device: DeviceID, module: some StringProtocol) {
        guard let name = DeviceID(module) else { return nil }
        self.device = device
        self.module = name.text
    }

    /// Reads `D` or `D/M`.
    public init?(_ text: some StringProtocol) {
        let parts = text.cut(at: "/", maxSplits: 1)
        guard let first = parts.first, let device = DeviceID(first) else { return nil }
        if parts.count == 1 {
            self.init(device)
        } else {
            self.init(device, module: parts[1])
        }
    }

    /// The text form, which is also the MQTT client identifier.
    public var description: String { module.map { "\(device)/\($0)" } ?? device.text }

    /// The path that a token must cover to speak as this identity: `devices/D` or `devices/D/modules/M`.
    public var resourcePath: [String] {
        module.map { ["devices", device.text, "modules", $0] } ?? ["devices", device.text]
    }

    /// For sentences: `device 'D'` or `module 'D/M'`.
    public var spoken: String { module == nil ? "device '\(self)'" : "module '\(self)'" }
}
