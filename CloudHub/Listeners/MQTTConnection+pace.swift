import NIOCore
import Primitives
import Sessions
import Throttles

/// How fast a device may send: what is too much has been read already, and the next is read when the limits allow it, so
/// that its acknowledgement comes late. Source: IoT Hub, quotas and throttling.
extension MQTTConnection {
    /// Whether more was sent than the limits allow.
    var isPaced: Bool { pacedUntil.nanoseconds != .min && pacedUntil > shard.now }

    /// Counts a message against the device's limit and the hub's. A few integer operations.
    func count(now: MonotonicInstant) {
        let until = max(pace.spend(now: now), shard.countMessage(now: now))
        if until > now { pacedUntil = until }
    }

    /// Goes on reading when the limits allow it.
    /// - Parameter isNew: whether it was reading until now.
    func waitForPace(isNew: Bool) {
        if isNew {
            let isWholeHub = pace.spend(0, now: shard.now) < pacedUntil
            shared.paced(attached?.dispatch.identity, isWholeHub: isWholeHub, from: context?.remoteAddress)
        }
        guard paceTimer == nil else { return }
        let at = NIODeadline.uptimeNanoseconds(UInt64(max(0, pacedUntil.nanoseconds)))
        paceTimer = shard.eventLoop.assumeIsolated().scheduleTask(deadline: at) {
            self.paceTimer = nil
            self.resumeReading()
        }
    }
}
