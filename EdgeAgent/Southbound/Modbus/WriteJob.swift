import JSON
import Primitives
import SouthboundAPI
import Telemetry

/// Writes that belong together, for one unit.
struct WriteJob: Sendable {
    enum Origin: Sendable {
        /// A local action; tried again with the unit's polls until this instant.
        case actuation(register: String, until: MonotonicInstant)
        /// A command; tried once.
        case command(name: String, deadline: MonotonicInstant, reply: @Sendable (CommandOutcome) -> Void)
    }

    let unit: Int
    let writes: [RegisterWrite]
    let origin: Origin
}

/// Finds units, registers and values for actuations and commands. Pure.
struct WritePlanning: Sendable {
    struct Refusal: Error, Equatable {
        let problem: DriverError.Problem
        let reason: String
    }

    let units: [ModbusUnit]

    func unit(of device: DeviceID) -> Int? { units.firstIndex { $0.device == device } }

    func write(_ value: ReadingValue, to register: String, unit: Int) throws(Refusal) -> RegisterWrite {
        guard let entry = units[unit].registers.first(where: { $0.metric == register }) else {
            let names = units[unit].registers.filter(\.isWritable).map(\.metric).joined(separator: ", ")
            throw Refusal(
                problem: .unknownTarget,
                reason: "\(units[unit].device) has no register '\(register.prefix(100))'; writable are: \(names)")
        }
        do {
            return try RegisterDecoding.write(value, to: entry)
        } catch {
            throw Refusal(problem: .valueNotAllowed, reason: error.text)
        }
    }

    /// The writes of a command: those that the configuration lists, or for `SetValue` those of its payload, either
    /// `{"register": "relay", "value": 1}` or `{"relay": true, "limit": 40.5}`.
    func writes(of command: DeviceCommand, unit: Int) throws(Refusal) -> [RegisterWrite] {
        let isListed = units[unit].commands.contains { $0.command == command.name }
        var writes: [RegisterWrite] = []
        for setting in try settings(of: command, unit: unit) {
            do throws(Refusal) {
                writes.append(try write(setting.value, to: setting.register, unit: unit))
            } catch {
                // The register is named by a payload: one that is not there is the payload's fault.
                throw isListed ? error : Refusal(problem: .valueNotAllowed, reason: error.reason)
            }
        }
        return writes
    }

    /// The same as registers' names and values.
    func settings(
        of command: DeviceCommand, unit: Int
    ) throws(Refusal) -> [(register: String, value: ReadingValue)] {
        if let listed = units[unit].commands.first(where: { $0.command == command.name }) {
            return listed.writes.map { ($0.register, $0.value) }
        }
        guard command.name == "SetValue" else {
            throw Refusal(
                problem: .unknownTarget,
                reason: "no command \(command.name) is configured for \(command.device); add it to the unit's commands")
        }
        let document: JSONValue
        do {
            document = try JSONValue(parsing: command.payload, limits: JSONLimits(bytesMax: 65_536, depthMax: 4))
        } catch {
            throw Refusal(problem: .valueNotAllowed, reason: "the payload of SetValue cannot be read: \(error)")
        }
        if let register = document["register"]?.stringValue, let value = document["value"] {
            return [(register, try value.asReading(register))]
        }
        guard let members = document.objectValue?.members, (1...16).contains(members.count) else {
            throw Refusal(
                problem: .valueNotAllowed,
                reason: "SetValue needs {\"register\": name, \"value\": value}, or 1 to 16 registers with their values")
        }
        var settings: [(register: String, value: ReadingValue)] = []
        for member in members { settings.append((member.key, try member.value.asReading(member.key))) }
        return settings
    }
}

extension JSONValue {
    fileprivate func asReading(_ register: String) throws(WritePlanning.Refusal) -> ReadingValue {
        switch self {
        case .bool(let flag): return .boolean(flag)
        case .number(let number):
            if let text = DecimalText(number.text) { return .number(text) }
        case .null, .string, .array, .object: break
        }
        throw WritePlanning.Refusal(
            problem: .valueNotAllowed, reason: "'\(register.prefix(100))' takes a number or a boolean")
    }
}
