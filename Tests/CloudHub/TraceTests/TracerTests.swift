import EventLog
import Faults
import HubTestSupport
import Primitives
import SQLiteHubStore
import Telemetry
import Testing
import Trace

@Suite(.timeLimit(.minutes(1))) struct TracerTests {
    let fixture: LogFixture
    let database: HubDatabase
    let faults: SQLiteFaultStore
    let tracer: Tracer

    init() throws {
        fixture = try LogFixture()
        database = try HubDatabase(path: fixture.folder.file("hub.sqlite"), schema: HubSchema.hub)
        faults = SQLiteFaultStore(database)
        tracer = Tracer(log: fixture.log, faults: faults, stride: 100) { _ in .absent }
    }

    private func trace(_ sequence: UInt64, epoch: Epoch? = nil) async throws -> RecordTrace {
        try await tracer.trace(gateway: fixture.gateway, epoch: epoch, sequence: sequence)
    }

    @Test func everyStandingIsTold() async throws {
        let lost = QuarantinedRecord(
            gateway: fixture.gateway, epoch: LogFixture.epoch, sequence: 6, code: "childNotInScope", reason: "whose?",
            body: [1])
        try await fixture.append(
            fixture.readings([1, 2, 5]), dropped: [Run(start: 3, count: 1)], quarantined: [lost])
        #expect(try await trace(3).standing == .dropped)
        #expect(try await trace(4).standing == .missing)
        #expect(try await trace(7).standing == .notYet)
        guard case .quarantined(let kept) = try await trace(6).standing else {
            Issue.record("it was quarantined")
            return
        }
        #expect(kept.record.reason == "whose?")
        let found = try await trace(5)
        guard case .inLog(let place) = found.standing, case .reading(let reading)? = found.record else {
            Issue.record("it is in the log")
            return
        }
        #expect(place.offset == 0)
        #expect(reading.value.description == "5")
        #expect(found.faults.isEmpty)
        fixture.log.close()
    }

    @Test func aRecordThatCameAgainIsInTheLogThoughItsFirstBatchWasQuarantinedAsAWhole() async throws {
        let refused = Batch(epoch: LogFixture.epoch, records: fixture.readings([2, 4, 6]), dropped: [])
        let whole = QuarantinedRecord(
            gateway: fixture.gateway, epoch: LogFixture.epoch, sequence: 2,
            code: QuarantineCode.tooManyGaps.rawValue, reason: "too many holes", body: refused.encoded())
        // The mark of the quarantined batch counts 2 as seen; 4 and 6 are in the batch's body alone.
        try await fixture.append(fixture.readings([1]), quarantined: [whole])
        for sequence in [UInt64(4), 6] {
            guard case .quarantined = try await trace(sequence).standing else {
                Issue.record("\(sequence) is in the quarantine only")
                continue
            }
        }
        try await fixture.append(fixture.readings([4]))
        guard case .inLog(let place) = try await trace(4).standing else {
            Issue.record("4 came again")
            return
        }
        #expect(place.offset == 1)
        guard case .quarantined = try await trace(6).standing else {
            Issue.record("6 did not come again")
            return
        }
        fixture.log.close()
    }

    @Test func anOldRecordIsFoundBehindManyStrides() async throws {
        for number in UInt64(0)..<250 { try await fixture.append(fixture.readings([number * 2 + 1, number * 2 + 2])) }
        for (sequence, offset) in [(UInt64(1), Int64(0)), (2, 0), (201, 100), (499, 249), (500, 249)] {
            guard case .inLog(let place) = try await trace(sequence).standing else {
                Issue.record("\(sequence) is in the log")
                continue
            }
            #expect(place.offset == offset)
        }
        fixture.log.close()
    }

    @Test func theEpochOfTheOutboxThatSentLastIsMeantAndOthersCanBeNamed() async throws {
        try await fixture.append(fixture.readings([1, 2]), epoch: Epoch(value: 1))
        fixture.clock.advance(by: .seconds(1))
        try await fixture.append(fixture.readings([1]), epoch: Epoch(value: 2))
        #expect(try await trace(1).epoch == Epoch(value: 2))
        #expect(try await trace(2).standing == .notYet)
        #expect(try await trace(2, epoch: Epoch(value: 1)).record != nil)
        await #expect(throws: TraceError.noOutbox(gateway: fixture.gateway, epoch: Epoch(value: 3))) {
            try await trace(1, epoch: Epoch(value: 3))
        }
        fixture.log.close()
    }

    @Test func aReadingLeadsToTheFaultThatBeganWithItAndToWhatTheCRMWasNotTold() async throws {
        let raised = FaultTransition(
            faultID: UniqueID(high: 1, low: 2), device: fixture.gateway, rule: "hot", state: .raised,
            severity: .critical, message: "too hot", metric: "temperature", value: nil, limit: "70",
            time: fixture.clock.now, clock: .synchronised)
        try await fixture.append(
            fixture.readings([1]) + [SequencedRecord(sequence: 2, record: .fault(raised))])
        _ = try await faults.commit(
            FaultChange(
                reports: [FaultReport(raised, origin: .edge)], checkpoints: [:], ruleState: nil, now: fixture.clock.now)
        )
        for sequence in [UInt64(1), 2] {
            let fault = try #require(try await trace(sequence).faults.first)
            #expect(fault.fault.id == raised.faultID)
            #expect(fault.waiting.map(\.kind) == [.opened])
            #expect(fault.row == .absent)
        }
        fixture.log.close()
    }
}
