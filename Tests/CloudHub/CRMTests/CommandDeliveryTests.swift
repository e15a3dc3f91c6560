import CRM
import DeskTestKit
import JSON
import Primitives
import SQLiteHubStore
import ServiceDesk
import Synchronization
import Telemetry
import Testing

/// Commands from the desk's rows to a device and back, over HTTP.
@Suite struct CommandDeliveryTests {
    let hubFolder = TemporaryFolder()
    let deskFolder = TemporaryFolder()

    func withBoth(
        _ dispatcher: DispatcherProbe = DispatcherProbe(), limits: CommandLimits = CommandLimits(),
        wall: @escaping @Sendable () -> WallInstant = { TestClock.wall },
        _ body: (LiveDesk, HubSide, UniqueID) async throws -> Void
    ) async throws {
        let live = try await LiveDesk.start(folder: deskFolder.path)
        let hub = try HubSide(folder: hubFolder.path, desk: live, dispatcher: dispatcher, limits: limits, wall: wall)
        do {
            let raised = FaultTransition.thermostat(.raised)
            let caller = try await DeskCaller(live)
            let alert = HubSide.alertID(raised)
            _ = try await caller.call(
                "PATCH", "msdyn_iotalerts(\(alert))",
                ["msdyn_description": "too hot", "msdyn_deviceid": "thermostat-1"])
            try await body(live, hub, alert)
        } catch {
            try await hub.close()
            try await live.stop()
            throw error
        }
        try await hub.close()
        try await live.stop()
    }

    func ended(_ live: LiveDesk, _ alert: UniqueID) async throws -> (DeskCommand, DeskAlertDetail) {
        try await eventually("the end of the command") {
            guard let detail = try await live.desk.alert(alert), let command = detail.commands.first,
                command.status != "In Progress"
            else { return nil }
            return (command, detail)
        }
    }

