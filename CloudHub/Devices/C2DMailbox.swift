import HubContract
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
        /// Whether the queue has been read for this link, so that new messages may go out at once.
        var isOpen = false
        /// Whether the queue is being read, and whether it has to be read once more after that.
        var isReading = false
        var isReadWanted = false
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

    // MARK: - Deliveries

    /// Reserves a place on the link for a new message, when it may go out as soon as it is stored. Reserved before it is
    /// stored, so that no reading of the queue counts it again.
    func reserve(_ token: UniqueID, of device: DeviceID, on link: any DeviceLink) -> Bool {
        state.withLock { state in
            guard let flight = state.flights[device], flight.link === link, flight.isOpen, !flight.isReading else {
                return false
            }
            state.flights[device]?.tokens.insert(token)
            return true
        }
    }

    func holds(_ token: UniqueID, of device: DeviceID, on link: any DeviceLink) -> Bool {
        state.withLock { $0.flights[device].map { $0.link === link && $0.tokens.contains(token) } ?? false }
    }

    func unreserve(_ token: UniqueID, of device: DeviceID) {
        state.withLock { _ = $0.flights[device]?.tokens.remove(token) }
    }

    /// What is on its way to the device and must be neither delivered nor counted again.
    func underWay(to device: DeviceID) -> Set<UniqueID> { state.withLock { $0.flights[device]?.tokens ?? [] } }

    /// Begins to read the queue for this link.
    /// - Returns: what is under way on it already; `nil` when it is being read, and will be once more after that.
    func beginReading(_ device: DeviceID, on link: any DeviceLink) -> Set<UniqueID>? {
        state.withLock { state in
            var flight = state.flights[device].flatMap { $0.link === link ? $0 : nil } ?? Flight(link: link)
            defer { state.flights[device] = flight }
            guard !flight.isReading else {
                flight.isReadWanted = true
                return nil
            }
            flight.isReading = true
            return flight.tokens
        }
    }

    /// The queue has been read, or could not be (`tokens` is `nil`).
    /// - Returns: whether the messages may go out, which they may not when another link has come meanwhile, and whether
    ///   the queue has to be read again.
    func endReading(
        _ device: DeviceID, on link: any DeviceLink, found tokens: [UniqueID]?
    ) -> (isCurrent: Bool, again: Bool) {
        state.withLock { state in
            guard var flight = state.flights[device], flight.link === link else { return (false, false) }
            let again = flight.isReadWanted
            flight.isReading = false
            flight.isReadWanted = false
            if let tokens {
                flight.isOpen = true
                flight.tokens.formUnion(tokens)
            }
            state.flights[device] = flight
            return (true, again)
        }
    }

    /// The link of `who` is gone; what was under way on it to these devices starts anew on the next.
    func forgetFlights(of devices: [DeviceID], over who: HubIdentity) {
        state.withLock { state in
            for device in devices where state.flights[device]?.link.identity == who { state.flights[device] = nil }
        }
    }

    func forget(_ device: DeviceID) {
        state.withLock {
            $0.flights[device] = nil
            $0.counts[device] = nil
        }
    }

    // MARK: - What is due

    func isDue(at now: WallInstant) -> Bool { state.withLock { $0.nextDue.map { $0 <= now } ?? false } }

    func due(at time: WallInstant) { state.withLock { $0.nextDue = min($0.nextDue ?? time, time) } }

    /// After a sweep; what was added meanwhile stays.
    func sweptUntil(_ now: WallInstant, next: WallInstant?) {
        state.withLock {
            let added = $0.nextDue.flatMap { $0 > now ? $0 : nil }
            $0.nextDue = [added, next].compactMap { $0 }.min()
        }
    }
}
