import Primitives
import Sessions
import Synchronization

/// What the hub knows in memory about cloud-to-device queues: their lengths, which deliveries are under way on which
/// link, and when something is due in one.
final class C2DMailbox: Sendable {
    private struct Flight {
        /// Held, so that no later link can be taken for it.
        let link: any DeviceLink
        var tokens: Set<UniqueID> = []
        /// Whether what waited has been handed over, so that new messages go out at once.
        var isOpen = false
        /// Whether the store is being asked for what waits.
        var isTaking = false
    }

    private struct State {
        var counts: [DeviceID: Int]
        var flights: [DeviceID: Flight] = [:]
        var nextDue: WallInstant?
    }

    private let state: Mutex<State>

    init(_ summary: QueueSummary) {
        state = Mutex(State(counts: summary.counts, nextDue: summary.nextDue))
    }

    func count(of device: DeviceID) -> Int { state.withLock { $0.counts[device] ?? 0 } }

    func added(to device: DeviceID, expiresAt: WallInstant) {
        state.withLock {
            $0.counts[device, default: 0] += 1
            $0.nextDue = min($0.nextDue ?? expiresAt, expiresAt)
        }
    }

    func removed(_ token: UniqueID, from device: DeviceID) {
        state.withLock {
            let left = ($0.counts[device] ?? 0) - 1
            $0.counts[device] = left > 0 ? left : nil
            $0.flights[device]?.tokens.remove(token)
        }
    }

    /// Whether the store shall be asked now for what waits, to be sent on this link; then `taken` has to follow.
    ///
    /// `false` while it is being asked already: what comes into the queue after that is announced by itself.
    func startsTaking(_ device: DeviceID, for link: any DeviceLink) -> Bool {
        state.withLock {
            if $0.flights[device]?.link !== link { $0.flights[device] = Flight(link: link) }
            guard $0.flights[device]?.isTaking == false else { return false }
            $0.flights[device]?.isTaking = true
            return true
        }
    }

    /// What is on its way to the device, on whatever link.
    func underWay(to device: DeviceID) -> Set<UniqueID> { state.withLock { $0.flights[device]?.tokens ?? [] } }

    /// What is on its way on this link; `nil` when the link is not the device's any more.
    func underWay(to device: DeviceID, on link: any DeviceLink) -> Set<UniqueID>? {
        state.withLock { $0.flights[device].flatMap { $0.link === link ? $0.tokens : nil } }
    }

    /// The store has answered; with messages the queue is open on this link, and new ones go out at once.
    ///
    /// - Parameter tokens: of what goes out now, or `nil` when the store failed.
    /// - Returns: `false` when nothing shall go out: the link is not the device's any more.
    func taken(_ tokens: [UniqueID]?, of device: DeviceID, on link: any DeviceLink) -> Bool {
        state.withLock {
            guard $0.flights[device]?.link === link else { return false }
            $0.flights[device]?.isTaking = false
            guard let tokens else { return false }
            $0.flights[device]?.isOpen = true
            $0.flights[device]?.tokens.formUnion(tokens)
            return true
        }
    }

    /// Whether a new message goes out on this link as soon as it is durable; it counts as under way from now on.
    func starts(_ token: UniqueID, of device: DeviceID, on link: any DeviceLink) -> Bool {
        state.withLock {
            guard let flight = $0.flights[device], flight.link === link, flight.isOpen else { return false }
            $0.flights[device]?.tokens.insert(token)
            return true
        }
    }

    /// A message that was to start does not go out on this link.
    func startFailed(_ token: UniqueID, of device: DeviceID, on link: any DeviceLink) {
        state.withLock {
            if $0.flights[device]?.link === link { $0.flights[device]?.tokens.remove(token) }
        }
    }

    func isUnderWay(_ token: UniqueID, of device: DeviceID, on link: any DeviceLink) -> Bool {
        underWay(to: device, on: link)?.contains(token) ?? false
    }

    /// New messages wait from now on; what is under way stays so.
    func close(_ device: DeviceID) { state.withLock { $0.flights[device]?.isOpen = false } }

    /// What was under way to these devices on a link that is gone starts anew on the next.
    ///
    /// - Parameter isGone: called inside the lock, so that a link which comes meanwhile is not taken for the old one.
    func forgetFlights(of devices: [DeviceID], where isGone: (DeviceID, any DeviceLink) -> Bool) {
        state.withLock { state in
            for device in devices {
                if let flight = state.flights[device], isGone(device, flight.link) { state.flights[device] = nil }
            }
        }
    }

    func forget(_ device: DeviceID) {
        state.withLock {
            $0.flights[device] = nil
            $0.counts[device] = nil
        }
    }

    func isDue(at now: WallInstant) -> Bool { state.withLock { $0.nextDue.map { $0 <= now } ?? false } }

    /// A lock ends then.
    func due(at time: WallInstant) { state.withLock { $0.nextDue = min($0.nextDue ?? time, time) } }

    /// After a sweep; what was added meanwhile stays.
    func sweptUntil(_ now: WallInstant, next: WallInstant?) {
        state.withLock {
            let added = $0.nextDue.flatMap { $0 > now ? $0 : nil }
            $0.nextDue = [added, next].compactMap { $0 }.min()
        }
    }
}
