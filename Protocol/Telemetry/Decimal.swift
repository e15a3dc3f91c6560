/// An exact decimal number, `digits × 10^exponent`: what scaling needs, so that raw 2304 × 0.1 reads 230.4 and not
/// 230.39999999999998.
///
/// 38 digits of room; what does not fit makes the operations answer `nil`, and the caller falls back to a Double.
public struct Decimal: Sendable, Hashable, CustomStringConvertible {
    let digits: Int128
    let exponent: Int

    public static let zero = Decimal(digits: 0, exponent: 0)
    public static let one = Decimal(digits: 1, exponent: 0)

    init(digits: Int128, exponent: Int) {
        self.digits = digits
        self.exponent = exponent
    }

    public init(_ integer: some BinaryInteger) { self.init(digits: Int128(integer), exponent: 0) }

    /// Reads `-12.50`, `1e-3`, `230.4`. `nil` for anything else, over 36 digits, or an exponent beyond ±400.
    public init?(_ text: some StringProtocol) {
        var bytes = Array(text.utf8)[...]
        let isNegative = bytes.first == UInt8(ascii: "-")
        if isNegative || bytes.first == UInt8(ascii: "+") { bytes = bytes.dropFirst() }
        var digits: Int128 = 0
        var digitCount = 0
        var fractionCount: Int?
        while let byte = bytes.first {
            if (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) {
                digitCount += 1
                guard digitCount <= 36 else { return nil }
                digits = digits * 10 + Int128(byte - UInt8(ascii: "0"))
                fractionCount = fractionCount.map { $0 + 1 }
            } else if byte == UInt8(ascii: "."), fractionCount == nil {
                fractionCount = 0
            } else {
                break
            }
            bytes = bytes.dropFirst()
        }
        guard digitCount > 0 else { return nil }
        var exponent = -(fractionCount ?? 0)
        if let byte = bytes.first {
            guard byte == UInt8(ascii: "e") || byte == UInt8(ascii: "E"),
                let written = Int(String(decoding: bytes.dropFirst(), as: UTF8.self)), abs(written) <= 400
            else { return nil }
            exponent += written
        }
        self.init(digits: isNegative ? -digits : digits, exponent: exponent)
    }

    public var isZero: Bool { digits == 0 }

    public var negated: Decimal { Decimal(digits: -digits, exponent: exponent) }

    /// `nil` when the product needs more than 38 digits.
    public func times(_ other: Decimal) -> Decimal? {
        let (product, overflow) = digits.multipliedReportingOverflow(by: other.digits)
        return overflow ? nil : Decimal(digits: product, exponent: exponent + other.exponent)
    }

    /// `nil` when the sum needs more than 38 digits.
    public func plus(_ other: Decimal) -> Decimal? {
        if other.isZero { return self }
        if isZero { return other }
        let low = min(exponent, other.exponent)
        guard let left = shifted(to: low), let right = other.shifted(to: low) else { return nil }
        let (sum, overflow) = left.addingReportingOverflow(right)
        return overflow ? nil : Decimal(digits: sum, exponent: low)
    }

    /// The quotient: exact where it ends, else rounded to `digitsMax` digits (1 … 18), half away from zero. `nil` when the
    /// divisor is zero or the work needs more than 38 digits.
    public func divided(by other: Decimal, digitsMax: Int = 15) -> Decimal? {
        guard !other.isZero else { return nil }
        if isZero { return .zero }
        var numerator = digits.magnitude
        var places = 0
        let divisor = other.digits.magnitude
        var least: UInt128 = 1
        for _ in 0..<digitsMax { least *= 10 }
        // As many digits as are wanted, and one more to round by.
        while numerator % divisor != 0, numerator / divisor < least {
            let (next, overflow) = numerator.multipliedReportingOverflow(by: 10)
            guard !overflow else { return nil }
            numerator = next
            places += 1
        }
        var quotient = numerator / divisor
        if numerator % divisor != 0 {
            while quotient >= least {
                // Only the last digit that goes decides; those before it were cut off behind it.
                let roundsUp = quotient < least * 10 && quotient % 10 >= 5
                quotient = quotient / 10 + (roundsUp ? 1 : 0)
                places -= 1
                if roundsUp { break }
            }
        }
        guard let magnitude = Int128(exactly: quotient) else { return nil }
        let isNegative = (digits < 0) != (other.digits < 0)
        return Decimal(digits: isNegative ? -magnitude : magnitude, exponent: exponent - other.exponent - places)
    }

    private func shifted(to lower: Int) -> Int128? {
        guard exponent - lower <= 38 else { return nil }
        var value = digits
        for _ in 0..<(exponent - lower) {
            let (next, overflow) = value.multipliedReportingOverflow(by: 10)
            guard !overflow else { return nil }
            value = next
        }
        return value
    }

    public var double: Double { Double(description) ?? .nan }

    /// Plain notation without trailing zeros in the fraction; `e` notation beyond 40 places. A JSON number.
    public var description: String {
        if digits == 0 { return "0" }
        var digits = digits
        var exponent = exponent
        while exponent < 0, digits % 10 == 0 {
            digits /= 10
            exponent += 1
        }
        let sign = digits < 0 ? "-" : ""
        let text = String(digits.magnitude)
        if exponent > 40 || exponent < -60 { return "\(sign)\(text)e\(exponent)" }
        if exponent >= 0 { return sign + text + String(repeating: "0", count: exponent) }
        let places = -exponent
        let padded =
            text.utf8.count > places ? text : String(repeating: "0", count: places + 1 - text.utf8.count) + text
        let point = padded.index(padded.endIndex, offsetBy: -places)
        return sign + padded[..<point] + "." + padded[point...]
    }
}
