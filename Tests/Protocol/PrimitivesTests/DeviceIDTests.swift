import Primitives
import Testing

struct DeviceIDTests {
    @Test(arguments: [
        "a", "thermostat-1", "A:B.c", "-:.+%_#*?!(),=@;$'", "0", String(repeating: "x", count: 128),
    ])
    func theseAreNames(_ text: String) { #expect(DeviceID(text)?.text == text) }

    @Test(arguments: [
        "", String(repeating: "x", count: 129), "a b", "a/b", "a\\b", "a\"b", "a&b", "a<b", "a>b", "a[b]", "a{b}",
        "a|b", "a^b", "a~b", "a`b", "é", "a\0", "a\n", "a\u{7F}",
    ])
    func theseAreNot(_ text: String) { #expect(DeviceID(text) == nil) }

    @Test func everyASCIICharacterIsAllowedOrNot() {
        let allowed = (0..<128).map { String(Unicode.Scalar(UInt8($0))) }.filter { DeviceID($0) != nil }.joined()
        #expect(
            allowed == "!#$%'()*+,-.0123456789:;=?@ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz")
    }

    @Test func namesAreCaseSensitive() { #expect(DeviceID("Pump") != DeviceID("pump")) }
}
