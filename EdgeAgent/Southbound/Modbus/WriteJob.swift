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
        if let listed = units[unit].commands.first(where: { $0.command == command.name }) {
            var writes: [RegisterWrite] = []
            for entry in listed.writes { writes.append(try write(entry.value, to: entry.register, unit: unit)) }
            return writes
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
        var writes: [RegisterWrite] = []
        if let register = document["register"]?.stringValue, let value = document["value"] {
            return [try write(named: register, value, unit: unit)]
        }
        guard let members = document.objectValue?.members, (1...16).contains(members.count) else {
            throw Refusal(
                problem: .valueNotAllowed,
                reason: "SetValue needs {\"register\": name, \"value\": value}, or 1 to 16 registers with their values")
        }
        for member in members {
            writes.append(try write(named: member.key, member.value, unit: unit))
        }
        return writes
    }

    /// The register is named by a payload: one that is not there is the payload's fault.
    private func write(named register: String, _ value: JSONValue, unit: Int) throws(Refusal) -> RegisterWrite {
        do throws(Refusal) {
            return try write(try value.asReading(register), to: register, unit: unit)
        } catch {
            throw Refusal(problem: .valueNotAllowed, reason: error.reason)
        }
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
