import Outbox
import Primitives
import Telemetry
import Testing

/// The contract of `OutboxStore`, on every implementation.
@Suite struct OutboxStoreSuite {
    @Test(arguments: StoreKind.allCases) func newStoreIsEmptyAndBeginsAtOne(kind: StoreKind) throws {
        try kind.withStore { store in
            let status = try store.status()
            #expect(status.nextSequence == 1)
            #expect(status.recordCount == 0 && status.storedBytes == 0 && status.lastWallTime == nil)
            #expect(try store.take(everything(.readings)) == nil)
            #expect(try store.kept("pipeline") == nil)
        }
    }

    @Test(arguments: StoreKind.allCases) func commitKeepsRecordsStateAndTimeTogether(kind: StoreKind) throws {
        try kind.withStore { store in
            let records = readings(from: 1, count: 3)
            let dropped = try store.append(commit(records, kept: [KeptState(key: "pipeline", bytes: [1, 2])]))
            #expect(dropped == [])
            let batch = try #require(try store.take(everything(.readings)))
            #expect(batch.runs == [Run(start: 1, count: 3)])
            #expect(batch.fragments == joined(records))
            #expect(try store.kept("pipeline") == [1, 2])
            let status = try store.status()
            #expect(status.nextSequence == 4 && status.recordCount == 3 && status.lastWallTime == someTime)
        }
    }

    /// A board without a battery for its clock wakes up in 1970.
    @Test(arguments: StoreKind.allCases) func commitWithAnUnsetClockLeavesTheKnownTime(kind: StoreKind) throws {
        try kind.withStore { store in
            let wakeUp = WallInstant(milliseconds: 5_000)
            _ = try store.append(
                OutboxCommit(records: readings(from: 1, count: 1), wallTime: wakeUp, clock: .unset))
            #expect(try store.status().lastWallTime == nil)
            _ = try store.append(commit(readings(from: 2, count: 1)))
            _ = try store.append(
                OutboxCommit(records: readings(from: 3, count: 1), wallTime: wakeUp, clock: .unset))
            #expect(try store.status().lastWallTime == someTime)
            let later = someTime + .seconds(60)
            _ = try store.append(
                OutboxCommit(records: readings(from: 4, count: 1), wallTime: later, clock: .guessed))
            #expect(try store.status().lastWallTime == later)
        }
    }

