internal import Glibc
internal import Telemetry

/// Numbers that were worked out, as they are sent: with 12 digits, which is more than a sensor has, so that a mean is not
/// longer than what it is the mean of.
enum Rounding {
    static func value(_ value: Double) -> Double {
        guard value.isFinite, value != 0 else { return value }
        let places = 11 - Int(Glibc.log10(value.magnitude).rounded(.down))
        // Up to 10^22 powers of ten are exact, so that one multiplication and one division round as the decimal would.
        guard (-22...22).contains(places) else { return value }
        var scale = 1.0
        for _ in 0..<places.magnitude { scale *= 10 }
        let rounded = places >= 0 ? (value * scale).rounded() / scale : (value / scale).rounded() * scale
        return rounded.isFinite ? rounded : value
    }

    static func decimal(_ number: Double) -> DecimalText? { DecimalText(value(number)) }

    /// For people and names.
    static func text(_ number: Double) -> String { decimal(number)?.text ?? "\(number)" }
}
