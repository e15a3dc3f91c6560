import Testing

@testable import Telemetry

@Suite struct DecimalTests {
    static let texts: [(text: String, canonical: String?)] = [
        ("230.4", "230.4"), ("-12.50", "-12.5"), ("0.001", "0.001"), ("1e-3", "0.001"), ("1E+2", "100"), ("+5", "5"),
        ("-0", "0"), ("000.100", "0.1"), (".5", "0.5"), ("5.", "5"), ("", nil), ("-", nil), ("1x", nil), ("1e", nil),
        ("1e999", nil), ("1.2.3", nil), (String(repeating: "9", count: 37), nil),
        ("123456789012345678901234567890.123456", "123456789012345678901234567890.123456"),
    ]

    @Test(arguments: texts) func textsAreReadExactly(_ text: String, _ canonical: String?) {
        #expect(Decimal(text)?.description == canonical)
    }

    static let sums: [(Decimal?, Decimal?, product: String?, sum: String?)] = [
        (Decimal("2304"), Decimal("0.1"), "230.4", "2304.1"),
        (Decimal("-7"), Decimal("0.0001"), "-0.0007", "-6.9999"),
        (Decimal("3"), Decimal("0"), "0", "3"),
        (Decimal("18446744073709551615"), Decimal("0.001"), "18446744073709551.615", "18446744073709551615.001"),
        (Decimal("1e38"), Decimal("1e-38"), "1", nil),
        (Decimal("99999999999999999999"), Decimal("99999999999999999999"), nil, "199999999999999999998"),
    ]

    @Test(arguments: sums) func sumsAndProductsAreExactOrNothing(
        _ left: Decimal?, _ right: Decimal?, _ product: String?, _ sum: String?
    ) throws {
        let left = try #require(left)
        let right = try #require(right)
        #expect(left.times(right)?.description == product)
        #expect(left.plus(right)?.description == sum)
    }

    @Test(
        arguments: [
            ("10", "4", "2.5"), ("1", "3", "0.333333333333333"), ("2", "3", "0.666666666666667"),
            ("-2", "3", "-0.666666666666667"),
            ("1", "-8", "-0.125"), ("0", "7", "0"), ("1", "0", nil), ("98.6", "9", "10.9555555555556"),
            ("123456789012345678", "7", "17636684144620800"), ("0.1", "0.3", "0.333333333333333"),
            ("1e-20", "3", "3.33333333333333e-21"),
            ("999999999999999", "1000000000000001", "0.999999999999998"),
        ] as [(String, String, String?)])
    func aQuotientIsExactOrRoundedTo15Digits(_ dividend: String, _ divisor: String, _ quotient: String?) throws {
        let left = try #require(Decimal(dividend))
        let right = try #require(Decimal(divisor))
        #expect(
            left.divided(by: right) == quotient.flatMap { Decimal($0) }
                || left.divided(by: right)?.description == quotient.flatMap { Decimal($0)?.description })
    }
}
