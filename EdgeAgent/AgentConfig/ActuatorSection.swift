import Actuation
import ConfigText
import Expressions
import ModbusDriver
import Primitives
import RuleSets
import Rules
import Telemetry

enum ActuatorSection {
    static func read(_ root: ConfigSection, lines: [ModbusConfig]) -> [Actuator] {
        let actuators = root.sections("actuator", countMax: ActuationDesk.actuatorsMax).compactMap {
            actuator($0, lines)
        }
        for (index, actuator) in actuators.enumerated() {
            let others = actuators[..<index]
            if others.contains(where: { $0.name == actuator.name }) {
                root.problem("the name '\(actuator.name)' is given to two actuators; every [[actuator]] needs its own")
            }
            if others.contains(where: { $0.target.text == actuator.target.text }) {
                root.problem("\(actuator.target.text) is the target of two actuators; one of them decides about it")
            }
        }
        return actuators
    }

    private static func actuator(_ section: ConfigSection, _ lines: [ModbusConfig]) -> Actuator? {
        let name = section.required("name", expected: "a name of letters, digits, - _ and .") { (text: String) in
            Rule.isName(text) ? text : nil
        }
        guard let target = target(section, lines) else { return nil }
        var actuator = Actuator(name: name ?? "actuator", target: target)
        readConditions(section, &actuator)
        readPace(section, &actuator)
        return name == nil ? nil : actuator
    }

    private static func target(_ section: ConfigSection, _ lines: [ModbusConfig]) -> Actuator.Target? {
        let isRetained = section.flag("retain", default: false)
        if section.has("topic") {
            for key in ["device", "register"] where section.take(key) != nil {
                section.problem(key, expected: "does not go together with topic; an actuator is written in one place")
            }
            let topic = section.optional("topic", expected: "a topic name: not empty, no + and no #") { text in
                text.isEmpty || text.utf8.contains(where: { "+#".utf8.contains($0) }) ? nil : text
            }
            return topic.map { .topic($0, isRetained: isRetained) }
        }
        if section.has("retain") { section.problem("retain", expected: "has no meaning without topic") }
        let device = section.required("device", expected: "a device id, or topic in its place") { DeviceID($0) }
        let register = section.requiredText("register", expected: "the metric of a writable register")
        guard let device, let register else { return nil }
        let registers = lines.flatMap(\.units).first { $0.device == device }?.registers ?? []
        if !registers.contains(where: { $0.metric == register && $0.isWritable }) {
            let names = registers.filter(\.isWritable).map(\.metric).joined(separator: ", ")
            section.problem(
                "register",
                expected: "is no writable register of \(device); writable are: \(names.isEmpty ? "none" : names)")
        }
        return .register(device: device, register: register)
    }

    private static func readConditions(_ section: ConfigSection, _ actuator: inout Actuator) {
        for text in section.texts("interlock", default: [], countMax: Actuator.interlocksMax) {
            do throws(ExpressionError) {
                actuator.interlocks.append(
                    try SignalExpression(parsing: text, as: .boolean) { signal in
                        signal.device == nil ? "needs its device here: write [door-1/open]" : nil
                    })
            } catch {
                section.problem("interlock", expected: "\"\(text.prefix(60))\": \(error)")
            }
        }
        actuator.interlockAgeMax = section.duration(
            "interlock_max_age", default: .zero, in: .zero ... .seconds(30 * 86_400))
        actuator.resumesAfterInterlock = section.flag("resume_after_interlock", default: false)
        if section.has("fail_safe") { actuator.failSafe = ReadingValue.read("fail_safe", in: section) }
        actuator.movesOnStop = section.choice("on_stop", default: true, ["fail-safe": true, "stay": false])
        for text in section.texts("sensors", default: [], countMax: Actuator.sensorsMax) {
            let parts = text.split(separator: "/", maxSplits: 1)
            guard parts.count == 2, let device = DeviceID(parts[0]) else {
                section.problem("sensors", expected: "\"\(text.prefix(60))\" is no sensor; write device/metric")
                continue
            }
            actuator.sensors.append(.init(device: device, metric: String(parts[1])))
        }
        actuator.sensorTimeout = section.duration(
            "sensor_timeout", default: .seconds(300), in: .seconds(1) ... .seconds(30 * 86_400))
        if !actuator.sensors.isEmpty, actuator.failSafe == nil {
            section.problem("sensors", expected: "needs fail_safe: the position to go to when they are silent")
        }
    }

    private static func readPace(_ section: ConfigSection, _ actuator: inout Actuator) {
        let day = Duration.zero ... .seconds(86_400)
        actuator.onTimeMin = section.duration("minimum_on", default: .zero, in: day)
        actuator.offTimeMin = section.duration("minimum_off", default: .zero, in: day)
        actuator.switchingsMax = section.integer("switchings_max", default: 0, in: 0...Actuator.switchingsMax)
        actuator.switchingsPer = section.duration(
            "switchings_per", default: actuator.switchingsPer, in: .seconds(1) ... .seconds(86_400))
        let per = section.duration("change_per", default: .seconds(1), in: .milliseconds(100) ... .seconds(86_400))
        let change = section.decimal("change_max", default: 0, in: 0 ... .greatestFiniteMagnitude)
        if change > 0 { actuator.slew = .init(change: change, per: per) }
        actuator.overrideMax = section.duration(
            "override_max", default: actuator.overrideMax, in: .seconds(60) ... .seconds(7 * 86_400))
    }
}
