import DeskTestKit
import Faults
import Primitives
import SQLiteHubStore
import Telemetry
import Testing

@Suite struct FaultStoreTests {
    let folder = TemporaryFolder()
    let now = FaultTransition.start + .seconds(1)

    func withStore(_ body: (SQLiteFaultStore) async throws -> Void) async throws {
        let database = try HubDatabase(path: folder.path + "/hub.sqlite", schema: HubSchema.hub)
        try await body(SQLiteFaultStore(database))
        try database.close()
    }

    func commit(
        _ store: SQLiteFaultStore, _ transitions: [FaultTransition], checkpoints: [Int: Int64] = [:]
    ) async throws -> Int {
        try await store.commit(
            FaultChange(
                reports: transitions.map { FaultReport($0, origin: .edge) }, checkpoints: checkpoints,
                ruleState: [1, 2, 3], now: now))
    }

    @Test func faultsQueueCheckpointAndRuleStateAreOneCommitAndSurviveReopening() async throws {
        try await withStore { store in
            let added1 = try await commit(store, [.make(.raised)], checkpoints: [0: 7, 3: 9])
            #expect(added1 == 1)
        }
        try await withStore { store in
            #expect(
                try await store.runtimeState() == FaultRuntimeState(checkpoints: [0: 7, 3: 9], ruleState: [1, 2, 3]))
            let fault = try #require(try await store.faults(openOnly: true, limit: 10).first)
            #expect(fault.id == FaultTransition.make(.raised).faultID)
            #expect(fault.value == .number(DecimalText("71.25")!))
            let due = try await store.dueAlerts(now: now, limit: 10)
            #expect(due.map(\.kind) == [.opened])
            #expect(due.first?.fault == fault)
        }
    }

    @Test func aReplayOfTheSameEventsAddsNothing() async throws {
        try await withStore { store in
            let events: [FaultTransition] = [.make(.raised), .make(.raised, 2), .make(.cleared, 2)]
            let added2 = try await commit(store, events)
            #expect(added2 == 3)
            let added3 = try await commit(store, events)
            #expect(added3 == 0)
            #expect(try await store.queueStatus().waiting == 3)
            let faults = try await store.faults(openOnly: false, limit: 10)
            #expect(faults.map(\.repeats) == [1])
            #expect(faults.map(\.phase) == [.cleared])
        }
    }

    @Test func rowsOfOneFaultComeInOrderAndADelayedOneHoldsItsFollowersOnly() async throws {
        try await withStore { store in
            _ = try await commit(store, [.make(.raised), .make(.cleared), .make(.raised, 5, rule: "other")])
            let first = try await store.dueAlerts(now: now, limit: 10)
            #expect(first.map(\.kind) == [.opened, .opened])
            try await store.settle(first[0].sequence, as: .again(at: now + .seconds(60), error: "later"))
            #expect(try await store.dueAlerts(now: now, limit: 10).map(\.fault.rule) == ["other"])
            #expect(try await store.dueAlerts(now: now + .seconds(60), limit: 10).map(\.attempts) == [1, 0])
            try await store.settle(first[0].sequence, as: .delivered)
            #expect(try await store.dueAlerts(now: now, limit: 10).map(\.kind) == [.cleared, .opened])
        }
    }

    @Test func repeatsShareOneWaitingUpdate() async throws {
        try await withStore { store in
            let flapping = (2..<200).map { FaultTransition.make(.raised, $0) }
            _ = try await commit(store, [.make(.raised)] + flapping)
            #expect(try await store.queueStatus().waiting == 2)
            #expect(try await store.fault(FaultTransition.make(.raised).faultID)?.repeats == 198)
        }
    }

    @Test func aDeadLetterIsKeptWithItsErrorAndLetsItsFollowersPass() async throws {
        try await withStore { store in
            _ = try await commit(store, [.make(.raised), .make(.cleared)])
            let row = try #require(try await store.dueAlerts(now: now, limit: 1).first)
            try await store.settle(row.sequence, as: .deadLetter(error: "0x80044331 too long"))
            #expect(try await store.deadLetters(limit: 5).map(\.error) == ["0x80044331 too long"])
            #expect(try await store.dueAlerts(now: now, limit: 5).map(\.kind) == [.cleared])
            #expect(try await store.retryDeadLetter(row.sequence, now: now))
            #expect(try await store.retryDeadLetter(row.sequence, now: now) == false)
            #expect(try await store.dueAlerts(now: now, limit: 5).map(\.kind) == [.opened])
        }
    }

    @Test func aFullQueueRefusesTheWholeChangeAndTakesItWhenThereIsRoomAgain() async throws {
        let database = try HubDatabase(path: folder.path + "/hub.sqlite", schema: HubSchema.hub)
        let store = SQLiteFaultStore(database, queueMax: 2)
        _ = try await commit(store, [.make(.raised), .make(.raised, 2, rule: "other")], checkpoints: [0: 5])
        let late: [FaultTransition] = [.make(.raised, 3, rule: "third")]
        let refused = await #expect(throws: FaultQueueFull.self) {
            try await commit(store, late, checkpoints: [0: 9])
        }
        #expect(refused?.description.hasPrefix("2 alerts wait for the CRM already, and no more are taken") == true)
        #expect(try await store.runtimeState().checkpoints == [0: 5])
        #expect(try await store.fault(late[0].faultID) == nil)
        // What raises nothing passes: rules go on watching.
        #expect(try await commit(store, [], checkpoints: [0: 6]) == 0)
        #expect(try await store.queueStatus().limit == 2)
        let first = try #require(try await store.dueAlerts(now: now, limit: 1).first)
        try await store.settle(first.sequence, as: .delivered)
        #expect(try await commit(store, late, checkpoints: [0: 9]) == 1)
        #expect(try await store.runtimeState().checkpoints == [0: 9])
        try database.close()
    }

    @Test func anotherDeviceCannotEndAFault() async throws {
        try await withStore { store in
            _ = try await commit(store, [.make(.raised), .make(.cleared, after: 60, device: "stranger")])
            let fault = try #require(try await store.fault(FaultTransition.make(.raised).faultID))
            #expect(fault.isOpen)
            #expect(try await store.queueStatus().waiting == 1)
        }
    }

    @Test func aFaultThatIsRaisedWithoutEndKeepsItsBeginningAndItsNewestRepeats() async throws {
        try await withStore { store in
            let id = FaultTransition.make(.raised).faultID
            let repeats = 2...1500
            _ = try await commit(store, [.make(.raised)])
            _ = try await commit(store, repeats.map { .make(.raised, UInt64($0), after: $0) })
            let history = try await store.history(of: id, limit: 10_000)
            #expect(history.map(\.kind) == [.opened] + Array(repeating: .repeated, count: 256))
            #expect(history.last?.at == FaultTransition.start + .seconds(1500))
            // Of the ids that mean it only the newest are known: an old one counts as new, one of the others does not.
            let known = try #require(try await store.fault(id)).repeats
            #expect(known == 1499)
            _ = try await commit(store, [.make(.raised, 1500), .make(.raised, 1500 - 1023)])
            #expect(try await store.fault(id)?.repeats == known)
            _ = try await commit(store, [.make(.raised, 1500 - 1024)])
            #expect(try await store.fault(id)?.repeats == known + 1)
            _ = try await commit(store, [.make(.cleared, 1500, after: 2000)])
            #expect(try await store.fault(id)?.isOpen == false)
        }
    }

    @Test func historyTellsWhatHappenedInOrder() async throws {
        try await withStore { store in
            let id = FaultTransition.make(.raised).faultID
            _ = try await commit(store, [.make(.raised), .make(.raised, 2)])
            #expect(try await store.acknowledge(id, by: "ann", now: now))
            #expect(try await store.acknowledge(id, by: "bob", now: now) == false)
            _ = try await commit(store, [.make(.cleared)])
            let history = try await store.history(of: id, limit: 10)
            #expect(history.map(\.kind) == [.opened, .repeated, .acknowledged, .cleared])
            #expect(history[0].detail == "too hot (71.25)")
            #expect(history[2].detail == "ann")
        }
    }

    @Test func anEndBeforeItsBeginningQueuesNothing() async throws {
        try await withStore { store in
            let added4 = try await commit(store, [.make(.cleared), .make(.raised)])
            #expect(added4 == 0)
            let history = try await store.history(of: FaultTransition.make(.raised).faultID, limit: 5)
            #expect(
                history.map(\.kind) == [
                    .clearedFirst, .openedLate,
                ])
        }
    }
}
