import Primitives
import Synchronization
import Testing

@testable import Journal

@Suite struct JournalBookTests {
    static func at(_ seconds: Int64) -> WallInstant { WallInstant(milliseconds: seconds * 1000) }

    @discardableResult
    private func note(
        _ book: inout JournalBook, _ name: String, _ sentence: String = "why", registered: Bool = true,
        at seconds: Int64 = 0
    ) -> JournalEntry? {
        book.note(.refused, of: name, isRegistered: registered, sentence, address: "127.0.0.1", at: Self.at(seconds))
    }

    @Test func theNewestEntriesOfADeviceStay() {
        var book = JournalBook()
        for number in 0..<100 { note(&book, "one", "reason \(number)") }
        #expect(book.entries(of: "one").map(\.sentence) == (36..<100).map { "reason \($0)" })
        #expect(book.entries(of: "two").isEmpty)
        #expect(book.counts.entries == 64)
    }

    @Test func theSameInARowIsOneEntryWithACount() {
        var book = JournalBook()
        #expect(note(&book, "one", at: 0) != nil)
        for second in Int64(1)...9 { #expect(note(&book, "one", at: second) == nil) }
        let news = note(&book, "one", at: 10)
        #expect(news?.times == 11 && news?.at == Self.at(10))
        #expect(note(&book, "one", "other", at: 10)?.times == 1)
        #expect(note(&book, "one", at: 10)?.times == 1)
        #expect(book.entries(of: "one").map(\.times) == [11, 1, 1])
    }

    @Test func strangersPushOutStrangersOnly() {
        var book = JournalBook()
        note(&book, "known", "kept")
        for number in 0..<100_000 { note(&book, "stranger-\(number)", registered: false) }
        #expect(book.entries(of: "known").map(\.sentence) == ["kept"])
        #expect(book.entries(of: "stranger-99999").count == 1)
        #expect(book.entries(of: "stranger-0").isEmpty)
        #expect(book.counts.strangers <= 256)
        for number in 0..<100 { note(&book, "loud stranger", "\(number)", registered: false) }
        #expect(book.entries(of: "loud stranger").count == 16)
    }

    @Test func whatAnybodyMayHaveCausedHasASmallShare() {
        var book = JournalBook()
        for number in 0..<40 { note(&book, "one", "own \(number)") }
        for number in 0..<1000 {
            _ = book.note(
                .refused, of: "one", isRegistered: true, isProven: false, "\(number)", address: nil, at: Self.at(0))
        }
        let entries = book.entries(of: "one")
        #expect(entries.count { $0.isProven } == 40)
        #expect(entries.filter { !$0.isProven }.map(\.sentence) == (984..<1000).map { "\($0)" })
        #expect(book.counts.entries == 56)
    }

    @Test func whatAnybodyMayHaveCausedIsNewsOnlySoOften() {
        var book = JournalBook()
        func news(at second: Int64) -> Int {
            (0..<1000).count { number in
                let entry = book.note(
                    .refused, of: "\(second)-\(number)", isRegistered: false, isProven: false, "why", address: nil,
                    at: Self.at(second))
                return entry != nil
            }
        }
        #expect(news(at: 0) == 256 && news(at: 9) == 0 && news(at: 10) == 256)
        #expect(note(&book, "registered") != nil, "what is proven is told all the same")
    }

    @Test func theQuietestDevicesGoFirstAndMemoryIsBounded() {
        var book = JournalBook(registered: .init(perName: 4, names: 100, entries: 200))
        for round in 0..<10 {
            for number in 0..<90 { note(&book, "d-\(number)", "\(round)") }
            note(&book, "loyal", "\(round)")
            #expect(book.counts.entries <= 200 && book.counts.names <= 100)
        }
        #expect(book.entries(of: "loyal").last?.sentence == "9")
        for number in 0..<200 {
            note(&book, "other-\(number)", "x")
            note(&book, "loyal", "\(number)")
        }
        #expect(book.entries(of: "loyal").count == 4)
        #expect(book.entries(of: "d-0").isEmpty)
        #expect(book.counts.names <= 100)
    }

    @Test func longTextsAreCut() {
        var book = JournalBook()
        let long = String(repeating: "x", count: 100_000)
        note(&book, long, long, registered: false)
        #expect(book.newest(10).map { [$0.name.count, $0.sentence.count] } == [[512, 512]])
    }

    @Test func aStrangerWhoIsRegisteredLaterKeepsItsPast() {
        var book = JournalBook()
        note(&book, "one", "before", registered: false)
        note(&book, "one", "after")
        #expect(book.entries(of: "one").map(\.sentence) == ["before", "after"])
        #expect(book.newest(1).map(\.sentence) == ["after"])
    }
}

@Suite struct DeviceJournalTests {
    let journal = DeviceJournal(clock: { JournalBookTests.at(0) }, isRegistered: { $0.text.hasPrefix("d-") })

    @Test func entriesOfADeviceAndItsModulesComeInOrder() throws {
        let device = try #require(DeviceID("d-1"))
        #expect(journal.note(.refused, of: "d-1", "a"))
        #expect(journal.note(.denied, of: "d-1/m", "b"))
        #expect(journal.note(.disconnected, of: "d-1", "c", address: "::1"))
        #expect(!journal.note(.disconnected, of: "d-1", "c", address: "::1"))
        #expect(journal.note(.refused, of: "no id at all", "x"))
        #expect(journal.entries(of: device, modules: ["m"]).map(\.sentence) == ["a", "b", "c"])
        #expect(journal.entries(of: device).last?.times == 2)
        #expect(journal.newest(2).map(\.name) == ["d-1", "no id at all"])
    }

    @Test func followersSeeWhatIsNewAndLeaveWithTheirStream() async throws {
        let device = try #require(DeviceID("d-1"))
        let own = try #require(journal.follow(device))
        let all = try #require(journal.follow(nil))
        journal.note(.refused, of: "d-2", "other")
        journal.note(.refused, of: "d-1", "first")
        journal.note(.refused, of: "d-1/m", "of the module")
        var seen: [String] = []
        for await entry in own {
            seen.append(entry.sentence)
            if seen.count == 2 { break }
        }
        #expect(seen == ["first", "of the module"])
        seen = []
        for await entry in all {
            seen.append(entry.sentence)
            if seen.count == 3 { break }
        }
        #expect(seen == ["other", "first", "of the module"])
        var streams: [AsyncStream<JournalEntry>] = []
        while let stream = journal.follow(nil) { streams.append(stream) }
        #expect(streams.count >= DeviceJournal.followersMax - 2 && streams.count <= DeviceJournal.followersMax)
    }
}
