import DriverRuntime
import Primitives
import SouthboundAPI
import Synchronization

/// What other threads leave for the driver's thread, and what they may ask about it.
final class Mailbox: Sendable {
    typealias Reply = @Sendable (CommandOutcome) -> Void

    static let actuationsMax = 256
    static let commandsMax = 64
    static let knownDevicesMax = 4096

    struct Actuating: Equatable, Sendable {
        let topic: String
        let payload: [UInt8]
        let isRetained: Bool
    }

    private struct State {
        /// Oldest first; one a topic.
        var actuations: [Actuating] = []
        /// Not handed to the broker yet, oldest first.
        var commands: [CommandPublish] = []
        /// Of every command that has not ended, wherever it is.
        var replies: [UInt32: Reply] = [:]
        var lastCommandID: UInt32 = 0
        var knownDevices: Set<DeviceID>
        var counters = LocalMQTTDriver.Counters()
        /// How deliveries have ended, oldest first; bounded by what the driver hands over.
        var endings: [Flights.Ending] = []
        var isStopping = false
    }

    enum Refusal: Error, Equatable { case full, stopping }

    private let state: Mutex<State>
    let wake: WakeSignal
    /// Of the thread that sends actuations.
    let actionWake: WakeSignal

    init(wake: WakeSignal, actionWake: WakeSignal, knownDevices: Set<DeviceID>) {
        self.wake = wake
        self.actionWake = actionWake
        state = Mutex(State(knownDevices: knownDevices))
    }

    // MARK: Any thread

    /// A later value for a topic replaces one that waits.
    func leave(_ actuating: Actuating) throws(Refusal) {
        let refusal: Refusal? = state.withLock { state in
            if state.isStopping { return .stopping }
            if let index = state.actuations.firstIndex(where: { $0.topic == actuating.topic }) {
                state.actuations.remove(at: index)
            } else if state.actuations.count >= Self.actuationsMax {
                return .full
            }
            state.actuations.append(actuating)
            return nil
        }
        if let refusal { throw refusal }
        actionWake.ring()
    }

    /// A number for a new command.
    func newCommandID() -> UInt32 {
        state.withLock { state in
            state.lastCommandID &+= 1
            return state.lastCommandID
        }
    }

    func leave(_ command: CommandPublish, reply: @escaping Reply) throws(Refusal) {
        let refusal: Refusal? = state.withLock { state in
            if state.isStopping { return .stopping }
            guard state.replies.count < Self.commandsMax else { return .full }
            state.commands.append(command)
            state.replies[command.id] = reply
            return nil
        }
        if let refusal { throw refusal }
        wake.ring()
    }

    /// A delivery has ended.
    func leave(_ ending: Flights.Ending) {
        state.withLock { $0.endings.append(ending) }
        wake.ring()
    }

    func stop() {
        state.withLock { $0.isStopping = true }
        wake.ring()
        actionWake.ring()
    }

    var isStopping: Bool { state.withLock { $0.isStopping } }
    var counters: LocalMQTTDriver.Counters { state.withLock { $0.counters } }
    func knows(_ device: DeviceID) -> Bool { state.withLock { $0.knownDevices.contains(device) } }

    var devices: Set<DeviceID> { state.withLock { $0.knownDevices } }

    var hasActuations: Bool { state.withLock { !$0.actuations.isEmpty } }

    // MARK: The driver's threads

    func takeEndings() -> [Flights.Ending] {
        state.withLock { state in
            defer { state.endings.removeAll(keepingCapacity: true) }
            return state.endings
        }
    }

    func takeActuations() -> [Actuating] {
        state.withLock { state in
            defer { state.actuations.removeAll(keepingCapacity: true) }
            return state.actuations
        }
    }

    /// Back to the head of the queue, unless a newer value for the topic waits already.
    func giveBack(_ unconfirmed: [Actuating]) {
        state.withLock { state in
            let older = unconfirmed.filter { actuating in
                !state.actuations.contains { $0.topic == actuating.topic }
            }
            state.actuations.insert(contentsOf: older, at: 0)
        }
    }

    /// Up to `count` commands that may still be sent, and all whose deadline has passed.
    func takeCommands(_ count: Int, now: MonotonicInstant) -> (toSend: [CommandPublish], expired: [CommandPublish]) {
        state.withLock { state in
            let expired = state.commands.filter { $0.deadline <= now }
            state.commands.removeAll { $0.deadline <= now }
            let toSend = Array(state.commands.prefix(count))
            state.commands.removeFirst(toSend.count)
            return (toSend, expired)
        }
    }

    func takeAllCommands() -> [CommandPublish] {
        state.withLock { state in
            defer { state.commands = [] }
            return state.commands
        }
    }

    var nextDeadline: MonotonicInstant? { state.withLock { $0.commands.map(\.deadline).min() } }

    /// Answers the one who asked; a command that has ended already is left alone.
    func end(_ id: UInt32, _ outcome: CommandOutcome) {
        let reply = state.withLock { $0.replies.removeValue(forKey: id) }
        reply?(outcome)
    }

    func count(_ change: (inout LocalMQTTDriver.Counters) -> Void) { state.withLock { change(&$0.counters) } }

    /// False when the table is full: the device is served all the same, only commands to it need a route of its own.
    @discardableResult
    func learn(_ device: DeviceID) -> Bool {
        state.withLock { state in
            guard state.knownDevices.count < Self.knownDevicesMax else { return state.knownDevices.contains(device) }
            state.knownDevices.insert(device)
            return true
        }
    }
}
