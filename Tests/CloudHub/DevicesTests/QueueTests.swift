import Devices
import HubContract
import HubTestSupport
import Primitives
import Registry
import Sessions
import Testing

/// What a device does over HTTPS with its queue, and what the sender learns of it.
@Suite struct QueueTests {
    let fixture: DeviceHubFixture
    var hub: DeviceHub { fixture.hub }
    var clock: TestClock { fixture.base.clock }

    init() async throws { fixture = try await DeviceHubFixture() }

    private func send(_ id: String, to who: HubIdentity, ack: C2DAck = .none, for time: Duration? = nil) async throws {
        let bag = PropertyBag(ack == .none ? [] : [PropertyBag.Entry(C2DAck.propertyName, ack.rawValue)])
        try await hub.sendCloudToDevice(
            who, message: C2DMessage(id: id, properties: bag, expiresAt: time.map { clock.now + $0 }))
    }

    private func receive(_ who: HubIdentity) async throws -> LockedMessage? {
        try await hub.receiveCloudToDevice(who.device)
    }

    private func settle(_ who: HubIdentity, _ lock: UniqueID, _ how: C2DSettlement) async -> HubErrorCode? {
        do throws(HubError) {
            try await hub.settleCloudToDevice(who.device, lock: lock, as: how)
            return nil
        } catch { return error.code }
    }

    private func states(_ who: HubIdentity) async throws -> [String] {
        try await hub.cloudToDeviceQueue(of: who.device).map {
            "\($0.waiting.message.messageID) \($0.isHeld ? "held" : "free") \($0.waiting.message.deliveries)"
        }
    }

    private func feedback() async throws -> [String] {
        try await hub.feedback(of: nil, most: 100).reversed().map { "\($0.messageID) \($0.kind.statusCode)" }
    }

    @Test func receivedMessageIsLockedUntilItIsSettled() async throws {
        let who = try await fixture.device("dev-1")
        #expect(try await receive(who) == nil)
        for id in ["a", "b", "c"] { try await send(id, to: who) }
        let first = try #require(try await receive(who))
        let second = try #require(try await receive(who))
        #expect([first, second].map(\.waiting.message.messageID) == ["a", "b"])
        #expect(first.waiting.sequence < second.waiting.sequence && first.waiting.message.deliveries == 1)
        #expect(try await states(who) == ["a held 1", "b held 1", "c free 0"])
        #expect(await settle(who, first.lock, .completed) == nil)
        #expect(await settle(who, first.lock, .completed) == .deviceMessageLockLost)
        #expect(await settle(who, second.lock, .rejected) == nil)
        #expect(try await states(who) == ["c free 0"])
        #expect(fixture.outcomes.all.map(\.kind) == [.completed, .rejected])
        let other = try await fixture.device("dev-2")
        let third = try #require(try await receive(who))
        #expect(await settle(other, third.lock, .completed) == .deviceMessageLockLost)
    }

    @Test func abandonedMessageComesFirstAgainAndIsGivenUpAfterTheLastDelivery() async throws {
        let who = try await fixture.device("dev-1")
        try await send("poison", to: who)
        try await send("next", to: who)
        for delivery in 1...DeviceHub.deliveriesMax {
            let message = try #require(try await receive(who))
            #expect(message.waiting.message.messageID == "poison" && message.waiting.message.deliveries == delivery)
            #expect(await settle(who, message.lock, .abandoned) == nil)
        }
        #expect(fixture.outcomes.all.map(\.kind) == [.deliveryCountExceeded])
        #expect(try await receive(who)?.waiting.message.messageID == "next")
    }

    @Test func lockEndsAfterItsTimeAndTheLockIsLost() async throws {
        let who = try await fixture.device("dev-1")
        try await send("a", to: who)
        let first = try #require(try await receive(who))
        clock.advance(by: .seconds(59))
        #expect(try await receive(who) == nil)
        clock.advance(by: .seconds(1))
        #expect(await settle(who, first.lock, .completed) == .deviceMessageLockLost)
        let second = try #require(try await receive(who))
        #expect(second.waiting.message.deliveries == 2 && second.lock != first.lock)
    }

