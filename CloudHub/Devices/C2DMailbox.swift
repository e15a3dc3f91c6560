import Primitives
import Sessions
import Synchronization

/// What the hub knows in memory about cloud-to-device queues: their lengths, which deliveries are under way on which
/// link, and when the next message expires.
final class C2DMailbox: Sendable {
    private struct Flight {
        /// Held, so that no later link can be taken for it.
        let link: any DeviceLink
        var tokens: Set<UniqueID>
    }

    private struct State {
        var counts: [DeviceID: Int]
        var flights: [DeviceID: Flight] = [:]
        var nextExpiry: WallInstant?
    }

    private let state: Mutex<State>

    init(counts: [DeviceID: Int], firstExpiry: WallInstant?) {
        state = Mutex(State(counts: counts, nextExpiry: firstExpiry))
    }

    func count(of device: DeviceID) -> Int { state.withLock { $0.counts[device] ?? 0 } }

    func added(to device: DeviceID, expiresAt: WallInstant) {
        state.withLock {
            $0.counts[device, default: 0] += 1
            $0.nextExpiry = min($0.nextExpiry ?? expiresAt, expiresAt)
        }
    }

    func removed(_ token: UniqueID, from device: DeviceID) {
        state.withLock {
            let left = ($0.counts[device] ?? 0) - 1
            $0.counts[device] = left > 0 ? left : nil
            $0.flights[device]?.tokens.remove(token)
        }
    }

    /// Opens the queue for this link: from now on new messages go out on it at once.
    func open(_ device: DeviceID, on link: any DeviceLink) {
        state.withLock {
            if $0.flights[device]?.link !== link { $0.flights[device] = Flight(link: link, tokens: []) }
        }
    }

    /// Whether this delivery shall go out on this link now: the queue is open on it, and it is not on its way already.
    func starts(_ token: UniqueID, of device: DeviceID, on link: any DeviceLink) -> Bool {
        state.withLock {
            guard $0.flights[device]?.link === link else { return false }
            return $0.flights[device]?.tokens.insert(token).inserted ?? false
        }
    }

    func isOpen(_ device: DeviceID, on link: any DeviceLink) -> Bool {
        state.withLock { $0.flights[device]?.link === link }
    }

    /// The link of these devices is gone; what was under way on it starts anew on the next.
    func forgetFlights(of devices: [DeviceID]) {
        state.withLock { state in
            for device in devices { state.flights[device] = nil }
        }
    }

    func forget(_ device: DeviceID) {
        state.withLock {
            $0.flights[device] = nil
            $0.counts[device] = nil
        }
    }

    func isExpiryDue(at now: WallInstant) -> Bool { state.withLock { $0.nextExpiry.map { $0 <= now } ?? false } }

    /// After a sweep; an expiry that was added meanwhile stays.
    func sweptUntil(_ now: WallInstant, next: WallInstant?) {
        state.withLock {
            let added = $0.nextExpiry.flatMap { $0 > now ? $0 : nil }
            $0.nextExpiry = [added, next].compactMap { $0 }.min()
        }
    }
}
