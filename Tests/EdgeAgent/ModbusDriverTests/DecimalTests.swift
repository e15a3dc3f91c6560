import Testing

@testable import ModbusDriver

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
}
