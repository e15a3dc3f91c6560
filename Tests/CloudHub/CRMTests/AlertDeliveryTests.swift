import CRM
import DeskTestKit
import Faults
import JSON
import Primitives
import SQLiteHubStore
import ServiceDesk
import Telemetry
import Testing

/// The connector against the real service desk over HTTP.
@Suite struct AlertDeliveryTests {
    let hubFolder = TemporaryFolder()
    let deskFolder = TemporaryFolder()

    func withBoth(
        secret: String? = nil, tokenLifetime: Duration = .seconds(3599), pollInterval: Duration = .milliseconds(200),
        _ body: (LiveDesk, HubSide) async throws -> Void
    ) async throws {
        let live = try await LiveDesk.start(folder: deskFolder.path, tokenLifetime: tokenLifetime)
        let hub = try HubSide(folder: hubFolder.path, desk: live, secret: secret, pollInterval: pollInterval)
        do {
            try await body(live, hub)
        } catch {
            try await hub.close()
            try await live.stop()
            throw error
        }
        try await hub.close()
        try await live.stop()
    }

    @Test func aFaultBecomesOneAlertWithItsDeviceAndIsClosedWithIt() async throws {
        try await withBoth { live, hub in
            hub.start()
            let raised = FaultTransition.thermostat(.raised)
            try await hub.report(raised)
            let id = HubSide.alertID(raised)
            let open = try await eventually("the alert") { try await live.desk.alert(id) }
            #expect(open.alert.title == "too hot: 71.25 > 70")
            #expect(open.alert.deviceID == "thermostat-1")
            #expect(open.alert.isOpen)
            let caller = try await DeskCaller(live)
            let row = try await caller.call("GET", "msdyn_iotalerts(\(id))?$expand=msdyn_Device").json
            #expect(row?["msdyn_alerttoken"]?.stringValue == raised.faultID.description)
            #expect(row?["msdyn_alerturl"]?.stringValue == "https://hub.example/alerts/\(id)")
            #expect(row?["msdyn_suggestedpriority"]?.int64Value == 192_350_001)
            #expect(row?["msdyn_Device"]?["msdyn_deviceid"]?.stringValue == "thermostat-1")
            let alertText = try JSONValue(parsing: open.alertText)
            #expect(alertText["readingtype"]?.stringValue == "temperature")
            #expect(alertText["reading"]?.doubleValue == 71.25)
            #expect(alertText["threshold"]?.stringValue == "70")

            try await hub.report(.thermostat(.cleared))
            let closed = try await eventually("the closing") {
                try await live.desk.alert(id).flatMap { $0.alert.isOpen ? nil : $0 }
            }
            #expect(closed.alert.status == "Closed")
            // The row leaves the queue after the desk has answered.
            let status = try await eventually("an empty queue") {
                let status = try await hub.faults.queueStatus()
                return status.waiting == 0 ? status : nil
            }
            #expect(status.deadLetters == 0)
        }
    }

    @Test func anAlertThatIsThereAlreadyIsSuccess() async throws {
        try await withBoth { live, hub in
            let raised = FaultTransition.thermostat(.raised)
            let caller = try await DeskCaller(live)
            let id = HubSide.alertID(raised)
            _ = try await caller.call("PATCH", "msdyn_iotalerts(\(id))", ["msdyn_description": "mine"])
            hub.start()
            try await hub.report(raised)
            _ = try await eventually("an empty queue") {
                try await hub.faults.queueStatus().waiting == 0 ? true : nil
            }
            #expect(try await live.desk.alert(id)?.alert.title == "mine")
            #expect(try await hub.faults.deadLetters(limit: 10).isEmpty)
        }
    }

    @Test func aRefusedRowIsKeptAsideWithTheExactErrorAndTheNextPasses() async throws {
        try await withBoth { live, hub in
            let good = FaultTransition.thermostat(.raised, 2, device: "thermostat-2")
            live.desk.throttle.refuseNext(1, .refused, writesOnly: true)
            hub.start()
            try await hub.report(.thermostat(.raised, 1))
            let dead = try await eventually("the dead letter") {
                try await hub.faults.deadLetters(limit: 10).first
            }
            #expect(dead.error.contains("0x80040265 the row was refused on demand"))
            try await hub.report(good)
            _ = try await eventually("the next alert") { try await live.desk.alert(HubSide.alertID(good)) }
            #expect(try await hub.faults.retryDeadLetter(dead.sequence, now: TestClock.wall))
            hub.connector.alertsQueued()
            _ = try await eventually("the retried alert") {
                try await live.desk.alert(HubSide.alertID(.thermostat(.raised, 1)))
            }
        }
    }

