import AsyncHTTPClient
import CRM
import DeskTestKit
import Faults
import JSON
import Logging
import Primitives
import SQLiteHubStore
import ServiceDesk
import Synchronization
import Telemetry

/// The hub's half of the way: real stores in a folder, and a connector that can be started and stopped alone.
final class HubSide: Sendable {
    static let hubID = UniqueID(high: 0x1111_2222_3333_4444, low: 0x8555_6666_7777_8888)

    let database: HubDatabase
    let faults: SQLiteFaultStore
    let records: SQLiteConnectorStore
    let dispatcher: DispatcherProbe
    let connector: Connector
    private let http = HTTPClient(configuration: DataverseClient.httpConfiguration)
    private let running = Mutex<Task<Void, Never>?>(nil)

    init(
        folder: String, desk: LiveDesk, dispatcher: DispatcherProbe = DispatcherProbe(), secret: String? = nil,
        limits: CommandLimits = CommandLimits(), pollInterval: Duration = .milliseconds(200),
        wall: @escaping @Sendable () -> WallInstant = { TestClock.wall }
    ) throws {
        database = try HubDatabase(path: folder + "/hub.sqlite", schema: HubSchema.hub + [Self.refusal])
        faults = SQLiteFaultStore(database)
        records = SQLiteConnectorStore(database)
        self.dispatcher = dispatcher
        let credentials = desk.desk.credentials
        let monotonic: @Sendable () -> MonotonicInstant = {
            MonotonicInstant(nanoseconds: TestClock.wall.milliseconds * 1_000_000)
        }
        let client = DataverseClient(
            DataverseConfiguration(
                baseURL: desk.origin, tokenURL: "\(desk.origin)/\(credentials.tenant)/oauth2/v2.0/token",
                clientID: credentials.clientID,
                clientSecret: secret.map { Secret($0.utf8) } ?? credentials.clientSecret,
                requestTimeLimit: .seconds(1)),
            http: http, now: monotonic)
        var log = Logger(label: "connector")
        log.logLevel = .critical
        connector = Connector(
            client: client, faults: faults, records: records, dispatcher: dispatcher,
            configuration: ConnectorConfiguration(
                hubID: Self.hubID, pagesURL: "https://hub.example", commands: limits,
                pollInterval: pollInterval),
            clock: ConnectorClock(wall: wall, monotonic: monotonic), log: log)
    }

    /// The hub's own database takes no change of a waiting queue row while it is told so.
    private static let refusal = Migration(
        "a refusal on demand",
        sql: """
            CREATE TRIGGER "refuseDelete" BEFORE DELETE ON "faultQueue"
                WHEN EXISTS (SELECT 1 FROM "faultCheckpoint" WHERE "partition" = 99 AND "next" = 1)
                BEGIN SELECT RAISE(ABORT, 'no change is taken'); END;
            CREATE TRIGGER "refuseUpdate" BEFORE UPDATE ON "faultQueue"
                WHEN EXISTS (SELECT 1 FROM "faultCheckpoint" WHERE "partition" = 99 AND "next" = 1)
                BEGIN SELECT RAISE(ABORT, 'no change is taken'); END;
            """)

    func refuseToSettle(_ isOn: Bool) async throws {
        _ = try await faults.commit(
            FaultChange(reports: [], checkpoints: [99: isOn ? 1 : 0], ruleState: nil, now: TestClock.wall))
    }

    func start() {
        running.withLock { $0 = Task { await connector.run() } }
    }

    func stopConnector() async {
        let task = running.withLock { running in
            defer { running = nil }
            return running
        }
        task?.cancel()
        await task?.value
    }

    func close() async throws {
        await stopConnector()
        try await http.shutdown()
        try database.close()
    }

    /// Commits the reports and wakes the connector, as the fault runtime does.
    func report(_ transitions: FaultTransition...) async throws {
        _ = try await faults.commit(
            FaultChange(
                reports: transitions.map { FaultReport($0, origin: .edge) }, checkpoints: [:], ruleState: nil,
                now: TestClock.wall))
        connector.alertsQueued()
    }

    static func alertID(_ transition: FaultTransition) -> UniqueID {
        CRMIdentity.alert(hub: hubID, fault: transition.faultID)
    }
}

