import JSON
import Primitives
import SouthboundAPI

/// Finds the route of a command and fills its templates. Pure.
struct CommandRouting: Sendable {
    let routes: [CommandRoute]

    struct Refusal: Error, Equatable {
        var kind = CommandRefusal.wrongPayload
        let reason: String
    }

    func publish(for command: DeviceCommand, id: UInt32, driver: String) throws(Refusal) -> CommandPublish {
        let candidates = routes.filter { $0.command == command.name }
        guard
            let route = candidates.first(where: { $0.device == command.device })
                ?? candidates.first(where: { $0.device == nil })
        else {
            throw Refusal(
                kind: .unknownCommand,
                reason: "no command \(command.name) is configured for \(command.device) on driver \(driver); "
                    + "add it to the driver's commands")
        }
        let filling = Filling(command: command, id: id)
        let topic = try filling.text(route.topic)
        guard (1...1024).contains(topic.utf8.count), !topic.utf8.contains(where: { "+#".utf8.contains($0) }) else {
            throw Refusal(reason: "'\(topic.prefix(100))' is no topic that can be published to")
        }
        return CommandPublish(
            id: id, topic: topic, payload: try filling.bytes(route.payload), isRetained: route.isRetained,
            answerTopic: try route.answerTopic.map { template throws(Refusal) in try filling.text(template) },
            deadline: command.deadline)
    }

    /// What to subscribe to, so that answers come.
    var answerFilters: [String] {
        var filters: [String] = []
        for route in routes {
            guard let template = route.answerTopic else { continue }
            let filter = template.parts.map { part in
                switch part {
                case .literal(let text): text
                case .command: route.command
                case .device: route.device?.text ?? "+"
                case .payload, .payloadMember, .payloadNumber, .id: ""
                }
            }.joined()
            if !filters.contains(filter) { filters.append(filter) }
        }
        return filters
    }

    private struct Filling {
        let command: DeviceCommand
        let id: UInt32

        func text(_ template: TextTemplate) throws(Refusal) -> String {
            String(decoding: try bytes(template), as: UTF8.self)
        }

        func bytes(_ template: TextTemplate) throws(Refusal) -> [UInt8] {
            var out: [UInt8] = []
            for part in template.parts {
                switch part {
                case .literal(let text): out += text.utf8
                case .payload: out += command.payload
                case .payloadMember(let path): out += try member(path).serialized()
                case .payloadNumber(let path): out += try number(path)
                case .device: out += command.device.text.utf8
                case .command: out += command.name.utf8
                case .id: out += String(id).utf8
                }
            }
            return out
        }

        /// Service desks write numbers as texts; a sensor wants a number.
        private func number(_ path: [String]) throws(Refusal) -> [UInt8] {
            let member = try member(path)
            let text = member.stringValue ?? member.text
            guard text.utf8.count <= 64, let value = try? JSONValue(parsing: text), case .number = value else {
                throw Refusal(
                    reason: "the payload of \(command.name): '\(path.joined(separator: "."))' must be a number; "
                        + "it is \(member.text.prefix(64))")
            }
            return value.serialized()
        }

        private func member(_ path: [String]) throws(Refusal) -> JSONValue {
            let document: JSONValue
            do {
                document = try JSONValue(parsing: command.payload)
            } catch {
                throw Refusal(reason: "the payload of \(command.name) cannot be read: \(error)")
            }
            guard let member = document[JSONPointer(steps: path)] else {
                throw Refusal(
                    reason: "the payload of \(command.name) has no member '\(path.joined(separator: "."))'")
            }
            return member
        }
    }
}
