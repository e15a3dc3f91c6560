import Primitives

/// What the meter measures, stepped in time. Pure: the same seed and steps give the same registers.
struct MeterModel {
    static let registerCount = 14

    var nominalVoltage = 230.0
    var isRelayClosed = true
    private var voltage = 230.0
    private var current = 5.0
    private var energyWattHours = 1_204_117.0
    private var noise: SeededRandom

    init(seed: UInt64) { noise = SeededRandom(seed: seed) }

    mutating func step(seconds: Double) {
        voltage = nominalVoltage + Double.random(in: -1.5...1.5, using: &noise)
        current = isRelayClosed ? 5 + Double.random(in: -0.4...0.4, using: &noise) : 0
        energyWattHours += voltage * current * seconds / 3600
    }

    /// As on the wire, from address 0.
    var registers: [UInt16] {
        let energy = UInt32(energyWattHours)
        return Self.words(Float(voltage)) + Self.words(Float(current)) + Self.words(Float(voltage * current))
            + [UInt16(energy >> 16), UInt16(truncatingIfNeeded: energy), isRelayClosed ? 1 : 0, 5000]
            + [0x534D, 0x2D34, 0x3731, 0x3100]
    }

    private static func words(_ value: Float) -> [UInt16] {
        [UInt16(value.bitPattern >> 16), UInt16(truncatingIfNeeded: value.bitPattern)]
    }
}
