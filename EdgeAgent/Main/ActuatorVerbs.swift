import AgentConfig
import DriverRuntime
import Glibc
import JSON
import Primitives

/// `edge-agent actuators` and `edge-agent override`: asked of the running agent at its local socket.
enum ActuatorVerbs {
    private static let config = Verb.Option(
        name: "config", placeholder: "file", help: "the configuration (TOML)", isRequired: true)

    static let show = Verb(
        name: "actuators", abstract: "Show where each actuator is, who overrides it, and why it may not move.",
        options: [
            config, Verb.Option(name: "output", placeholder: "table|json", help: "json: what the agent answered"),
        ], run: show)

    static let override = Verb(
        name: "override", abstract: "Take an actuator over by hand for a time, or give it back; the hub is not needed.",
        discussion: """
            Interlocks hold for an override, too. The log of moves ('edge-agent moves') says who it was: the user who runs
            this, and the name given. Whoever may write the agent's local socket may override: its own user, and root.

              edge-agent override fan 1 --for 30m --by Anna --config /etc/edge-agent.toml
              edge-agent override fan --end --config /etc/edge-agent.toml
            """,
        operand: Verb.Option(name: "actuator", placeholder: "actuator", help: "its name", isRequired: true),
        secondOperand: Verb.Option(
            name: "value", placeholder: "value", help: "the position: a number, true, false, or a text"),
        options: [
            config, Verb.Option(name: "for", placeholder: "duration", help: "how long it holds, such as 30m"),
            Verb.Option(name: "by", placeholder: "name", help: "for the log; left out, the user alone"),
            Verb.Option(name: "end", placeholder: "", help: "give it back at once", isFlag: true),
        ], run: override)

    private static func show(_ options: OptionValues) throws(ExitStatus) {
        let isJSON = try options.value("output", expected: "table or json") {
            $0 == "json" ? true : $0 == "table" ? false : nil
        }
        let answer = try ask("actuators", JSONObject(), options)
        if isJSON == true { return Terminal.line(answer.description) }
        for view in answer.arrayValue ?? [] {
            var line = "\(view["actuator"]?.stringValue ?? "?")  \(view["position"]?.stringValue ?? "unknown")"
            if let target = view["target"]?.stringValue { line += "  (\(target))" }
            if let who = view["override"]?["who"]?.stringValue {
                line += "  overridden by \(who) for \(view["override"]?["lasts"]?.stringValue ?? "?")"
            }
            if let blocked = view["blocked"]?.stringValue { line += "  \(blocked)" }
            Terminal.line(line)
        }
    }

    private static func override(_ options: OptionValues) throws(ExitStatus) {
        var payload = JSONObject()
        payload["actuator"] = .string(options.required("actuator"))
        let caller = getenv("SUDO_USER").map { String(cString: $0) } ?? ""
        if let name = options["by"] ?? (caller.isEmpty ? nil : caller) { payload["who"] = .string(name) }
        if options["end"] != nil {
            guard options["value"] == nil, options["for"] == nil else {
                throw options.wrong("--end gives the actuator back; it goes with no value and no --for")
            }
            _ = try ask("release", payload, options)
            return
        }
        guard let value = options["value"] else { throw options.wrong("<value> is missing: the position, or --end") }
        guard let lasting = try options.value("for", expected: "a duration such as 30m", { DurationText.parse($0) })
        else {
            throw options.wrong("--for <duration> is missing: an override always ends")
        }
        payload["value"] = position(value)
        payload["for"] = .string(DurationText.format(lasting))
        _ = try ask("override", payload, options)
    }

    private static func position(_ text: String) -> JSONValue {
        switch text {
        case "true": .bool(true)
        case "false": .bool(false)
        default: (try? JSONValue(parsing: Array(text.utf8))).flatMap { $0.isNumber ? $0 : nil } ?? .string(text)
        }
    }

    private static func ask(
        _ method: String, _ payload: JSONObject, _ options: OptionValues
    ) throws(ExitStatus) -> JSONValue {
        let path = try Configured.load(options.required("config")).config.actuation.socketPath
        let descriptor: Int32
        switch LocalSocket.connected(to: path) {
        case .success(let made): descriptor = made
        case .failure(let problem):
            Terminal.error(
                "edge-agent: the running agent cannot be asked at \(path): \(problem.reason). Is it running, with an "
                    + "[[actuator]] in its configuration, and are you its user or root?")
            throw .failed
        }
        defer { close(descriptor) }
        let deadline = SystemTime.monotonic + .seconds(30)
        let request: JSONValue = ["method": .string(method), "payload": .object(payload)]
        guard LocalSocket.send(request.serialized() + [UInt8(ascii: "\n")], to: descriptor, until: deadline),
            let line = LocalSocket.line(from: descriptor, bytesMax: 1 << 20, until: deadline),
            let answer = try? JSONValue(parsing: line)
        else {
            Terminal.error("edge-agent: the running agent did not answer; see its log")
            throw .failed
        }
        guard answer["status"]?.description == "200" else {
            Terminal.error("edge-agent: \(answer["payload"]?["error"]?.stringValue ?? "the agent refused")")
            throw .failed
        }
        return answer["payload"] ?? .null
    }
}

extension JSONValue {
    fileprivate var isNumber: Bool { if case .number = self { true } else { false } }
}