    @Test func anAlertThatIsRetriedAfterItsFaultIsOverIsCreatedClosed() async throws {
        try await withBoth { live, hub in
            live.desk.throttle.refuseNext(1, .refused)
            hub.start()
            try await hub.report(.thermostat(.raised))
            let dead = try await eventually("the dead letter") {
                try await hub.faults.deadLetters(limit: 10).first
            }
            try await hub.report(.thermostat(.cleared))
            _ = try await eventually("the end, which finds no alert") {
                try await hub.faults.queueStatus().waiting == 0 ? true : nil
            }
            #expect(try await hub.faults.retryDeadLetter(dead.sequence, now: TestClock.wall))
            hub.connector.alertsQueued()
            _ = try await eventually("an empty queue") {
                try await hub.faults.queueStatus().waiting == 0 ? true : nil
            }
            let alert = try #require(try await live.desk.alert(HubSide.alertID(.thermostat(.raised))))
            #expect(alert.alert.status == "Closed")
            #expect(try await hub.faults.deadLetters(limit: 10).isEmpty)
        }
    }

    @Test(arguments: Throttle.Kind.allCases.filter { $0 != .forbidden && $0 != .refused })
    func refusalsForNowLoseNothing(_ kind: Throttle.Kind) async throws {
        try await withBoth { live, hub in
            live.desk.throttle.refuseNext(3, kind, retryAfterSeconds: 0)
            hub.start()
            try await hub.report(.thermostat(.raised))
            _ = try await eventually("the alert", within: .seconds(20)) {
                try await live.desk.alert(HubSide.alertID(.thermostat(.raised)))
            }
            #expect(live.desk.throttle.remaining == 0)
            #expect(try await hub.faults.deadLetters(limit: 1).isEmpty)
        }
    }

    @Test func retryAfterIsHonoured() async throws {
        try await withBoth { live, hub in
            live.desk.throttle.refuseNext(1, .requests, retryAfterSeconds: 2, writesOnly: true)
            let started = ContinuousClock.now
            hub.start()
            try await hub.report(.thermostat(.raised))
            _ = try await eventually("the alert") { try await live.desk.alert(HubSide.alertID(.thermostat(.raised))) }
            #expect(ContinuousClock.now - started >= .seconds(2))
        }
    }

    @Test func anExpiredTokenIsRenewed() async throws {
        try await withBoth(tokenLifetime: .seconds(2)) { live, hub in
            hub.start()
            try await hub.report(.thermostat(.raised, 1))
            _ = try await eventually("the first alert") {
                try await live.desk.alert(HubSide.alertID(.thermostat(.raised, 1)))
            }
            live.desk.forgetTokens()
            try await hub.report(.thermostat(.raised, 2, device: "thermostat-2"))
            _ = try await eventually("the second alert") {
                try await live.desk.alert(HubSide.alertID(.thermostat(.raised, 2)))
            }
            #expect(hub.connector.health == .healthy)
        }
    }

    /// Answers that are lost after the desk has done its work are the ones that could double an alert.
    @Test(arguments: DeskTrouble.Kind.allCases.filter { $0 != .noSuchTable }, [1, 3])
    func whateverGoesWrongOnTheWayThereIsOneAlertInTheEnd(_ kind: DeskTrouble.Kind, times: Int) async throws {
        try await withBoth { live, hub in
            hub.start()
            try await hub.report(.thermostat(.raised, 1))
            _ = try await eventually("the first alert") {
                try await live.desk.alert(HubSide.alertID(.thermostat(.raised, 1)))
            }
            live.trouble.meet(kind, times, .writes)
            let second = FaultTransition.thermostat(.raised, 2, device: "thermostat-2")
            try await hub.report(second, .thermostat(.cleared, 1))
            _ = try await eventually("an empty queue", within: .seconds(30)) {
                try await hub.faults.queueStatus().waiting == 0 ? true : nil
            }
            #expect(live.trouble.remaining == 0)
            #expect(try await live.desk.alerts(limit: 10).count == 2)
            #expect(try await live.desk.alerts(.open, limit: 10).map(\.id) == [HubSide.alertID(second)])
            let caller = try await DeskCaller(live)
            let devices = try await caller.call("GET", "msdyn_iotdevices?$select=msdyn_deviceid").json
            #expect(devices?["value"]?.arrayValue?.count == 2)
            #expect(try await hub.faults.deadLetters(limit: 1).isEmpty)
            _ = try await eventually("good health") { hub.connector.health == .healthy ? true : nil }
        }
    }

    @Test(arguments: [DeskTrouble.Kind.failsBefore, .garbageBefore, .hangsAfter])
    func aTokenEndpointInTroubleIsWaitedFor(_ kind: DeskTrouble.Kind) async throws {
        try await withBoth { live, hub in
            live.trouble.meet(kind, 2)
            hub.start()
            try await hub.report(.thermostat(.raised))
            let sentence = try await eventually("the connector waits") { () -> String? in
                if case .waiting(let sentence) = hub.connector.health { sentence } else { nil }
            }
            #expect(sentence.hasPrefix("could not get a token ("))
            #expect(!sentence.contains("secret"), "nobody need look at the credentials")
            _ = try await eventually("the alert", within: .seconds(20)) {
                try await live.desk.alert(HubSide.alertID(.thermostat(.raised)))
            }
        }
    }

