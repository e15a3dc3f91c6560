public import JSON

/// A command in the device's words.
public struct DeviceCommand: Sendable, Equatable {
    /// The direct method, or the name of the cloud-to-device message.
    public let method: String
    public let payload: JSONValue

    public init(method: String, payload: JSONValue) {
        self.method = method
        self.payload = payload
    }
}

/// Maps the CRM's command names to methods of the device.
///
/// Source: Dynamics 365 Connected Field Service, "Send commands": `CommandName` and `Parameters` in the row's message.
public struct CommandNames: Sendable, Equatable {
    /// The CRM's name (case does not count) → the method's.
    public var methods: [String: String]
    /// The members of the message; `msdyn_iotsettings` can rename them.
    public var nameMember: String
    public var parametersMember: String
    /// Whether a name outside the table is passed on as it is, when it could be a method's name.
    public var takesUnknownNames: Bool

    public init(
        methods: [String: String], nameMember: String = "CommandName", parametersMember: String = "Parameters",
        takesUnknownNames: Bool = true
    ) {
        var lowered: [String: String] = [:]
        for (name, method) in methods { lowered[name.lowercased()] = method }
        self.methods = lowered
        self.nameMember = nameMember
        self.parametersMember = parametersMember
        self.takesUnknownNames = takesUnknownNames
    }

    public static let stock = CommandNames(methods: [
        "Reset Thermostat": "Reset", "Set Values": "SetValue", "Notification": "Notify",
    ])

    /// Why a message is no command.
    public struct Problem: Error, Sendable, Equatable { public let sentence: String }

    /// - Parameter message: `{"CommandName":"Set Values","Parameters":{"Reading":{"Temperature":"21"}}}`.
    public func command(fromMessage message: String) -> Result<DeviceCommand, Problem> {
        let json: JSONValue
        do {
            json = try JSONValue(parsing: message, limits: JSONLimits(bytesMax: 64 << 10, depthMax: 16))
        } catch {
            return .failure(Problem(sentence: "the command's message is not JSON: \(error)"))
        }
        guard let name = json[nameMember]?.stringValue, !name.isEmpty else {
            return .failure(Problem(sentence: "the command's message has no text member \(nameMember)"))
        }
        let payload = json[parametersMember] ?? .object(JSONObject())
        if let method = methods[name.lowercased()] {
            return .success(DeviceCommand(method: method, payload: payload))
        }
        guard takesUnknownNames, Self.couldBeMethod(name) else {
            return .failure(Problem(sentence: "no method belongs to the command name \(name.prefix(100))"))
        }
        return .success(DeviceCommand(method: name, payload: payload))
    }

    /// What IoT Hub takes as a method's name in a topic without escaping.
    private static func couldBeMethod(_ name: String) -> Bool {
        (1...64).contains(name.utf8.count)
            && name.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
                    true
                default: false
                }
            }
    }
}
