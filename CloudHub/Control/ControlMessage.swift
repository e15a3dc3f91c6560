public import JSON

/// One call of the command line to a running hub: one JSON object on one line.
public struct ControlRequest: Sendable, Equatable {
    /// For example `device.create`.
    public let verb: String
    public let arguments: JSONObject

    public init(verb: String, arguments: JSONObject) {
        self.verb = verb
        self.arguments = arguments
    }

    /// A text argument, or `nil` when it is absent or no text.
    public func text(_ name: String) -> String? { arguments[name]?.stringValue }

    /// `true` only when the argument is there and is `true`.
    public func isSet(_ name: String) -> Bool { arguments[name]?.boolValue ?? false }

    func line() -> [UInt8] {
        JSONValue.object(["verb": .string(verb), "arguments": .object(arguments)]).serialized() + [UInt8(ascii: "\n")]
    }

    init(line: [UInt8]) throws(ControlError) {
        let value: JSONValue
        do { value = try JSONValue(parsing: line) } catch {
            throw ControlError("the call is no JSON: \(error)", .wrongCall)
        }
        guard let verb = value["verb"]?.stringValue else { throw ControlError("the call names no verb", .wrongCall) }
        self.init(verb: verb, arguments: value["arguments"]?.objectValue ?? [:])
    }
}

/// One line of the answer. A verb that streams sends many `item` lines; every other sends one `done` or `failed`.
public enum ControlAnswer: Sendable, Equatable {
    case item(JSONValue)
    case done(JSONValue)
    case failed(ControlError)

    func line() -> [UInt8] {
        let value: JSONValue =
            switch self {
            case .item(let item): .object(["item": item])
            case .done(let result): .object(["done": result])
            case .failed(let error):
                .object(["failed": .string(error.message), "kind": .string(error.kind.rawValue)])
            }
        return value.serialized() + [UInt8(ascii: "\n")]
    }

    init(line: [UInt8]) throws(ControlError) {
        let value: JSONValue
        do { value = try JSONValue(parsing: line) } catch {
            throw ControlError("the hub's answer is no JSON: \(error)", .failure)
        }
        if let item = value["item"] {
            self = .item(item)
        } else if let result = value["done"] {
            self = .done(result)
        } else if let message = value["failed"]?.stringValue {
            let kind = value["kind"]?.stringValue.flatMap(ControlError.Kind.init(rawValue:))
            self = .failed(ControlError(message, kind ?? .failure))
        } else {
            throw ControlError("the hub's answer has neither item, done nor failed", .failure)
        }
    }
}

/// Why a call did not do what it was asked; the message goes to a person as it is.
public struct ControlError: Error, Sendable, Equatable, CustomStringConvertible {
    public enum Kind: String, Sendable {
        /// The thing was tried and failed: exit status 1.
        case failure
        /// The call itself was wrong: exit status 2.
        case wrongCall
    }

    public let message: String
    public let kind: Kind

    public init(_ message: String, _ kind: Kind = .failure) {
        self.message = message
        self.kind = kind
    }

    public var description: String { message }
}
