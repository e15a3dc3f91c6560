import Primitives
import Testing

@testable import LocalMQTT

@Suite struct CommandDeskTests {
    private func at(_ seconds: Int64) -> MonotonicInstant { MonotonicInstant(nanoseconds: seconds * 1_000_000_000) }

    private func command(_ id: UInt32, answerTopic: String? = nil) -> CommandPublish {
        CommandPublish(
            id: id, topic: "t", payload: [], isRetained: false, answerTopic: answerTopic, deadline: at(10))
    }

    @Test func withoutAnAnswerTopicTheBrokersWordCounts() {
        var desk = CommandDesk()
        desk.handed(command(1), messageID: 5)
        #expect(said({ desk.brokerConfirmed(messageID: 4) }) == nil)
        #expect(said({ desk.brokerConfirmed(messageID: 5) }) == .init(id: 1, outcome: .executed(answer: nil)))
        #expect(said({ desk.brokerConfirmed(messageID: 5) }) == nil, "a command ends once")
        #expect(said({ desk.timeReached(at(20)) }).isEmpty)
    }

    @Test func anAnswerEndsTheCommandOfItsNumberElseTheOldest() {
        var desk = CommandDesk()
        for id in 1...3 { desk.handed(command(UInt32(id), answerTopic: "a"), messageID: Int32(id)) }
        #expect(said({ desk.brokerConfirmed(messageID: 1) }) == nil)
        let numbered = desk.messageReceived(topic: "a", payload: Array(#"{"id":2,"done":true}"#.utf8))
        #expect(numbered == .init(id: 2, outcome: .executed(answer: Array(#"{"id":2,"done":true}"#.utf8))))
        let plain = desk.messageReceived(topic: "a", payload: Array("fine".utf8))
        #expect(plain == .init(id: 1, outcome: .executed(answer: Array(#""fine""#.utf8))))
        #expect(said({ desk.messageReceived(topic: "a", payload: Array(#"{"id":99}"#.utf8)) }) == nil)
        #expect(said({ desk.messageReceived(topic: "b", payload: []) }) == nil)
        let error = desk.messageReceived(topic: "a", payload: Array(#"{"error":"too hot"}"#.utf8))
        #expect(error == .init(id: 3, outcome: .failed("the device answered with an error: too hot")))
    }

    @Test func timeEndsWhatIsLeftAndSaysWhatIsKnown() {
        var desk = CommandDesk()
        desk.handed(command(1), messageID: 1)
        desk.handed(command(2, answerTopic: "a"), messageID: 2)
        _ = desk.brokerConfirmed(messageID: 2)
        #expect(desk.nextDeadline == at(10))
        #expect(said({ desk.timeReached(at(9)) }).isEmpty)
        #expect(
            said({ desk.timeReached(at(10)) }) == [
                .init(
                    id: 1,
                    outcome: .failed(
                        "the broker did not confirm the command in time; it is not known whether the device got it")),
                .init(id: 2, outcome: .failed("the broker took the command, but no answer came on a in time")),
            ])
    }

    @Test func aLostLinkEndsOnlyWhatTheBrokerHadNotConfirmed() {
        var desk = CommandDesk()
        desk.handed(command(1), messageID: 1)
        desk.handed(command(2, answerTopic: "a"), messageID: 2)
        _ = desk.brokerConfirmed(messageID: 2)
        #expect(said({ desk.linkLost() }).map(\.id) == [1])
        #expect(said({ desk.messageReceived(topic: "a", payload: Array("1".utf8)) })?.id == 2)
    }

    @Test func itHasALimit() {
        var desk = CommandDesk()
        for id in 0..<CommandDesk.countMax { desk.handed(command(UInt32(id)), messageID: Int32(id)) }
        #expect(desk.isFull)
        #expect(said({ desk.stopped() }).count == CommandDesk.countMax)
        #expect(!desk.isFull)
    }
}
