import Primitives

/// A room with a heater whose contact can stick, stepped in time. Pure: the same seed and steps give the same values.
///
/// - Normal: the temperature follows the set point within a few tenths.
/// - Stuck: it climbs `heatingRate` a second up to `hottest`. A closed relay (the emergency cut-off) stops the climb and
///   lets it sink no lower than `heldAt`, because the contact is still hot. Only a reset frees the contact.
struct ThermostatModel: Equatable {
    static let hottest = 95.0
    static let heldAt = 74.0
    static let setPointRange = 5.0...35.0

    /// Kelvin a second while stuck.
    var heatingRate = 15.0
    private(set) var setPoint = 21.5
    private(set) var isStuck = false
    var isRelayClosed = false
    private var exact = 21.5
    private var humidityExact = 45.0
    private var noise: SeededRandom

    init(seed: UInt64) { noise = SeededRandom(seed: seed) }

    static func == (left: Self, right: Self) -> Bool {
        (left.exact, left.humidityExact, left.setPoint, left.isStuck, left.isRelayClosed)
            == (right.exact, right.humidityExact, right.setPoint, right.isStuck, right.isRelayClosed)
    }

    mutating func stick() { isStuck = true }

    mutating func reset() {
        isStuck = false
        isRelayClosed = false
    }

    /// False when the value is outside 5 … 35 °C; nothing changes then.
    mutating func set(target: Double) -> Bool {
        guard Self.setPointRange.contains(target) else { return false }
        setPoint = target
        return true
    }

    /// - Parameter seconds: since the last step, 0 or more.
    mutating func step(seconds: Double) {
        switch (isStuck, isRelayClosed) {
        case (true, false): exact = min(Self.hottest, exact + heatingRate * seconds)
        case (true, true): exact = max(min(exact, Self.heldAt), exact - 1.5 * seconds)
        case (false, _): exact += (setPoint - exact) * min(1, seconds / 0.8)
        }
        let drift = Double.random(in: -0.3...0.3, using: &noise)
        humidityExact = min(80, max(20, humidityExact + drift))
    }

    /// In hundredths of a degree, with the sensor's noise of a few hundredths.
    mutating func measured() -> (temperatureHundredths: Int, humidityTenths: Int) {
        let jitter = Int.random(in: -5...5, using: &noise)
        return (Int((exact * 100).rounded()) + jitter, Int((humidityExact * 10).rounded()))
    }
}