    @Test func aCommandReachesTheDeviceOnceAndItsAnswerTheRow() async throws {
        let probe = DispatcherProbe()
        try await withBoth(probe) { live, hub, alert in
            hub.start()
            live.desk.onCommandCreated { hub.connector.commandsCreated() }
            try await live.desk.createCommand("Reset Thermostat", on: alert, by: "ann")
            let (command, detail) = try await ended(live, alert)
            #expect(command.status == "Sent")
            #expect(command.reason == "the device answered Reset with status 200: {\"done\":true}")
            #expect(detail.alert.status == "In Progress - Command Sent")
            #expect(detail.alert.isOpen)
            let history = detail.history.map { "\($0.actor): \($0.what)" }
            #expect(history.contains { $0.hasPrefix("user ann: create msdyn_iotdevicecommand: msdyn_name = Reset") })
            _ = try await eventually("a later poll") { try await hub.records.record(of: command.id) }
            #expect(
                probe.calls == [
                    .init(device: "thermostat-1", method: "Reset", payload: .object(JSONObject()), isQueued: false)
                ])
        }
    }

    @Test func aCommandForAllConnectedDevicesIsRefusedWithItsOwnSentence() async throws {
        let probe = DispatcherProbe()
        try await withBoth(probe) { live, hub, alert in
            let caller = try await DeskCaller(live)
            let created = try await caller.call(
                "POST", "msdyn_iotdevicecommands",
                [
                    "msdyn_name": "Reset", "msdyn_deviceid": "thermostat-1", "msdyn_sendtoallconnecteddevices": true,
                    "msdyn_message": #"{"CommandName":"Reset Thermostat","Parameters":{}}"#,
                    "msdyn_ParentAlert@odata.bind": .string("/msdyn_iotalerts(\(alert))"),
                ])
            #expect(created.status == 204)
            hub.start()
            let (command, _) = try await ended(live, alert)
            #expect(command.status == "Error")
            #expect(
                command.reason
                    == "the command is for all connected devices, which this hub does not send; create one for each device"
            )
            #expect(probe.calls.isEmpty)
        }
    }

    @Test func aFailureIsWrittenWithItsReasonAndMarksTheAlert() async throws {
        let probe = DispatcherProbe { _ in .failed("the device did not answer within 30 s") }
        try await withBoth(probe) { live, hub, alert in
            try await live.desk.createCommand(
                "Set Values", parameters: JSONObjectText("Reading", ["Temperature": "21", "Humidity": "40"]),
                on: alert, by: "ann")
            hub.start()
            let (command, detail) = try await ended(live, alert)
            #expect(command.status == "Error")
            #expect(command.reason == "SetValue failed: the device did not answer within 30 s")
            #expect(detail.alert.status == "In Progress - Command Failed")
            #expect(probe.calls.map(\.method) == ["SetValue"])
            #expect(probe.calls.first?.payload["Reading"]?["Temperature"]?.stringValue == "21")
        }
    }

    struct Ending: Sendable, CustomTestStringConvertible {
        let how: QueueEnd.How
        let deliveries: Int
        let status: String
        let reason: String
        var testDescription: String { "\(how) after \(deliveries) deliveries" }
    }

    static let endings: [Ending] = [
        Ending(
            how: .delivered, deliveries: 1, status: "Sent", reason: "the device took the message Notify from its queue"),
        Ending(
            how: .expired, deliveries: 0, status: "Error",
            reason: "expired: the device did not come for Notify within its time limit and did not get it"),
        Ending(
            how: .expired, deliveries: 2, status: "Error",
            reason: "unknown: the device was handed the message Notify 2 times and never acknowledged it; whether it "
                + "obeyed is not known"),
        Ending(
            how: .removed, deliveries: 0, status: "Error",
            reason: "Notify failed: it was taken out of the device's queue before the device got it"),
        Ending(
            how: .rejected, deliveries: 1, status: "Error", reason: "Notify failed: the device rejected the message"),
        Ending(
            how: .givenUp, deliveries: 10, status: "Error",
            reason: "unknown: the device was handed the message Notify 10 times and never acknowledged it; whether it "
                + "obeyed is not known"),
    ]

    /// The connector is stopped while the message waits, as the whole hub may be, and the end comes before the next start.
    @Test(arguments: endings, [false, true])
    func aQueuedCommandEndsInWhatHappened(_ ending: Ending, stops: Bool) async throws {
        let probe = DispatcherProbe(isOnline: false)
        try await withBoth(probe) { live, hub, alert in
            let command = try await live.desk.createCommand(
                "Notification", parameters: JSONObjectText(["Message": "hello"]), on: alert, by: "ann")
            hub.start()
            _ = try await eventually("the message in the queue") { probe.waiting.contains(command) ? true : nil }
            #expect(try await hub.records.record(of: command)?.state == .queued("Notify"))
            if stops { await hub.stopConnector() }
            probe.finish(command, ending.how, deliveries: ending.deliveries)
            if stops { hub.start() }
            let (row, _) = try await ended(live, alert)
            #expect(row.status == ending.status)
            #expect(row.reason == ending.reason)
            #expect(probe.calls.map(\.isQueued) == [true])
            _ = try await eventually("the end is taken") { probe.ends.isEmpty ? true : nil }
        }
    }

    @Test func aQueuedCommandThatStillWaitsAfterARestartIsLeftToWait() async throws {
        let probe = DispatcherProbe(isOnline: false)
        try await withBoth(probe) { live, hub, alert in
            let command = try await live.desk.createCommand("Reset Thermostat", on: alert, by: "ann")
            hub.start()
            _ = try await eventually("the message in the queue") { probe.waiting.contains(command) ? true : nil }
            await hub.stopConnector()
            hub.start()
            // A second command goes the whole way meanwhile, so the polls of the new run have seen the first one.
            let later = try await live.desk.createCommand("Notification", on: alert, by: "ann")
            _ = try await eventually("the second message") { probe.waiting.contains(later) ? true : nil }
            let rows = try await live.desk.alert(alert)?.commands ?? []
            #expect(rows.map(\.status) == ["In Progress", "In Progress"])
            #expect(probe.calls.map(\.method) == ["Reset", "Notify"])
        }
    }

    @Test func queuedCommandsDoNotHideNewerOnes() async throws {
        let probe = DispatcherProbe(isOnline: false)
        try await withBoth(probe) { live, hub, alert in
            for _ in 0..<501 { try await live.desk.createCommand("Reset Thermostat", on: alert, by: "ann") }
            hub.start()
            _ = try await eventually("all messages", within: .seconds(30)) { probe.waiting.count == 501 ? true : nil }
            let newest = try await live.desk.createCommand("Notification", on: alert, by: "ann")
            _ = try await eventually("the newest") { probe.waiting.contains(newest) ? true : nil }
            #expect(probe.calls.count == 502)
        }
    }

    @Test func aCommandThatNeverGotIntoTheQueueIsQueuedOnceAfterARestart() async throws {
        let probe = DispatcherProbe(isOnline: false)
        try await withBoth(probe) { live, hub, alert in
            let command = try await live.desk.createCommand("Reset Thermostat", on: alert, by: "ann")
            // The hub died between the record and the queue.
            try await hub.records.save(
                CommandRecord(command: command, state: .queued("Reset"), changedAt: TestClock.wall))
            hub.start()
            _ = try await eventually("the message in the queue") { probe.waiting.contains(command) ? true : nil }
            #expect(probe.calls.map(\.method) == ["Reset"])
        }
    }

    @Test func anEndThatWasWrittenDownBeforeTheHubDiedIsNotRepeated() async throws {
        let probe = DispatcherProbe(isOnline: false)
        try await withBoth(probe) { live, hub, alert in
            let command = try await live.desk.createCommand("Reset Thermostat", on: alert, by: "ann")
            hub.start()
            _ = try await eventually("the message in the queue") { probe.waiting.contains(command) ? true : nil }
            await hub.stopConnector()
            probe.finish(command, .expired)
            // The hub died between writing the end down and telling the queue so.
            let verdict = CommandVerdict(.sent, "it obeyed")
            try await hub.records.save(
                CommandRecord(command: command, state: .decided(verdict), changedAt: TestClock.wall))
            hub.start()
            let (row, _) = try await ended(live, alert)
            #expect(row.reason == "it obeyed")
            _ = try await eventually("the end is taken") { probe.ends.isEmpty ? true : nil }
            #expect(probe.calls.count == 1)
        }
    }

    @Test func aDeviceThatLeavesBeforeTheCallGetsAMessage() async throws {
        let probe = DispatcherProbe { _ in .notOnline }
        try await withBoth(probe) { live, hub, alert in
            let command = try await live.desk.createCommand("Reset Thermostat", on: alert, by: "ann")
            hub.start()
            _ = try await eventually("the message in the queue") { probe.waiting.contains(command) ? true : nil }
            #expect(probe.calls.map(\.isQueued) == [false, true])
        }
    }

    @Test func aFullQueueEndsTheCommandAndAFailedStoreDoesNot() async throws {
        let probe = DispatcherProbe(
            isOnline: false, queueAnswers: [.unsure("the disk is full"), .refused("50 messages wait already")])
        try await withBoth(probe) { live, hub, alert in
            try await live.desk.createCommand("Reset Thermostat", on: alert, by: "ann")
            hub.start()
            let (row, _) = try await ended(live, alert)
            #expect(row.status == "Error")
            #expect(row.reason == "Reset failed: 50 messages wait already")
            #expect(probe.calls.isEmpty)
        }
    }

    @Test func aMethodWithoutAnAnswerEndsAsUnknown() async throws {
        let probe = DispatcherProbe { _ in .unanswered }
        try await withBoth(probe) { live, hub, alert in
            try await live.desk.createCommand("Reset Thermostat", on: alert, by: "ann")
            hub.start()
            let (row, detail) = try await ended(live, alert)
            #expect(row.status == "Error")
            #expect(
                row.reason
                    == "unknown: the device was sent Reset and did not answer in time; whether it obeyed is not known")
            #expect(detail.alert.status == "In Progress - Command Failed")
        }
    }

    @Test func withTheConnectorStoppedNothingReachesTheDevice() async throws {
        let probe = DispatcherProbe()
        try await withBoth(probe) { live, hub, alert in
            hub.start()
            await hub.stopConnector()
            try await live.desk.createCommand("Reset Thermostat", on: alert, by: "ann")
            try await Task.sleep(for: .milliseconds(600))
            #expect(probe.calls.isEmpty)
            hub.start()
            _ = try await ended(live, alert)
            #expect(probe.calls.count == 1)
        }
    }

    @Test func aRestartDoesNotRepeatACommandThatWasOnItsWay() async throws {
        let probe = DispatcherProbe()
        try await withBoth(probe) { live, hub, alert in
            let command = try await live.desk.createCommand("Reset Thermostat", on: alert, by: "ann")
            try await hub.records.save(
                CommandRecord(command: command, state: .attempting, changedAt: TestClock.wall))
            hub.start()
            let (row, _) = try await ended(live, alert)
            #expect(row.status == "Error")
            #expect(
                row.reason
                    == "unknown: the hub stopped while this command was on its way, so whether the device obeyed is not "
                    + "known; it was not repeated")
            #expect(probe.calls.isEmpty)
        }
    }

    @Test func aRestartReportsWhatWasDecidedAndSendsNothing() async throws {
        let probe = DispatcherProbe()
        try await withBoth(probe) { live, hub, alert in
            let command = try await live.desk.createCommand("Reset Thermostat", on: alert, by: "ann")
            try await hub.records.save(
                CommandRecord(
                    command: command, state: .decided(CommandVerdict(.sent, "it obeyed")), changedAt: TestClock.wall))
            hub.start()
            let (row, _) = try await ended(live, alert)
            #expect(row.status == "Sent")
            #expect(row.reason == "it obeyed")
            #expect(probe.calls.isEmpty)
        }
    }

    @Test func aConnectorStoppedInTheMiddleLeavesNoSecondExecution() async throws {
        let (begun, signal) = AsyncStream<Void>.makeStream()
        let probe = DispatcherProbe { _ in
            signal.yield()
            try? await Task.sleep(for: .seconds(60))
            return .unanswered
        }
        try await withBoth(probe) { live, hub, alert in
            try await live.desk.createCommand("Reset Thermostat", on: alert, by: "ann")
            hub.start()
            var iterator = begun.makeAsyncIterator()
            _ = await iterator.next()
            await hub.stopConnector()
            hub.start()
            let (row, _) = try await ended(live, alert)
            #expect(row.reason == CommandVerdict.interrupted.reason)
            #expect(probe.calls.count == 1)
        }
    }

    @Test func aCommandPastItsLimitEndsAsExpiredUnsent() async throws {
        let probe = DispatcherProbe()
        let late: @Sendable () -> WallInstant = { TestClock.wall + .seconds(301) }
        try await withBoth(probe, wall: late) { live, hub, alert in
            try await live.desk.createCommand("Reset Thermostat", on: alert, by: "ann")
            hub.start()
            let (row, _) = try await ended(live, alert)
            #expect(row.status == "Error")
            #expect(row.reason.hasPrefix("expired:"))
            #expect(probe.calls.isEmpty)
        }
    }

    @Test func aCommandNeverOpensAClosedAlert() async throws {
        try await withBoth { live, hub, alert in
            try await live.desk.createCommand("Reset Thermostat", on: alert, by: "ann")
            let caller = try await DeskCaller(live)
            _ = try await caller.call("PATCH", "msdyn_iotalerts(\(alert))", ["statecode": 3, "statuscode": 6])
            hub.start()
            let (row, detail) = try await ended(live, alert)
            #expect(row.status == "Sent")
            #expect(detail.alert.status == "Closed")
        }
    }
}
