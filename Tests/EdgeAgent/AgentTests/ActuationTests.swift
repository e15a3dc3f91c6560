import BrokerKit
import Foundation
import Testing

/// Actuators of a whole gateway: what rules and people ask for, what stands against it, and what is written down.
@Suite(.serialized) struct WholeActuationTests {
    private static let relay = "plant/relay"
    private static let actuator = """
        [[actuator]]
        name = "relay"
        topic = "plant/relay"
        interlock = ["[door-1/open] == 0"]
        fail_safe = "off"

        [[rule]]
        name = "hot"
        device = "oven-1"
        expression = "temperature > 70 and [door-1/open] == 0"
        then = [{ publish = "plant/relay", payload = "on" }]
        finally = [{ publish = "plant/relay", payload = "off" }]
        """

    private func publish(_ bench: AgentBench, _ device: String, _ body: String) throws {
        try bench.plant.client("mosquitto_pub", ["-q", "1", "-t", "plant/\(device)/state", "-m", body])
    }

    /// Reads positions as they were published until this one comes; saying a position again is harmless.
    private func waitForRelay(_ bench: AgentBench, _ position: String) throws {
        try waitUntil("the relay was told \(position)", seconds: 30) {
            try bench.plant.collected(as: "relay", filter: Self.relay, count: 1, seconds: 1) == [
                "\(Self.relay) \(position)"
            ]
        }
    }

    @Test func aRuleMovesWithinItsInterlockAPersonTakesOverAndTheEndIsSafe() throws {
        let bench = try AgentBench()
        try bench.configure(Self.actuator)
        try bench.plant.collect(Self.relay, as: "relay")
        try bench.startAgent()
        try waitForRelay(bench, "off")
        let refused = try bench.call(
            "override", payload: #"{"actuator":"relay","value":"on","who":"Anna","for":"1h"}"#, status: 409)
        #expect(refused.contains("the interlock [door-1/open] == 0 is not known to hold"), "\(refused)")
        try waitUntil("the agent hears the door", seconds: 30) {
            try publish(bench, "door-1", #"{"open":0}"#)
            return try bench.call("actuators", payload: "{}", status: 200).contains("blocked") == false
        }
        try publish(bench, "oven-1", #"{"temperature":80}"#)
        try waitForRelay(bench, "on")
        try publish(bench, "door-1", #"{"open":1}"#)
        try waitForRelay(bench, "off")
        try publish(bench, "door-1", #"{"open":0}"#)
        try waitForRelay(bench, "on")
        let taken = try bench.call(
            "override", payload: #"{"actuator":"relay","value":"off","who":"Anna","for":"1h"}"#, status: 200)
        #expect(taken.hasPrefix("null"))
        try waitForRelay(bench, "off")

        // Killed in the middle: the override holds after the restart, and the fail-safe position comes first.
        #expect(bench.endAgent(SIGKILL) == 128 + SIGKILL)
        try bench.startAgent()
        let views = try bench.call("actuators", payload: "{}", status: 200)
        #expect(views.contains(#""who":"Anna""#), "\(views)")
        _ = try bench.call("release", payload: #"{"actuator":"relay","who":"Anna"}"#, status: 200)
        #expect(bench.endAgent(SIGTERM) == 0)
        try waitForRelay(bench, "off")
        let moves = try bench.moves()
        for line in [
            "refused  off -> on  by override by Anna", "off -> on  by rule hot of oven-1",
            "interlock-lost  by interlock",
            "override-began  off  by override by Anna  for 1h", "override-ended  by Anna", "by start", "by stop",
        ] {
            #expect(moves.contains(line), "\(line) is not in\n\(moves)")
        }
    }
}