    @Test(arguments: StoreKind.allCases) func sequenceThatDoesNotContinueIsRefusedAndChangesNothing(kind: StoreKind)
        throws
    {
        try kind.withStore { store in
            _ = try store.append(commit(readings(from: 1, count: 2)))
            for wrong in [UInt64(2), 4] {
                let error = try #require(throws: OutboxError.self) {
                    try store.append(
                        commit(readings(from: wrong, count: 1), kept: [KeptState(key: "pipeline", bytes: [9])]))
                }
                #expect(error.problem == .wrongRecords)
            }
            #expect(try store.status().nextSequence == 3)
            #expect(try store.kept("pipeline") == nil)
        }
    }

    @Test(arguments: StoreKind.allCases) func faultsAreALaneOfTheirOwn(kind: StoreKind) throws {
        try kind.withStore { store in
            let records = readings(from: 1, count: 2) + [fault(3)] + readings(from: 4, count: 1)
            _ = try store.append(commit(records))
            let faults = try #require(try store.take(everything(.faults)))
            #expect(faults.runs == [Run(start: 3, count: 1)])
            let readings = try #require(try store.take(everything(.readings)))
            #expect(readings.runs == [Run(start: 1, count: 2), Run(start: 4, count: 1)])
            #expect(readings.rows == [1], "what lies between them does not cut a row")
        }
    }

    @Test(arguments: StoreKind.allCases) func takeKeepsToItsRangeAndSize(kind: StoreKind) throws {
        try kind.withStore { store in
            for first in stride(from: UInt64(1), through: 9, by: 2) {
                _ = try store.append(commit(readings(from: first, count: 2, padding: 100)))
            }
            let one = joined(readings(from: 1, count: 2, padding: 100)).count
            let two = try #require(
                try store.take(TakeRequest(lane: .readings, after: 2, before: 9, bytesMax: 2 * one + 10)))
            #expect(two.runs == [Run(start: 3, count: 4)])
            #expect(two.lastSequence == 6)
            let rest = try #require(try store.take(TakeRequest(lane: .readings, after: 6, before: 9, bytesMax: 99_999)))
            #expect(rest.runs == [Run(start: 7, count: 2)])
            let tooSmall = try #require(try store.take(TakeRequest(lane: .readings, after: 0, bytesMax: 1)))
            #expect(tooSmall.runs == [Run(start: 1, count: 2)], "one row always goes")
        }
    }

    @Test(arguments: StoreKind.allCases) func acknowledgedRecordsGoAndOthersStay(kind: StoreKind) throws {
        try kind.withStore { store in
            for first in [UInt64(1), 3, 5] { _ = try store.append(commit(readings(from: first, count: 2))) }
            let middle = try #require(try store.take(TakeRequest(lane: .readings, after: 2, before: 5, bytesMax: 9999)))
            try store.acknowledge([middle])
            try store.acknowledge([middle])
            let rest = try #require(try store.take(everything(.readings)))
            #expect(rest.runs == [Run(start: 1, count: 2), Run(start: 5, count: 2)])
            #expect(try store.status().recordCount == 4)
            try store.acknowledge([rest])
            let status = try store.status()
            #expect(status.recordCount == 0 && status.storedBytes == 0 && status.nextSequence == 7)
        }
    }

    @Test(arguments: StoreKind.allCases) func onlyTheLastReceiptsStay(kind: StoreKind) throws {
        try kind.withStore { store in
            for index in 0..<60 {
                try store.keepReceipt([UInt8(index)], at: WallInstant(milliseconds: Int64(index)))
            }
            let receipts = try store.receipts(countMax: 100)
            #expect(receipts.count == OutboxLimits.receiptCountMax)
            #expect(receipts.first == StoredReceipt(time: WallInstant(milliseconds: 59), bytes: [59]))
        }
    }

    @Test(arguments: StoreKind.allCases) func whatExpiresWaitsForTheTimeAndNothingOvertakesItAtItsDevice(
        kind: StoreKind
    ) throws {
        func command(_ id: String, _ name: String, expiresAt: WallInstant? = nil) -> QueuedCommand {
            QueuedCommand(messageID: id, device: device(name), name: "Set", payload: [], expiresAt: expiresAt)
        }
        try kind.withStore { store in
            _ = try store.keepCommand(command("1", "one"))
            _ = try store.keepCommand(command("2", "one", expiresAt: WallInstant(milliseconds: 5)))
            _ = try store.keepCommand(command("3", "one"))
            _ = try store.keepCommand(command("4", "two"))
            #expect(try store.beginCommand(isTimeKnown: false)?.messageID == "1")
            #expect(try store.beginCommand(isTimeKnown: false)?.messageID == "4")
            #expect(try store.beginCommand(isTimeKnown: false) == nil)
            #expect(try store.beginCommand(isTimeKnown: true)?.messageID == "2")
            #expect(try store.beginCommand(isTimeKnown: false)?.messageID == "3")
            #expect(try store.beginCommand(isTimeKnown: true) == nil)
        }
    }

    @Test(arguments: StoreKind.allCases) func commandIsKeptOnceAndBegunOnce(kind: StoreKind) throws {
        try kind.withStore { store in
            let command = QueuedCommand(
                messageID: "m-1", device: device("thermostat-1"), name: "Reset", payload: [1],
                expiresAt: WallInstant(milliseconds: 5))
            #expect(try store.keepCommand(command))
            #expect(try !store.keepCommand(command))
            #expect(try store.beginCommand() == command)
            #expect(try store.beginCommand() == nil)
            #expect(try store.endedCommands(countMax: 5).isEmpty)
            try store.endCommand("m-1", outcome: "executed")
            let ended = EndedCommand(device: command.device, name: command.name, outcome: "executed")
            #expect(try store.endedCommands(countMax: 5) == [ended])
            #expect(try !store.keepCommand(command), "a repetition is known after it ended, too")
            #expect(try store.beginCommand() == nil)
        }
    }
}
