import Primitives
import Throttles

/// What an event loop may still take from the hub's limit for telemetry. It is taken by the hundred, so that a message
/// costs a subtraction.
struct TelemetryAllowance {
    private let throttles: Throttles?
    private let share: Int
    private var left: Int
    private var heldUntil = MonotonicInstant(nanoseconds: .min)

    init(_ throttles: Throttles?) {
        self.throttles = throttles
        share = throttles?.telemetryShare ?? 0
        left = share > 0 ? 0 : .max
    }

    mutating func spend(now: MonotonicInstant) -> MonotonicInstant {
        left -= 1
        if left < 0, let throttles {
            left = share - 1
            heldUntil = throttles.takeTelemetry(share, now: now)
        }
        return heldUntil
    }
}
