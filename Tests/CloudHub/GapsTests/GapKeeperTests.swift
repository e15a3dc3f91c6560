import EventLog
import Gaps
import HubTestSupport
import Logging
import Primitives
import SQLiteHubStore
import Synchronization
import Telemetry
import Testing

/// The keeper on a real log, with a gateway that answers from its outbox.
@Suite(.timeLimit(.minutes(1))) struct GapKeeperTests {
    /// A gateway with an outbox: what it is asked for and still has goes into the log again.
    private final class Gateway: ReplayCaller {
        let fixture: LogFixture
        let kept: Range<UInt64>
        let asked = Mutex<[ReplayRange]>([])

        init(_ fixture: LogFixture, kept: Range<UInt64>) {
            self.fixture = fixture
            self.kept = kept
        }

        func isOnline(_ gateway: DeviceID) -> Bool { gateway == fixture.gateway }

        func replay(_ request: ReplayRange, of gateway: DeviceID) async -> GapMachine.Outcome {
            asked.withLock { $0.append(request) }
            let wanted = request.runs.flatMap { $0.start...$0.last }
            let found = wanted.filter(kept.contains)
            let gone = Run.joining(wanted.filter { !kept.contains($0) })
            do {
                try await fixture.append(fixture.readings(found), dropped: gone)
            } catch {
                return .failed("\(error)")
            }
            return .replayed(count: UInt64(found.count), gone: UInt64(wanted.count - found.count), rest: [])
        }
    }

    @Test func whatIsMissingIsFetchedAndWhatIsGoneIsDeclared() async throws {
        let fixture = try LogFixture()
        try await fixture.append(fixture.readings(11...14))
        try await fixture.append(fixture.readings(18...20))
        let gateway = Gateway(fixture, kept: 3..<17)
        var pace = GapMachine.Pace()
        pace.ripeAfter = .zero
        let keeper = GapKeeper(
            log: fixture.log, caller: gateway, pace: pace,
            clock: GapKeeper.Clock(wall: { fixture.clock.now }, monotonic: { MonotonicInstant(nanoseconds: 0) }),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let running = Task { await keeper.run(every: .milliseconds(5)) }
        defer { running.cancel() }
        func books() throws -> OutboxSequences {
            try #require(try fixture.log.sequences(gateway: fixture.gateway).first)
        }
        while try !books().gaps.isEmpty { await Task.yield() }
        #expect(gateway.asked.withLock { $0 }.map(\.runs) == [[Run(start: 1, count: 10), Run(start: 15, count: 3)]])
        #expect(try books().dropped.runs == [Run(start: 1, count: 2), Run(start: 17, count: 1)])
        while !keeper.gaps.isEmpty { await Task.yield() }
        #expect(Array(keeper.lost.values) == [3])
        fixture.log.close()
    }
}