/// Stands where the device hub will be: remembers what it was asked, and its queue outlives the connector as the hub's
/// own outlives a restart.
final class DispatcherProbe: CommandDispatcher {
    struct Call: Sendable, Equatable {
        let device: String
        let method: String
        let payload: JSONValue
        let isQueued: Bool
    }

    private struct State {
        var calls: [Call] = []
        var waiting: Set<UniqueID> = []
        var ends: [QueueEnd] = []
        var wake: (@Sendable () -> Void)?
        var answers: [QueueAnswer] = []
    }

    private let state = Mutex(State())
    private let online: Bool
    private let answer: @Sendable (Call) async -> MethodOutcome

    /// - Parameter queueAnswers: what the first attempts to queue are answered with; the others are taken.
    init(
        isOnline: Bool = true, queueAnswers: [QueueAnswer] = [],
        answer: @escaping @Sendable (Call) async -> MethodOutcome = { _ in
            .answered(status: 200, payload: ["done": true])
        }
    ) {
        online = isOnline
        self.answer = answer
        state.withLock { $0.answers = queueAnswers }
    }

    var calls: [Call] { state.withLock { $0.calls } }
    var waiting: Set<UniqueID> { state.withLock { $0.waiting } }
    var ends: [QueueEnd] { state.withLock { $0.ends } }

    /// What the device, or time, does to a queued command.
    func finish(_ command: UniqueID, _ how: QueueEnd.How, deliveries: Int = 0) {
        let wake = state.withLock { state in
            precondition(state.waiting.remove(command) != nil, "only what waits can end")
            state.ends.append(QueueEnd(command: command, how: how, deliveries: deliveries, receipt: command))
            return state.wake
        }
        wake?()
    }

    func isOnline(_ device: DeviceID) -> Bool { online }

    func invoke(
        _ device: DeviceID, method: String, payload: JSONValue, timeLimit: Duration
    ) async -> MethodOutcome {
        let call = Call(device: device.text, method: method, payload: payload, isQueued: false)
        state.withLock { $0.calls.append(call) }
        return await answer(call)
    }

    func enqueue(_ message: QueuedCommand, for device: DeviceID) async -> QueueAnswer {
        state.withLock { state in
            let answer = state.answers.isEmpty ? QueueAnswer.queued : state.answers.removeFirst()
            guard answer == .queued else { return answer }
            state.calls.append(
                Call(
                    device: device.text, method: message.command.method, payload: message.command.payload,
                    isQueued: true))
            state.waiting.insert(message.id)
            return answer
        }
    }

    func fate(of command: UniqueID, on device: DeviceID) async throws -> QueueFate {
        state.withLock { state in
            if state.waiting.contains(command) { return .waits }
            return state.ends.contains { $0.command == command } ? .ended : .neverQueued
        }
    }

    func queueEnds() async throws -> [QueueEnd] { ends }
    func taken(_ end: QueueEnd) async throws { state.withLock { $0.ends.removeAll { $0 == end } } }
    func onQueueEnd(_ wake: @escaping @Sendable () -> Void) { state.withLock { $0.wake = wake } }
}

extension FaultTransition {
    /// A fault of a thermostat; `number` tells faults apart.
    static func thermostat(
        _ state: FaultState, _ number: UInt64 = 1, device: String = "thermostat-1",
        message: String = "too hot: 71.25 > 70",
        at time: WallInstant = TestClock.wall
    ) -> FaultTransition {
        FaultTransition(
            faultID: UniqueID(high: 0xfa, low: 0x8000_0000_0000_0000 | number), device: DeviceID(device)!,
            rule: "overheat", state: state, severity: .critical, message: message, metric: "temperature",
            value: .number(DecimalText("71.25")!), limit: "70", time: time)
    }
}

/// Waits for something that a background task brings about; the error names it.
func eventually<Value: Sendable>(
    _ what: String, within limit: Duration = .seconds(10), _ look: () async throws -> Value?
) async throws -> Value {
    let clock = ContinuousClock()
    let end = clock.now + limit
    while clock.now < end {
        if let value = try await look() { return value }
        try await Task.sleep(for: .milliseconds(10))
    }
    throw NotSeen(what: what)
}

struct NotSeen: Error, CustomStringConvertible {
    let what: String
    var description: String { "not seen in time: \(what)" }
}
