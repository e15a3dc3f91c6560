import BrokerKit
import Foundation
import HubContract
import JSON
import Primitives
import Telemetry
import Testing

/// The gateway from sensor to hub and back, as a process among real brokers and a real (pseudo) serial line.
@Suite(.serialized) struct AgentTests {
    @Test func readingsFaultsActionsAndCommandsGoTheWholeWay() throws {
        let bench = try AgentBench()
        try bench.startSensors()
        try bench.startAgent()
        try bench.waitForRecord("a temperature arrives") {
            if case .reading(let reading) = $0 {
                reading.device == AgentBench.thermostat && reading.metric == "temperature" && reading.unit == "Cel"
            } else {
                false
            }
        }
        try bench.waitForRecord("a voltage arrives") {
            if case .reading(let reading) = $0 {
                reading.device == AgentBench.meter && reading.unit == "V"
            } else {
                false
            }
        }
        bench.sensors(SIGUSR2)
        try bench.waitForFault("overheat", .raised)
        try bench.waitForRecord("the relay is closed by the edge rule") {
            if case .reading(let reading) = $0 {
                reading.metric == "relay" && reading.value == .boolean(true)
            } else {
                false
            }
        }
        let answer = try bench.call("Reset", on: AgentBench.thermostat, payload: "{}", status: 200)
        #expect(answer.contains("reset"), "\(answer)")
        try bench.waitForFault("overheat", .cleared)

        bench.sensors(SIGUSR1)
        try bench.waitForFault("no-answer", .raised)
        bench.sensors(SIGUSR1)
        try bench.waitForFault("no-answer", .cleared)
        #expect(bench.endAgent(SIGTERM) == 0)
    }

