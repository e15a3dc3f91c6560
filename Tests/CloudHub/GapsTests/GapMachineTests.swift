import Gaps
import Primitives
import Telemetry
import Testing

/// Everything that the machine decides, on a clock of numbers.
@Suite struct GapMachineTests {
    let outbox: GapMachine.Outbox
    let start = MonotonicInstant(nanoseconds: 0)
    let wall = WallInstant(milliseconds: 1_795_251_600_000)

    init() throws {
        outbox = GapMachine.Outbox(gateway: try #require(DeviceID("gateway-1")), epoch: Epoch(value: 9))
    }

    private func machine(_ change: (inout GapMachine.Pace) -> Void = { _ in }) -> GapMachine {
        var pace = GapMachine.Pace()
        change(&pace)
        return GapMachine(pace)
    }

    private func due(_ machine: inout GapMachine, at seconds: Int, online: Bool = true) -> [[Run]] {
        machine.due(now: start + .seconds(seconds)) { _ in online }.map(\.1.runs)
    }

    private func look(_ machine: inout GapMachine, _ holes: [Run], at seconds: Int) {
        machine.looked(at: outbox, holes: holes, now: start + .seconds(seconds), wall: wall + .seconds(seconds))
    }

    @Test func aHoleIsAskedForWhenItStaysAndTheGatewayIsThere() {
        var machine = machine()
        look(&machine, [Run(start: 5, count: 2)], at: 0)
        #expect(due(&machine, at: 0).isEmpty, "it may still be on its way")
        #expect(due(&machine, at: 30, online: false).isEmpty)
        #expect(due(&machine, at: 30) == [[Run(start: 5, count: 2)]])
        #expect(due(&machine, at: 31).isEmpty, "one request at a time")
    }

    @Test func onlyWhatIsStillMissingIsAskedFor() {
        var machine = machine()
        look(&machine, [Run(start: 5, count: 10), Run(start: 20, count: 3)], at: 0)
        look(&machine, [Run(start: 8, count: 2), Run(start: 22, count: 4)], at: 20)
        #expect(due(&machine, at: 30) == [[Run(start: 8, count: 2), Run(start: 22, count: 1)]])
    }

    @Test func aNewHoleRipensAnewAndAClosedOneIsForgotten() {
        var machine = machine()
        look(&machine, [Run(start: 5, count: 1)], at: 0)
        look(&machine, [Run(start: 9, count: 1)], at: 20)
        #expect(machine.gaps[outbox]?.since == wall + .seconds(20))
        #expect(due(&machine, at: 40).isEmpty)
        #expect(due(&machine, at: 50) == [[Run(start: 9, count: 1)]])
        look(&machine, [], at: 51)
        #expect(machine.gaps.isEmpty)
    }

    @Test func askingGetsRarerWhileAHoleStays() {
        var machine = machine { $0.askMost = .seconds(200) }
        look(&machine, [Run(start: 5, count: 1)], at: 0)
        var asked: [Int] = []
        for second in 0...800 where !due(&machine, at: second).isEmpty {
            asked.append(second)
            machine.answered(outbox, .failed("no"), now: start + .seconds(second))
        }
        #expect(asked == [30, 90, 210, 410, 610])
        #expect(machine.gaps[outbox]?.askedCount == 5)
    }

    /// 250 holes, and a gateway that has time for 60 of them.
    @Test func whatTheGatewayDidNotGetToIsAskedForAtOnceAndAllOfItInTheEnd() {
        var machine = machine()
        let holes = (1...250).map { Run(start: UInt64($0) * 10, count: 3) }
        look(&machine, holes, at: 0)
        var asked: [Run] = []
        for second in 30..<60 {
            for runs in due(&machine, at: second) {
                #expect(runs.count <= ReplayRange.runsMax)
                asked += runs.prefix(60)
                machine.answered(
                    outbox, .replayed(count: 180, gone: 0, rest: Array(runs.dropFirst(60))),
                    now: start + .seconds(second))
            }
        }
        #expect(asked == holes, "in turn, without waiting in between")
        #expect(due(&machine, at: 60).isEmpty && due(&machine, at: 120) != [])
    }

    @Test func aGatewayThatGetsNoFurtherIsAskedRarely() {
        var machine = machine()
        look(&machine, [Run(start: 5, count: 10)], at: 0)
        var askedAt: [Int] = []
        for second in 0...300 {
            for runs in due(&machine, at: second) {
                askedAt.append(second)
                machine.answered(outbox, .replayed(count: 0, gone: 0, rest: runs), now: start + .seconds(second))
            }
        }
        #expect(askedAt == [30, 90, 210])
    }

    @Test func whatIsLostIsNotAskedForAgain() {
        var machine = machine()
        look(&machine, [Run(start: 5, count: 1)], at: 0)
        #expect(due(&machine, at: 30).count == 1)
        machine.answered(outbox, .lost, now: start + .seconds(30))
        #expect(due(&machine, at: 100_000).isEmpty)
        #expect(machine.gaps[outbox]?.outcome == .lost)
    }

    @Test func outboxesWithGapsAreBounded() throws {
        var machine = machine { $0.outboxesMax = 2 }
        for number in 1...5 {
            let outbox = GapMachine.Outbox(gateway: outbox.gateway, epoch: Epoch(value: UInt64(number)))
            machine.looked(at: outbox, holes: [Run(start: 1, count: 1)], now: start, wall: wall)
        }
        #expect(machine.gaps.count == 2)
    }
}