    @Test func anEnvironmentWithoutTheTablesIsNamedAndNothingIsDropped() async throws {
        try await withBoth { live, hub in
            hub.start()
            try await hub.report(.thermostat(.raised))
            _ = try await eventually("the alert") { try await live.desk.alert(HubSide.alertID(.thermostat(.raised))) }
            live.trouble.meet(.noSuchTable, 3)
            try await hub.report(.thermostat(.cleared))
            let sentence = try await eventually("the health alarm") { () -> String? in
                if case .needsAttention(let sentence) = hub.connector.health { sentence } else { nil }
            }
            #expect(sentence.hasSuffix("check its url, and that Connected Field Service is installed there"))
            #expect(try await hub.faults.queueStatus().waiting == 1)
            #expect(try await hub.faults.deadLetters(limit: 1).isEmpty)
        }
    }

    @Test func aWrongSecretIsNamedAndNothingIsLost() async throws {
        try await withBoth(secret: "not the secret at all, but long enough") { live, hub in
            hub.start()
            try await hub.report(.thermostat(.raised))
            let sentence = try await eventually("the health alarm") { () -> String? in
                if case .needsAttention(let sentence) = hub.connector.health { sentence } else { nil }
            }
            #expect(sentence.contains("401 invalid_client: AADSTS7000215: Invalid client secret provided"))
            #expect(sentence.contains("check the client id, the secret and its end date"))
            #expect(!sentence.contains("not the secret at all"))
            #expect(try await hub.faults.queueStatus().waiting == 1)
            #expect(try await live.desk.alerts(limit: 10).isEmpty)
        }
    }

    @Test func withTheCRMDownFaultsWaitAndArriveAfterwards() async throws {
        let first = try await LiveDesk.start(folder: deskFolder.path)
        let port = first.port
        let hub = try HubSide(folder: hubFolder.path, desk: first)
        try await first.stop()
        hub.start()
        try await hub.report(.thermostat(.raised, 1))
        try await hub.report(.thermostat(.raised, 2, device: "thermostat-2"))
        try await hub.report(.thermostat(.cleared, 1))
        _ = try await eventually("the connector waits") { () -> Bool? in
            if case .waiting = hub.connector.health { true } else { nil }
        }
        let second = try await LiveDesk.start(folder: deskFolder.path, port: port)
        _ = try await eventually("an empty queue", within: .seconds(20)) {
            try await hub.faults.queueStatus().waiting == 0 ? true : nil
        }
        #expect(
            try await second.desk.alerts(.closed, limit: 10).map(\.id) == [HubSide.alertID(.thermostat(.raised, 1))])
        #expect(try await second.desk.alerts(.open, limit: 10).map(\.id) == [HubSide.alertID(.thermostat(.raised, 2))])
        try await hub.close()
        try await second.stop()
    }

    /// No tick comes by itself: the start wakes the delivery, and then only this test does.
    @Test func aRowThatTheHubCannotSettleIsSentOnceAWakeAndNotWithoutEnd() async throws {
        try await withBoth(pollInterval: .seconds(3600)) { live, hub in
            try await hub.refuseToSettle(true)
            try await hub.report(.thermostat(.raised))
            hub.start()
            _ = try await eventually("the alert") { try await live.desk.alert(HubSide.alertID(.thermostat(.raised))) }
            await #expect(throws: NotSeen.self) {
                _ = try await eventually("more writes than wakes", within: .seconds(2)) {
                    live.trouble.writes > 6 ? true : nil
                }
            }
            #expect(try await hub.faults.queueStatus().waiting == 1)
            try await hub.refuseToSettle(false)
            hub.connector.alertsQueued()
            _ = try await eventually("an empty queue") {
                try await hub.faults.queueStatus().waiting == 0 ? true : nil
            }
            #expect(try await live.desk.alerts(limit: 10).count == 1)
        }
    }

    @Test func aQueueFromBeforeARestartIsDelivered() async throws {
        let live = try await LiveDesk.start(folder: deskFolder.path)
        let before = try HubSide(folder: hubFolder.path, desk: live)
        try await before.report(.thermostat(.raised))
        try await before.close()
        let after = try HubSide(folder: hubFolder.path, desk: live)
        after.start()
        _ = try await eventually("the alert") { try await live.desk.alert(HubSide.alertID(.thermostat(.raised))) }
        try await after.close()
        try await live.stop()
    }

    @Test func longTextsAreCutAndNothingIsRefused() async throws {
        try await withBoth { live, hub in
            hub.start()
            let long = FaultTransition.thermostat(
                .raised, device: String(repeating: "d", count: 128), message: String(repeating: "🔥é", count: 400))
            try await hub.report(long)
            let alert = try await eventually("the alert") { try await live.desk.alert(HubSide.alertID(long)) }
            #expect(alert.alert.title.utf16.count <= 100)
            #expect(alert.alert.title.hasSuffix("…"))
            #expect(alert.alert.deviceID.utf16.count <= 100)
            #expect(try JSONValue(parsing: alert.alertText)["deviceid"]?.stringValue == long.device.text)
        }
    }
}
