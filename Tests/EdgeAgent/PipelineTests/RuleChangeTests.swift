import Primitives
import RuleSets
import Rules
import SouthboundAPI
import Telemetry
import Testing

@testable import Pipeline

private let digest: @Sendable ([UInt8]) -> [UInt8] = { bytes in
    var seed = SeededRandom(seed: bytes.reduce(7) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 })
    return (0..<20).map { _ in UInt8(truncatingIfNeeded: seed.next()) }
}

private let epoch = Epoch(value: 0xABC)

private func at(_ seconds: Double) -> PipelineTime {
    PipelineTime(
        monotonic: MonotonicInstant(nanoseconds: Int64(seconds * 1e9)),
        wall: WallInstant(milliseconds: 1_700_000_000_000 + Int64(seconds * 1000)), clock: .guessed)
}

/// Rules that change under a running pipeline.
@Suite struct RuleChangeTests {
    private let oven: DeviceID

    init() throws { oven = try #require(DeviceID("oven-1")) }

    private func rule(_ name: String, above limit: Double = 70, message: String? = nil, relay: Bool = true) throws
        -> EdgeRule
    {
        EdgeRule(
            rule: try Rule(
                name: name, metric: "temperature", condition: .above(limit),
                message: message.map { MessageTemplate(keepingOtherBraces: $0) }),
            whenRaised: [.write(device: oven, register: "relay", value: .boolean(relay))],
            whenCleared: [.write(device: oven, register: "relay", value: .boolean(false))])
    }

    /// With one fault open since sequence 2.
    private func pipeline(_ rules: [EdgeRule]) throws -> (Pipeline, id: UniqueID) {
        var pipeline = Pipeline(rules: rules, epoch: epoch, sha1: digest)
        let output = pipeline.deliveryReceived(readings: [try reading("75")], health: [], at: at(1), firstSequence: 1)
        return (pipeline, try #require(faults(output).first?.faultID))
    }

    private func reading(_ text: String) throws -> Reading {
        Reading(
            device: oven, metric: "temperature", value: .number(try #require(DecimalText(text))), time: at(1).wall)
    }

    private func faults(_ output: PipelineOutput) -> [FaultTransition] {
        output.records.compactMap { if case .fault(let fault) = $0.record { fault } else { nil } }
    }

    private func writes(_ output: PipelineOutput) -> [Actuation] {
        output.actuations.compactMap { if case .actuate(let actuation) = $0.deed { actuation } else { nil } }
    }

    private func relay(_ value: Bool) -> Actuation { .write(device: oven, register: "relay", value: .boolean(value)) }

    @Test func anUnchangedRuleKeepsItsFault() throws {
        var (pipeline, id) = try pipeline([try rule("overheat")])
        let swapped = pipeline.replaceRules(
            [try rule("overheat", message: "other words"), try rule("more", above: 80)], origin: "rule set 2",
            at: at(2),
            firstSequence: 3)
        #expect(swapped.records.isEmpty && swapped.actuations.isEmpty)
        // What is kept is about the new rules.
        #expect(swapped.state != nil && pipeline.openFaultCount == 1)
        let again = pipeline.deliveryReceived(readings: [try reading("76")], health: [], at: at(3), firstSequence: 3)
        #expect(faults(again).isEmpty)
        let over = pipeline.deliveryReceived(readings: [try reading("60")], health: [], at: at(4), firstSequence: 4)
        #expect(faults(over).map(\.faultID) == [id] && faults(over).map(\.state) == [.cleared])
    }

    @Test func otherActionsOfAnOpenFaultAreAskedFor() throws {
        var (pipeline, _) = try pipeline([try rule("overheat")])
        let swapped = pipeline.replaceRules(
            [try rule("overheat", relay: false)], origin: "rule set 2", at: at(2), firstSequence: 3)
        #expect(swapped.records.isEmpty && writes(swapped) == [relay(false)])
    }

    @Test(arguments: [true, false]) func aFaultOfARuleThatDecidesOtherwiseOrIsGoneEndsOnce(isChanged: Bool) throws {
        var (pipeline, id) = try pipeline([try rule("overheat")])
        let next = isChanged ? [try rule("overheat", above: 60)] : [try rule("another", above: 200)]
        let swapped = pipeline.replaceRules(next, origin: "rule set 2", at: at(2), firstSequence: 3)
        let word = isChanged ? "changed" : "removed"
        #expect(faults(swapped).map(\.message) == ["overheat: the rule was \(word) by rule set 2"])
        #expect(faults(swapped).map(\.state) == [.cleared] && faults(swapped).map(\.faultID) == [id])
        #expect(writes(swapped) == [relay(false)])
        #expect(swapped.records.map(\.sequence) == [3] && pipeline.openFaultCount == 0)
        let again = pipeline.replaceRules(next, origin: "rule set 3", at: at(3), firstSequence: 4)
        #expect(again.records.isEmpty)
        let after = pipeline.deliveryReceived(readings: [try reading("75")], health: [], at: at(4), firstSequence: 4)
        #expect(faults(after).map(\.state) == (isChanged ? [.raised] : []))
        #expect(faults(after).first?.faultID != id)
    }

    @Test func whatWasKeptWithTheChangeIsWhereARestartGoesOn() throws {
        let (before, id) = try pipeline([try rule("overheat")])
        var after = before
        let next = [try rule("overheat"), try rule("more", above: 74)]
        let swapped = after.replaceRules(next, origin: "rule set 2", at: at(2), firstSequence: 3)
        var restarted = Pipeline(rules: next, epoch: epoch, sha1: digest)
        let begun = restarted.begin(restoring: swapped.state, at: at(10), firstSequence: 3)
        #expect(begun.records.isEmpty && restarted.openFaultCount == 1)
        let over = restarted.deliveryReceived(readings: [try reading("60")], health: [], at: at(11), firstSequence: 3)
        #expect(faults(over).map(\.faultID) == [id])
        // And without the commit, with the old rules.
        #expect(before.openFaultCount == 1)
    }

    @Test func devicesThatDoNotAnswerAreNoBusinessOfRules() throws {
        var pipeline = Pipeline(rules: [try rule("overheat")], epoch: epoch, sha1: digest)
        let health = DeviceHealth(
            device: oven, answers: false, reason: "timeout", time: at(1).wall, clock: .synchronised)
        _ = pipeline.deliveryReceived(readings: [], health: [health], at: at(1), firstSequence: 1)
        let swapped = pipeline.replaceRules([], origin: "rule set 2", at: at(2), firstSequence: 2)
        #expect(swapped.records.isEmpty && pipeline.openFaultCount == 1)
    }
}
