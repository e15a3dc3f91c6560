public import Telemetry

/// How the value of a reading becomes the value that is worked with: `value × scale + offset`, and then from its unit into
/// another one. In exact decimals as far as 38 digits go.
public struct Conversion: Sendable, Equatable {
    public var scale: Decimal?
    public var offset: Decimal?
    /// What a reading without a unit is in; what any reading is in once it is scaled.
    public var fromUnit: String?
    /// What it shall be in.
    public var unit: String?

    public init() {}

    var isIdentity: Bool { scale == nil && offset == nil && fromUnit == nil && unit == nil }

    /// What cannot be: a known pair of units without a conversion.
    var problem: String? {
        guard let fromUnit, let unit, UnitConversion(from: fromUnit, to: unit) == nil else { return nil }
        return "\(fromUnit) cannot be converted to \(unit); known units are \(UnitConversion.names)"
    }

    /// Converts in place.
    ///
    /// - Parameter known: the conversion that was used last for this signal.
    /// - Returns: `false` when the reading's unit has no way to `unit`: it keeps its own.
    func apply(to reading: inout Reading, known: inout KnownConversion) -> Bool {
        guard case .number(let number) = reading.value else { return true }
        var value = number
        if scale != nil || offset != nil {
            value = scaled(number)
            reading.unit = fromUnit
        }
        let from = reading.unit ?? fromUnit
        reading.unit = from
        defer { reading.value = .number(value) }
        guard let unit, from != unit else { return true }
        // Without a unit there is nothing to convert from, and the number is taken as it is.
        guard let from else {
            reading.unit = unit
            return true
        }
        if known.from != from { known = KnownConversion(from: from, conversion: UnitConversion(from: from, to: unit)) }
        guard let conversion = known.conversion else { return false }
        value = conversion.converted(value)
        reading.unit = unit
        return true
    }

    private func scaled(_ number: DecimalText) -> DecimalText {
        let scale = scale ?? .one
        let offset = offset ?? .zero
        if let exact = Decimal(number.text)?.times(scale)?.plus(offset), let text = DecimalText(exact.description) {
            return text
        }
        return DecimalText(number.double * scale.double + offset.double) ?? number
    }
}

/// A signal's way from one unit to its own: looked up once.
struct KnownConversion: Sendable {
    var from: String?
    var conversion: UnitConversion?
}

/// From one unit into another of the same kind, both in UCUM: `(value × multiplier + addend) ÷ divisor`.
struct UnitConversion: Sendable, Equatable {
    private let multiplier: Decimal
    private let addend: Decimal
    private let divisor: Decimal

    /// `base = (value × multiplier + addend) ÷ divisor`, all decimals, so that nothing is rounded here.
    private struct Unit {
        let name: String
        let base: String
        let multiplier: String
        var addend = "0"
        var divisor = "1"
    }

