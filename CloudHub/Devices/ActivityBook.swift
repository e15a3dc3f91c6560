import HubContract
import Primitives
import Synchronization

/// When each identity was last here: in memory, with a list of what has yet to be written.
final class ActivityBook: Sendable {
    private struct State {
        var book: [HubIdentity: DeviceActivity]
        var changed: Set<HubIdentity> = []
    }

    private let state: Mutex<State>

    init(_ book: [HubIdentity: DeviceActivity]) { state = Mutex(State(book: book)) }

    func of(_ who: HubIdentity) -> DeviceActivity { state.withLock { $0.book[who] ?? DeviceActivity() } }

    func active(_ who: HubIdentity, at now: WallInstant) {
        state.withLock {
            $0.book[who, default: DeviceActivity()].lastActivityAt = now
            $0.changed.insert(who)
        }
    }

    func connectionChanged(_ who: HubIdentity, at now: WallInstant) {
        state.withLock {
            $0.book[who, default: DeviceActivity()].connectionChangedAt = now
            $0.book[who]?.lastActivityAt = now
            $0.changed.insert(who)
        }
    }

    func forget(_ who: HubIdentity) {
        state.withLock {
            $0.book[who] = nil
            $0.changed.remove(who)
        }
    }

    func takeChanged() -> [HubIdentity: DeviceActivity] {
        state.withLock { state in
            defer { state.changed = [] }
            return state.changed.reduce(into: [:]) { $0[$1] = state.book[$1] }
        }
    }

    func markChanged(_ identities: [HubIdentity]) { state.withLock { $0.changed.formUnion(identities) } }
}