    /// As Azure's device SDKs answer: 501 for a method that is not there, 400 for a payload that does not fit.
    @Test func unknownCommandAnswers501AndAWrongPayload400() throws {
        let bench = try AgentBench()
        try bench.startSensors()
        try bench.startAgent()
        try bench.waitForRecord("a voltage arrives") {
            if case .reading(let reading) = $0 { reading.unit == "V" } else { false }
        }
        let unknown = try bench.call("Dance", on: AgentBench.meter, payload: "{}", status: 501)
        #expect(unknown.contains("no command Dance is configured for meter-1"), "\(unknown)")
        let wrong = try bench.call("SetValue", on: AgentBench.meter, payload: #"{"nowhere":1}"#, status: 400)
        #expect(wrong.contains("meter-1 has no register 'nowhere'"), "\(wrong)")
        #expect(bench.endAgent(SIGTERM) == 0)
    }

    /// In the form that the hub asks in, and reads the answer in.
    @Test func whatTheHubHasNotGotIsSentAgain() throws {
        let bench = try AgentBench()
        try bench.startSensors()
        try bench.startAgent()
        try bench.waitForSequence(beyond: 4)
        let epoch = try #require(bench.batches().first?.epoch)
        func request(_ epoch: Epoch, _ runs: [Run]) -> String { ReplayRange(epoch: epoch, runs: runs).json.text }
        let runs = [Run(start: 1, count: 2), Run(start: 1 << 40, count: 3)]
        let answer = try bench.call("ReplayRange", payload: request(epoch, runs), status: 200)
        let outcome = try #require(ReplayRange.Answer(JSONValue(parsing: answer)))
        #expect(outcome.gone == [] && outcome.rest == [], "what is not made yet is not gone")
        try waitUntil("sequence 1 has come twice") {
            try bench.batches().flatMap(\.records).count { $0.sequence == 1 } >= 2
        }
        let stranger = Epoch(value: epoch.value ^ 1)
        _ = try bench.call("ReplayRange", payload: request(stranger, runs), status: 404)
        _ = try bench.call("ReplayRange", payload: #"{"start":"1"}"#, status: 400)
        #expect(bench.endAgent(SIGTERM) == 0)
    }

    @Test func unknownDeviceAnswers404() throws {
        let bench = try AgentBench()
        try bench.startSensors()
        try bench.startAgent()
        try bench.waitForRecord("a reading arrives") { _ in true }
        let stranger = try #require(DeviceID("stranger"))
        let answer = try bench.call("Reset", on: stranger, payload: "{}", status: 404)
        #expect(answer == #"{"error":"this gateway has no device stranger; check its configuration"}"# + "\n")
    }

    @Test func agentKilledAtRandomMomentsLosesNoSequence() throws {
        let bench = try AgentBench()
        try bench.startSensors()
        var random = SeededRandom(seed: 20_261_121)
        for _ in 0..<6 {
            try bench.startAgent()
            usleep(UInt32.random(in: 50_000...900_000, using: &random))
            #expect(bench.endAgent(SIGKILL) == 128 + SIGKILL)
        }
        try bench.startAgent()
        try bench.waitForRecord("a reading arrives") { _ in true }
        #expect(bench.endAgent(SIGTERM) == 0)
        let batches = try bench.batches()
        #expect(Set(batches.map(\.epoch)).count == 1)
        let sequences = Set(batches.flatMap(\.records).map(\.sequence))
        let last = try #require(sequences.max())
        #expect(sequences == Set(1...last), "every sequence has reached the hub")
        #expect(batches.allSatisfy { $0.dropped.isEmpty })
    }

    /// The thermostat is not there, so the command is under way until it expires, or until the agent is killed.
    @Test func commandInterruptedByAKillIsNotSentAgainAndItsEndIsTold() throws {
        let bench = try AgentBench()
        let orders = "plant/thermostat-1/cmd/reset"
        try bench.plant.collect(orders, as: "orders")
        try bench.startAgent()
        try waitUntil("the thermostat is known", seconds: 30) {
            // What comes before the agent has subscribed does not reach it.
            try bench.publishBacklog(readings: 20, device: "thermostat-1")
            return try bench.batches().flatMap(\.records).contains {
                if case .reading(let reading) = $0.record { reading.device == AgentBench.thermostat } else { false }
            }
        }
        let bag = PropertyBag([PropertyBag.Entry("$.mid", "reset-1"), PropertyBag.Entry("method-name", "Reset")])
        let topic = HubTopics.child(
            AgentBench.thermostat, HubTopics.cloudToDevice(to: HubIdentity(AgentBench.thermostat), bag: bag))
        try bench.hub.client("mosquitto_pub", ["-q", "1", "-t", topic, "-m", "{}"])
        #expect(try bench.plant.collected(as: "orders", filter: orders, count: 1).count == 1)
        #expect(bench.endAgent(SIGKILL) == 128 + SIGKILL)

        try bench.hub.collect("$iothub/twin/PATCH/#", as: "twin")
        try bench.startAgent()
        try bench.hub.client("mosquitto_pub", ["-q", "1", "-t", topic, "-m", "{}"])
        try waitUntil("the repetition is known") { bench.log().contains("a command came again and is not repeated") }
        try bench.answerTwin(#"{"desired":{"$version":1},"reported":{"$version":1}}"#)
        let report = try bench.hub.collected(as: "twin", filter: "$iothub/twin/PATCH/#", count: 1).joined()
        let command = #"{"device":"thermostat-1","name":"Reset","outcome":"interrupted: the agent ended while it ran"}"#
        #expect(report.contains(command), "\(report)")
        #expect(bench.endAgent(SIGTERM) == 0)
        #expect(try bench.plant.collected(as: "orders", filter: orders, count: 1, seconds: 1).isEmpty)
    }

    /// Nothing in the configuration names the thermostat, and it is silent since the agent has started again.
    @Test func commandForALearnedChildReachesItAfterARestart() throws {
        let bench = try AgentBench()
        let orders = "plant/thermostat-2/cmd/reset"
        try bench.plant.collect(orders, as: "orders")
        try bench.startAgent()
        // What comes before the driver has subscribed is lost; and not just any record will do: the missing meter is one.
        try waitUntil("the thermostat is known") {
            try bench.publishBacklog(readings: 20)
            return try bench.batches().flatMap(\.records).contains {
                if case .reading(let reading) = $0.record { reading.device.text == "thermostat-2" } else { false }
            }
        }
        #expect(bench.endAgent(SIGTERM) == 0)

        try bench.startAgent()
        let child = try #require(DeviceID("thermostat-2"))
        let bag = PropertyBag([PropertyBag.Entry("$.mid", "reset-2"), PropertyBag.Entry("method-name", "Reset")])
        let topic = HubTopics.child(child, HubTopics.cloudToDevice(to: HubIdentity(child), bag: bag))
        // What comes before the agent has subscribed is lost on this hub; what comes again is told by its id.
        try waitUntil("the command is at the thermostat") {
            try bench.hub.client("mosquitto_pub", ["-q", "1", "-t", topic, "-m", "{}"])
            return try !bench.plant.collected(as: "orders", filter: orders, count: 1, seconds: 1).isEmpty
        }
        #expect(bench.endAgent(SIGTERM) == 0)
    }

    @Test func hubThatIsDownAtTheStartIsWaitedFor() throws {
        let bench = try AgentBench()
        bench.hub.stop()
        try bench.startSensors()
        try bench.startAgent()
        try waitUntil("the log names the hub") {
            bench.log().contains("Nothing accepts connections at localhost port \(bench.hub.port). Start the hub")
        }
        try bench.hub.start()
        try bench.waitForRecord("a reading arrives") { _ in true }
        #expect(bench.endAgent(SIGTERM) == 0)
    }

    @Test func fullDiskIsNamedAndHealsByItselfWhenTheHubTakesTheBacklog() throws {
        let bench = try AgentBench()
        bench.hub.stop()
        try bench.startSensors()
        try bench.startAgent(diskMebibytes: 8)
        try waitUntil("a backlog of 2 MiB lies on the disk") {
            try bench.publishBacklog(readings: 5_000)
            let size = try FileManager.default.attributesOfItem(atPath: bench.onDisk("outbox.sqlite"))[.size] as? Int
            return size ?? 0 >= 2 * 1024 * 1024
        }
        try fill(bench.onDisk("ballast"))
        // Room that the outbox already has is used up first.
        try waitUntil("the log names the full disk") {
            try bench.publishBacklog(readings: 2_000)
            return bench.log().contains("readings cannot be kept")
                && bench.log().contains("the disk is full; free some space, and the agent goes on by itself")
        }
        try bench.hub.start()
        try waitUntil("readings are kept again") { bench.log().contains("the outbox takes readings again") }
        try bench.waitForSequence(beyond: 5_000)
        #expect(bench.endAgent(SIGTERM) == 0)
        let sequences = Set(try bench.batches().flatMap(\.records).map(\.sequence))
        #expect(sequences == Set(1...(try #require(sequences.max()))))
    }

    @Test func fullDiskHealsWhenSpaceIsFreed() throws {
        let bench = try AgentBench()
        bench.hub.stop()
        try bench.startSensors()
        try bench.startAgent(diskMebibytes: 8)
        try fill(bench.onDisk("ballast"))
        try waitUntil("the log names the full disk") { bench.log().contains("readings cannot be kept") }
        #expect(unlink(bench.onDisk("ballast")) == 0)
        try waitUntil("readings are kept again") { bench.log().contains("the outbox takes readings again") }
        try bench.hub.start()
        try bench.waitForRecord("a reading arrives") { _ in true }
        #expect(bench.endAgent(SIGTERM) == 0)
    }

    /// Writes until the disk is full.
    private func fill(_ path: String) throws {
        let file = open(path, O_WRONLY | O_CREAT, 0o600)
        try #require(file >= 0, "\(path): \(String(cString: strerror(errno)))")
        defer { close(file) }
        let block = [UInt8](repeating: 0xA5, count: 4096)
        while write(file, block, block.count) > 0 {}
        #expect(errno == ENOSPC)
    }

    @Test func secondAgentOnOneOutboxIsRefused() throws {
        let bench = try AgentBench()
        try bench.startAgent()
        let second = try ChildProcess(
            try AgentBench.program(), ["run", "--config", bench.configFile], keepsOutput: true,
            errorFile: bench.folder + "/second.log")
        #expect(second.exitStatus() == 1)
        let text = try String(contentsOfFile: bench.folder + "/second.log", encoding: .utf8)
        #expect(
            text.hasPrefix(
                "edge-agent: cannot take the lock in outbox \(bench.folder)/disk/outbox.sqlite: another agent"))
    }

    struct Call: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let arguments: [String]
        let status: Int32
        let errors: [String]
    }

    static let calls: [Call] = [
        Call(testDescription: "right", arguments: ["check", "--config", "agent.toml"], status: 0, errors: []),
        Call(
            testDescription: "no such file", arguments: ["check", "--config", "nothing.toml"], status: 1,
            errors: ["the configuration cannot be read", "No such file"]),
        Call(
            testDescription: "broken", arguments: ["check", "--config", "broken.toml"], status: 1,
            errors: ["broken.toml", "hub.port", "outbox.quota"]),
        Call(
            testDescription: "files missing", arguments: ["check", "--config", "files.toml"], status: 1,
            errors: ["hub.connection_string_file: /no/such/file cannot be read", "mqtt[1].password_file: /no/password"]),
        Call(
            testDescription: "no option", arguments: ["check"], status: 2,
            errors: ["--config <file> is missing: the configuration (TOML)\nusage: edge-agent check --config <file>\n"]),
        Call(
            testDescription: "no such verb", arguments: ["chekc"], status: 2,
            errors: ["there is no verb chekc; did you mean check?\nusage: edge-agent <verb>\n"]),
        Call(
            testDescription: "everything wrong at once", arguments: ["run", "--confg", "x", "y", "--config"], status: 2,
            errors: [
                "run has no option --confg; did you mean --config?", "y stands alone; every value follows its option",
                "--config needs a value: --config <file>",
            ]),
        Call(
            testDescription: "given twice", arguments: ["check", "--config=a", "--config", "b"], status: 2,
            errors: ["--config is given twice"]),
        Call(
            testDescription: "no meter of that number", arguments: ["simulate", "--meter", "m", "--unit", "248"],
            status: 2, errors: ["--unit 248: expected a number from 1 to 247"]),
        Call(
            testDescription: "nothing to simulate", arguments: ["simulate"], status: 2,
            errors: ["give --thermostat, --meter or both"]),
        Call(testDescription: "help", arguments: ["run", "--help"], status: 0, errors: []),
    ]

    @Test(arguments: calls) func callEndsWithItsStatusAndSaysEverything(call: Call) throws {
        let bench = try AgentBench()
        try bench.write(
            "[hub]\nhost = \"localhost\"\nport = 99999\nconnection_string_file = \"x\"\n[outbox]\nquota = \"7\"\n"
                + "[[mqtt]]\nname = \"plant\"\n", to: "broken.toml")
        try bench.write(
            "[hub]\nhost = \"localhost\"\nconnection_string_file = \"/no/such/file\"\n"
                + "[[mqtt]]\nname = \"plant\"\npassword_file = \"/no/password\"\n"
                + "[[mqtt.subscription]]\ntopic = \"plant/{device}/state\"\n", to: "files.toml")
        let arguments = call.arguments.map { $0.hasSuffix(".toml") ? "\(bench.folder)/\($0)" : $0 }
        let errorFile = bench.folder + "/errors"
        let process = try ChildProcess(try AgentBench.program(), arguments, keepsOutput: true, errorFile: errorFile)
        let status = process.exitStatus()
        let errors = (try? String(contentsOfFile: errorFile, encoding: .utf8)) ?? ""
        #expect(status == call.status, "\(errors)")
        for words in call.errors { #expect(errors.contains(words), "\(errors)") }
    }
}