    /// Source: UCUM, tables of base units, derived units and U.S. customary units; NIST SP 811, appendix B.
    private static let units: [Unit] = [
        Unit(name: "K", base: "K", multiplier: "1"),
        Unit(name: "Cel", base: "K", multiplier: "1", addend: "273.15"),
        Unit(name: "[degF]", base: "K", multiplier: "5", addend: "2298.35", divisor: "9"),
        Unit(name: "Pa", base: "Pa", multiplier: "1"),
        Unit(name: "hPa", base: "Pa", multiplier: "100"),
        Unit(name: "mbar", base: "Pa", multiplier: "100"),
        Unit(name: "kPa", base: "Pa", multiplier: "1000"),
        Unit(name: "MPa", base: "Pa", multiplier: "1000000"),
        Unit(name: "bar", base: "Pa", multiplier: "100000"),
        Unit(name: "atm", base: "Pa", multiplier: "101325"),
        Unit(name: "[psi]", base: "Pa", multiplier: "6894.757293168361"),
        Unit(name: "mW", base: "W", multiplier: "0.001"),
        Unit(name: "W", base: "W", multiplier: "1"),
        Unit(name: "kW", base: "W", multiplier: "1000"),
        Unit(name: "MW", base: "W", multiplier: "1000000"),
        Unit(name: "[HP]", base: "W", multiplier: "745.69987158227022"),
        Unit(name: "J", base: "J", multiplier: "1"),
        Unit(name: "kJ", base: "J", multiplier: "1000"),
        Unit(name: "MJ", base: "J", multiplier: "1000000"),
        Unit(name: "W.h", base: "J", multiplier: "3600"),
        Unit(name: "kW.h", base: "J", multiplier: "3600000"),
        Unit(name: "MW.h", base: "J", multiplier: "3600000000"),
        Unit(name: "mV", base: "V", multiplier: "0.001"),
        Unit(name: "V", base: "V", multiplier: "1"),
        Unit(name: "kV", base: "V", multiplier: "1000"),
        Unit(name: "mA", base: "A", multiplier: "0.001"),
        Unit(name: "A", base: "A", multiplier: "1"),
        Unit(name: "Hz", base: "Hz", multiplier: "1"),
        Unit(name: "kHz", base: "Hz", multiplier: "1000"),
        Unit(name: "/min", base: "Hz", multiplier: "1", divisor: "60"),
        Unit(name: "mm", base: "m", multiplier: "0.001"),
        Unit(name: "cm", base: "m", multiplier: "0.01"),
        Unit(name: "m", base: "m", multiplier: "1"),
        Unit(name: "km", base: "m", multiplier: "1000"),
        Unit(name: "[in_i]", base: "m", multiplier: "0.0254"),
        Unit(name: "[ft_i]", base: "m", multiplier: "0.3048"),
        Unit(name: "[mi_i]", base: "m", multiplier: "1609.344"),
        Unit(name: "m/s", base: "m/s", multiplier: "1"),
        Unit(name: "mm/s", base: "m/s", multiplier: "0.001"),
        Unit(name: "km/h", base: "m/s", multiplier: "1", divisor: "3.6"),
        Unit(name: "[mi_i]/h", base: "m/s", multiplier: "0.44704"),
        Unit(name: "[in_i]/s", base: "m/s", multiplier: "0.0254"),
        Unit(name: "m3", base: "m3", multiplier: "1"),
        Unit(name: "L", base: "m3", multiplier: "0.001"),
        Unit(name: "l", base: "m3", multiplier: "0.001"),
        Unit(name: "mL", base: "m3", multiplier: "0.000001"),
        Unit(name: "[gal_us]", base: "m3", multiplier: "0.003785411784"),
        Unit(name: "m3/s", base: "m3/s", multiplier: "1"),
        Unit(name: "m3/h", base: "m3/s", multiplier: "1", divisor: "3600"),
        Unit(name: "L/s", base: "m3/s", multiplier: "0.001"),
        Unit(name: "L/min", base: "m3/s", multiplier: "0.001", divisor: "60"),
        Unit(name: "L/h", base: "m3/s", multiplier: "0.001", divisor: "3600"),
        Unit(name: "[gal_us]/min", base: "m3/s", multiplier: "0.003785411784", divisor: "60"),
        Unit(name: "g", base: "g", multiplier: "1"),
        Unit(name: "kg", base: "g", multiplier: "1000"),
        Unit(name: "t", base: "g", multiplier: "1000000"),
        Unit(name: "[lb_av]", base: "g", multiplier: "453.59237"),
        Unit(name: "ms", base: "s", multiplier: "0.001"),
        Unit(name: "s", base: "s", multiplier: "1"),
        Unit(name: "min", base: "s", multiplier: "60"),
        Unit(name: "h", base: "s", multiplier: "3600"),
        Unit(name: "d", base: "s", multiplier: "86400"),
        Unit(name: "1", base: "1", multiplier: "1"),
        Unit(name: "%", base: "1", multiplier: "0.01"),
        Unit(name: "[ppm]", base: "1", multiplier: "0.000001"),
        Unit(name: "deg", base: "deg", multiplier: "1"),
    ]

    static let names = units.map(\.name).joined(separator: " ")
    private static let byName = Dictionary(uniqueKeysWithValues: units.map { ($0.name, $0) })

    /// `nil` when either is not known, or they are of different kinds.
    init?(from: String, to: String) {
        guard let from = Self.byName[from], let to = Self.byName[to], from.base == to.base,
            let fromMultiplier = Decimal(from.multiplier), let fromAddend = Decimal(from.addend),
            let fromDivisor = Decimal(from.divisor), let toMultiplier = Decimal(to.multiplier),
            let toAddend = Decimal(to.addend), let toDivisor = Decimal(to.divisor),
            // base = (v·m₁ + a₁)/d₁ = (w·m₂ + a₂)/d₂, solved for w.
            let multiplier = fromMultiplier.times(toDivisor), let left = fromAddend.times(toDivisor),
            let right = toAddend.times(fromDivisor), let addend = left.plus(right.negated),
            let divisor = fromDivisor.times(toMultiplier)
        else { return nil }
        self.multiplier = multiplier
        self.addend = addend
        self.divisor = divisor
    }

    /// Exact, or rounded to 15 digits where the quotient has no end.
    func converted(_ number: DecimalText) -> DecimalText {
        if let exact = Decimal(number.text)?.times(multiplier)?.plus(addend)?.divided(by: divisor),
            let text = DecimalText(exact.description)
        {
            return text
        }
        return DecimalText((number.double * multiplier.double + addend.double) / divisor.double) ?? number
    }
}
