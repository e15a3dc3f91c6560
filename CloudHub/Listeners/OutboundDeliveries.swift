import HubContract
import MQTTCodec
import Primitives
import Sessions

/// The cloud-to-device messages of one connection: those under way, and those that wait for room in the window.
struct OutboundDeliveries {
    /// More are dropped here; they stay in their queue and come again when the device is next ready.
    static let waitingMax = 1024
    /// Messages remembered after their acknowledgement: all that a device's queue can hold, and some.
    static let acknowledgedMax = 64

    struct Delivery {
        let target: HubIdentity
        let lockToken: UniqueID
    }

    private(set) var waiting: [(message: C2DDelivery, target: HubIdentity)] = []
    private var underWay: [PacketID: Delivery] = [:]
    /// Oldest first. Their queue may have been read before it knew of the acknowledgement, and offer them once more.
    private var done: [UniqueID] = []

    mutating func sent(_ id: PacketID, _ delivery: Delivery) { underWay[id] = delivery }

    mutating func acknowledged(_ id: PacketID) -> Delivery? {
        guard let delivery = underWay.removeValue(forKey: id) else { return nil }
        if done.count == Self.acknowledgedMax { done.removeFirst() }
        done.append(delivery.lockToken)
        return delivery
    }

    /// Whether it is already under way, waiting or acknowledged: a queue may offer it twice.
    func holds(_ lockToken: UniqueID) -> Bool {
        underWay.values.contains { $0.lockToken == lockToken } || waiting.contains { $0.message.lockToken == lockToken }
            || done.contains(lockToken)
    }

    mutating func wait(_ message: C2DDelivery, for target: HubIdentity) {
        if waiting.count < Self.waitingMax { waiting.append((message, target)) }
    }

    mutating func takeFirstWaiting() -> (message: C2DDelivery, target: HubIdentity)? {
        waiting.isEmpty ? nil : waiting.removeFirst()
    }
}
