import Primitives
import Testing

struct UniqueIDTests {
    /// RFC 9562 appendix A.4: version 5 of "www.example.com" in the DNS namespace, with the digest that it prints.
    @Test func versionFiveVector() throws {
        let namespace = try #require(UniqueID("6ba7b810-9dad-11d1-80b4-00c04fd430c8"))
        let digest = try #require(Hex.decode("2ed6657de927468b55e12665a8aea6a22dee3e35"))
        var hashed: [UInt8] = []
        let id = UniqueID.named("www.example.com", in: namespace) {
            hashed = $0
            return digest
        }
        #expect(id.description == "2ed6657d-e927-568b-95e1-2665a8aea6a2")
        #expect(Hex.encode(hashed.prefix(16)) == "6ba7b8109dad11d180b400c04fd430c8")
        #expect(Array(hashed.dropFirst(16)) == Array("www.example.com".utf8))
    }

    @Test func randomOnesAreVersionFourAndDiffer() {
        var random = SeededRandom(seed: 1)
        var seen: Set<UniqueID> = []
        for _ in 0..<1000 {
            let id = UniqueID.random(using: &random)
            let text = Array(id.description.utf8)
            #expect(text[14] == UInt8(ascii: "4"))
            #expect("89ab".utf8.contains(text[19]))
            seen.insert(id)
        }
        #expect(seen.count == 1000)
    }

    @Test func textSurvivesAndCaseDoesNotMatter() {
        let text = "01234567-89ab-cdef-fedc-ba9876543210"
        #expect(UniqueID(text)?.description == text)
        #expect(UniqueID(text.uppercased()) == UniqueID(text))
        #expect(UniqueID(text)?.bytes == Hex.decode(text.filter { $0 != "-" }))
    }

    @Test(arguments: [
        "", "0123456789abcdeffedcba9876543210", "01234567-89ab-cdef-fedc-ba987654321",
        "{01234567-89ab-cdef-fedc-ba9876543210}",
        "01234567-89ab-cdef-fedc-ba987654321g", "0123456-789ab-cdef-fedc-ba9876543210",
        "01234567-89ab-cdef-fedc-ba9876543210-",
    ])
    func refusesWhatIsNoUUID(_ text: String) { #expect(UniqueID(text) == nil) }

    @Test func orderIsThatOfTheText() throws {
        let ids = try [
            "00000000-0000-0000-0000-000000000001", "00000000-0000-0001-0000-000000000000",
            "ffffffff-0000-0000-0000-000000000000",
        ]
        .map { try #require(UniqueID($0)) }
        #expect(ids.sorted() == ids)
        #expect(ids.reversed().sorted() == ids)
    }
}