    @Test func whatIsGivenBackOrNoLongerLockedGoesToAConnectedDevice() async throws {
        let who = try await fixture.device("dev-1")
        for id in ["given back", "forgotten"] { try await send(id, to: who) }
        let first = try #require(try await receive(who))
        _ = try #require(try await receive(who))
        let link = fixture.connect(who)
        hub.cloudToDeviceReady(who)
        #expect(await settle(who, first.lock, .abandoned) == nil)
        _ = await link.messages(1)
        clock.advance(by: .seconds(60))
        let upkeep = Task { [hub] in await hub.run() }
        let texts = await link.messages(2).map(\.bagText)
        upkeep.cancel()
        #expect(texts.map { $0.contains("given%20back") } == [true, false])
        #expect(try await states(who) == ["given back held 2", "forgotten held 2"])
    }

    @Test func whatIsUnderWayOverMQTTIsNotReceivedOverHTTPS() async throws {
        let who = try await fixture.device("dev-1")
        let link = fixture.connect(who)
        hub.cloudToDeviceReady(who)
        try await send("a", to: who)
        _ = await link.messages(1)
        #expect(try await receive(who) == nil)
        #expect(try await states(who) == ["a held 1"])
        fixture.disconnect(link)
        #expect(try await receive(who)?.waiting.message.deliveries == 2)
    }

    @Test func locksAndQueueOutliveARestart() async throws {
        let who = try await fixture.device("dev-1")
        for id in ["a", "b"] { try await send(id, to: who, ack: .full) }
        let first = try #require(try await receive(who))
        let again = try await fixture.restarted().hub
        #expect(try await again.receiveCloudToDevice(who.device)?.waiting.message.messageID == "b")
        try await again.settleCloudToDevice(who.device, lock: first.lock, as: .completed)
        let record = try #require(try await again.feedback(of: who.device, most: 1).first)
        #expect(record.messageID == "a" && record.kind == .completed && record.at == clock.now)
        #expect(record.generationID == fixture.base.registry.device(who.device)?.generationID)
    }

    @Test(arguments: [
        (C2DAck.none, []), (.positive, ["done Success"]),
        (.negative, ["refused Rejected", "late Expired", "taken Purged", "lost Purged"]),
        (.full, ["done Success", "refused Rejected", "late Expired", "taken Purged", "lost Purged"]),
    ])
    func feedbackTellsOfTheEndsThatWereAskedFor(_ ack: C2DAck, expected: [String]) async throws {
        let who = try await fixture.device("dev-1")
        for (id, how) in [("done", C2DSettlement.completed), ("refused", .rejected)] {
            try await send(id, to: who, ack: ack)
            #expect(await settle(who, try #require(try await receive(who)).lock, how) == nil)
        }
        try await send("late", to: who, ack: ack, for: .seconds(1))
        clock.advance(by: .seconds(1))
        try await send("taken", to: who, ack: ack)
        #expect(try await receive(who)?.waiting.message.messageID == "taken")
        #expect(try await hub.purgeCloudToDevice(of: who.device) == 1)
        try await send("lost", to: who, ack: ack)
        try await fixture.base.registry.delete(who.device)
        #expect(try await feedback() == expected)
    }

    @Test func feedbackIsTakenInBatchesUnderALock() async throws {
        let who = try await fixture.device("dev-1")
        #expect(try await hub.takeFeedback() == nil)
        for round in 0..<2 {
            for number in 0..<40 { try await send("\(round * 40 + number)", to: who, ack: .full) }
            _ = try await hub.purgeCloudToDevice(of: who.device)
        }
        let first = try #require(try await hub.takeFeedback())
        #expect(first.records.map(\.messageID) == (0..<64).map(String.init))
        let second = try #require(try await hub.takeFeedback())
        #expect(second.records.map(\.messageID) == (64..<80).map(String.init))
        #expect(try await hub.takeFeedback() == nil)
        try await hub.settleFeedback(first.lock, isDone: true)
        try await hub.settleFeedback(second.lock, isDone: false)
        #expect(try await hub.takeFeedback()?.records.count == 16)
        clock.advance(by: .seconds(60))
        #expect(try await hub.takeFeedback()?.records.count == 16)
        let lost = await #expect(throws: HubError.self) { try await hub.settleFeedback(first.lock, isDone: true) }
        #expect(lost?.code == .deviceMessageLockLost)
    }

    @Test func anUnknownKindOfFeedbackIsRefused() async throws {
        let who = try await fixture.device("dev-1")
        let bag = PropertyBag([PropertyBag.Entry("iothub-ack", "maybe")])
        let error = await #expect(throws: HubError.self) {
            try await hub.sendCloudToDevice(who, message: C2DMessage(id: "m", properties: bag))
        }
        #expect(error?.code == .argumentInvalid)
        #expect(error?.message == "iothub-ack is none, positive, negative or full, not 'maybe'")
    }
}
