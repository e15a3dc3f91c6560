import Primitives
import Testing

/// Base64, hexadecimal digits and percent-encoding.
struct TextCodingTests {
    /// RFC 4648 section 10.
    static let base64: [(plain: String, encoded: String)] = [
        ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ]
    static let base16: [(plain: String, encoded: String)] = [
        ("", ""), ("f", "66"), ("fo", "666f"), ("foo", "666f6f"), ("foob", "666f6f62"), ("fooba", "666f6f6261"),
        ("foobar", "666f6f626172"),
    ]

    @Test(arguments: base64) func base64Vector(plain: String, encoded: String) {
        #expect(Base64.encode(plain.utf8) == encoded)
        #expect(Base64.decode(encoded) == Array(plain.utf8))
    }

    @Test func base64UsesItsWholeAlphabet() {
        let text = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        #expect(Base64.decode(text).map { Base64.encode($0) } == text)
    }

    @Test(arguments: [
        "Zg", "Zg=", "Z===", "====", "=Zg=", "Zg==Zg==", "Zm9v\n", "Zm 9v", "Zm9-", "Zm9_", "Zm9é", "Zm=v",
    ])
    func base64Refuses(_ text: String) { #expect(Base64.decode(text) == nil) }

    @Test(arguments: base16) func base16Vector(plain: String, encoded: String) {
        #expect(Hex.encode(plain.utf8) == encoded)
        #expect(Hex.decode(encoded) == Array(plain.utf8))
        #expect(Hex.decode(encoded.uppercased()) == Array(plain.utf8))
    }

    @Test(arguments: ["6", "6g", "0x", " 66", "６６"]) func base16Refuses(_ text: String) {
        #expect(Hex.decode(text) == nil)
    }

    @Test func anyBytesSurvive() {
        for seed in UInt64(0)..<500 {
            var random = SeededRandom(seed: seed)
            let bytes = (0..<Int.random(in: 0...100, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            #expect(Base64.decode(Base64.encode(bytes)) == bytes, "seed \(seed)")
            #expect(Hex.decode(Hex.encode(bytes)) == bytes, "seed \(seed)")
        }
    }

    static let percent: [(plain: String, encoded: String)] = [
        ("", ""),
        ("AZaz09-._~", "AZaz09-._~"),
        ("a b+c", "a%20b%2Bc"),
        ("hub.example.net/devices/d", "hub.example.net%2Fdevices%2Fd"),
        ("100%", "100%25"),
        ("é☃𪛔", "%C3%A9%E2%98%83%F0%AA%9B%94"),
        ("\0\n", "%00%0A"),
        ("$.ct=a&b;c", "%24.ct%3Da%26b%3Bc"),
    ]

    @Test(arguments: percent) func percentEncodes(plain: String, encoded: String) {
        #expect(PercentEncoding.encode(plain) == encoded)
        #expect(PercentEncoding.decode(encoded) == plain)
    }

    @Test func percentDecodingTakesLowerCaseAndLeavesThePlus() {
        #expect(PercentEncoding.decode("%2f+%c3%a9/é") == "/+é/é")
        #expect(PercentEncoding.decode("plain+text") == "plain+text")
    }

    @Test(arguments: ["%", "%4", "a%", "%g0", "%0g", "%%20", "%ff", "%c3", "%ed%a0%80"])
    func percentDecodingRefuses(_ text: String) { #expect(PercentEncoding.decode(text) == nil) }
}
