import Testing

@testable import LocalMQTT

@Suite struct RepeatFilterTests {
    @Test func whatWasKeptButNotAcknowledgedIsKnownAfterACrash() {
        var first = RepeatFilter()
        first.connected(sessionPresent: false)
        #expect(!said({ first.isRepeat(packetID: 1, digest: 10, isMarked: true) }))
        #expect(!said({ first.isRepeat(packetID: 2, digest: 20, isMarked: true) }))
        let mark = first.mark
        var second = RepeatFilter(mark: mark)
        second.connected(sessionPresent: true)
        #expect(said({ second.isRepeat(packetID: 1, digest: 10, isMarked: true) }))
        #expect(said({ second.isRepeat(packetID: 2, digest: 20, isMarked: true) }))
        #expect(!said({ second.isRepeat(packetID: 3, digest: 30, isMarked: true) }))
    }

    @Test func theFirstOtherMessageEndsThePrefix() {
        var filter = RepeatFilter()
        filter.connected(sessionPresent: false)
        _ = filter.isRepeat(packetID: 1, digest: 10, isMarked: true)
        _ = filter.isRepeat(packetID: 2, digest: 20, isMarked: true)
        filter.kept(2)
        filter.connected(sessionPresent: true)
        #expect(!said({ filter.isRepeat(packetID: 9, digest: 90, isMarked: true) }))
        #expect(
            !said({ filter.isRepeat(packetID: 2, digest: 20, isMarked: true) }),
            "a reused identifier later on is a new message")
    }

    @Test func anotherPayloadUnderTheSameIdentifierIsNew() {
        var filter = RepeatFilter()
        filter.connected(sessionPresent: false)
        _ = filter.isRepeat(packetID: 1, digest: 10, isMarked: true)
        filter.kept(1)
        filter.connected(sessionPresent: true)
        #expect(!said({ filter.isRepeat(packetID: 1, digest: 11, isMarked: true) }))
    }

    /// A broker that gives the lowest free identifier, and a sensor that says the same every minute.
    @Test func aMessageThatTheBrokerSendsForTheFirstTimeIsNoRepeat() {
        var filter = RepeatFilter()
        filter.connected(sessionPresent: false)
        _ = filter.isRepeat(packetID: 1, digest: 10, isMarked: false)
        filter.kept(1)
        filter.connected(sessionPresent: true)
        #expect(!said({ filter.isRepeat(packetID: 1, digest: 10, isMarked: false) }))
    }

    @Test func whatWasNotKeptIsNoRepeat() {
        var filter = RepeatFilter()
        filter.connected(sessionPresent: false)
        _ = filter.isRepeat(packetID: 1, digest: 10, isMarked: true)
        filter.connected(sessionPresent: true)
        #expect(!said({ filter.isRepeat(packetID: 1, digest: 10, isMarked: true) }))
    }

    @Test func aNewSessionRepeatsNothing() {
        var filter = RepeatFilter()
        filter.connected(sessionPresent: false)
        _ = filter.isRepeat(packetID: 1, digest: 10, isMarked: true)
        filter.kept(1)
        filter.connected(sessionPresent: false)
        #expect(!said({ filter.isRepeat(packetID: 1, digest: 10, isMarked: true) }))
    }

    /// A kill with bytes unread resets the connection, and the broker never reads what was written last.
    @Test func writtenAcknowledgementsMayNotHaveBeenHeard() {
        var filter = RepeatFilter()
        filter.connected(sessionPresent: false)
        for number in 1...100 as ClosedRange<UInt16> {
            _ = filter.isRepeat(packetID: number, digest: 10, isMarked: true)
            filter.kept(1)
            filter.acknowledgementsWritten()
        }
        var next = RepeatFilter(mark: filter.mark)
        #expect(filter.mark.count == 3 + 4 * RepeatFilter.writtenMax, "and not more of them")
        next.connected(sessionPresent: true)
        #expect((81...100).allSatisfy { next.isRepeat(packetID: $0, digest: 10, isMarked: true) })
        #expect(!said({ next.isRepeat(packetID: 101, digest: 10, isMarked: true) }))
    }

    /// A broker that takes the lowest free identifier.
    @Test func anIdentifierThatComesAgainSaysThatTheBrokerHasHeard() {
        var filter = RepeatFilter()
        filter.connected(sessionPresent: false)
        for _ in 0..<3 {
            for number in 1...4 as ClosedRange<UInt16> {
                _ = filter.isRepeat(packetID: number, digest: 10, isMarked: true)
                filter.kept(1)
                filter.acknowledgementsWritten()
            }
        }
        _ = filter.isRepeat(packetID: 3, digest: 10, isMarked: true)
        filter.kept(1)
        #expect(filter.mark.count == 1 + 6 + 6, "the last of 4, and of 3")
    }

    @Test func ofSeveralDeliveriesOnlyThoseAreKnownThatWereKept() {
        var filter = RepeatFilter()
        filter.connected(sessionPresent: false)
        for id in UInt16(1)...4 { _ = filter.isRepeat(packetID: id, digest: UInt32(id), isMarked: true) }
        filter.kept(1)
        filter.kept(2)
        filter.connected(sessionPresent: true)
        let repeats = (UInt16(1)...4).map { filter.isRepeat(packetID: $0, digest: UInt32($0), isMarked: true) }
        #expect(repeats == [true, true, true, false])
    }

    /// The second loss comes when only the first repeat has come; both are repeated again.
    @Test func aRepeatKeepsItsPlaceInTheOrder() {
        var filter = RepeatFilter()
        filter.connected(sessionPresent: false)
        for id in UInt16(1)...2 { _ = filter.isRepeat(packetID: id, digest: UInt32(id), isMarked: true) }
        filter.kept(2)
        filter.connected(sessionPresent: true)
        #expect(said({ filter.isRepeat(packetID: 1, digest: 1, isMarked: true) }))
        filter.kept(1)
        filter.connected(sessionPresent: true)
        let repeats = (UInt16(1)...2).map { filter.isRepeat(packetID: $0, digest: UInt32($0), isMarked: true) }
        #expect(repeats == [true, true])
    }

    @Test func asManyStayKnownAsTheBrokerMayHaveUnderWay() {
        var filter = RepeatFilter(inflightMax: 100)
        filter.connected(sessionPresent: false)
        for id in UInt16(1)...300 { _ = filter.isRepeat(packetID: id, digest: 1, isMarked: true) }
        filter.kept(300)
        filter.acknowledgementsWritten()
        #expect(filter.mark.count == 3 + 4 * 100)
    }

    @Test func aSecondLossBeforeTheRepeatsCameForgetsNothing() {
        var filter = RepeatFilter()
        filter.connected(sessionPresent: false)
        _ = filter.isRepeat(packetID: 1, digest: 10, isMarked: true)
        filter.kept(1)
        filter.connected(sessionPresent: true)
        filter.acknowledgementsWritten()
        filter.connected(sessionPresent: true)
        #expect(said({ filter.isRepeat(packetID: 1, digest: 10, isMarked: true) }))
    }

    @Test func whatIsForgottenIsTheOldestAndTheRestStaysInOrderEveryIdentifierOnce() {
        var filter = RepeatFilter()
        filter.connected(sessionPresent: false)
        for id in UInt16(1)...100 { _ = filter.isRepeat(packetID: id, digest: 1, isMarked: true) }
        filter.kept(100)
        filter.connected(sessionPresent: true)
        #expect(said({ filter.isRepeat(packetID: 50, digest: 1, isMarked: true) }))
        filter.kept(1)
        filter.acknowledgementsWritten()
        let first = UInt16(51 - RepeatFilter.writtenMax)
        #expect(filter.mark.count == 3 + 4 * (first...100).count, "one after the other, each once")
        var next = RepeatFilter(mark: filter.mark)
        next.connected(sessionPresent: true)
        let repeats = (first...100).map { next.isRepeat(packetID: $0, digest: 1, isMarked: true) }
        #expect(repeats.allSatisfy { $0 })
        #expect((51...100).allSatisfy { filter.isRepeat(packetID: $0, digest: 1, isMarked: true) })
    }

    @Test func aMarkHasALimitAndABrokenOneIsNone() {
        var filter = RepeatFilter()
        for index in 0..<3000 { _ = filter.isRepeat(packetID: UInt16(index), digest: 1, isMarked: true) }
        #expect(filter.mark.count == 3 + 4 * RepeatFilter.entriesMax)
        #expect(RepeatFilter(mark: [1, 2, 3]) == RepeatFilter())
        #expect(RepeatFilter(mark: []) == RepeatFilter())
        #expect(RepeatFilter(mark: [9]) == RepeatFilter())
        #expect(RepeatFilter(mark: [2, 255, 1]) == RepeatFilter())
        #expect(RepeatFilter(mark: [2, 0, 1, 2]) == RepeatFilter())
    }

    @Test func aMarkSaysEveryIdentifierAndTheEndOfEachDigest() {
        let ids: [UInt16] = [65_000, 65_534, 65_535, 1, 2, 258, 7, 513]
        var filter = RepeatFilter()
        filter.connected(sessionPresent: false)
        for id in ids {
            _ = filter.isRepeat(packetID: id, digest: 0xAB00_0000 | UInt32(id) << 8 | 0x5A, isMarked: true)
        }
        var next = RepeatFilter(mark: filter.mark)
        next.connected(sessionPresent: true)
        #expect(
            ids.allSatisfy { next.isRepeat(packetID: $0, digest: 0xAB00_0000 | UInt32($0) << 8 | 0x5A, isMarked: true) }
        )
    }

    @Test func theMarkOfAnOlderAgentIsRead() {
        var filter = RepeatFilter(mark: [1, 0, 7, 9, 0, 0, 1, 0, 8, 9, 0, 0, 2])
        filter.connected(sessionPresent: true)
        #expect(said({ filter.isRepeat(packetID: 7, digest: 0x0900_0001, isMarked: true) }))
        #expect(said({ filter.isRepeat(packetID: 8, digest: 0x0900_0002, isMarked: true) }))
    }
}
