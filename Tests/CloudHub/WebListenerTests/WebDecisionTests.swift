import NIOHTTP1
import Primitives
import Testing

@testable import WebListener

@Suite struct FirstLineTests {
    static let rows: [(line: String, route: FirstLine.Route)] = [
        ("GET /$iothub/websocket HTTP/1.1", .webSocket), ("GET /$iothub/websocket?a=b HTTP/1.1", .webSocket),
        ("GET /%24iothub/websocket HTTP/1.1", .webSocket), ("GET /$iothub/websockets HTTP/1.1", .pages),
        ("GET /$iothub/websocket/ HTTP/1.1", .pages), ("POST /$iothub/websocket HTTP/1.1", .pages),
        ("GET / HTTP/1.1", .pages), ("get /$iothub/websocket HTTP/1.1", .pages), ("\u{16}\u{3}", .pages),
    ]

    @Test(arguments: rows) func theFirstBytesDecide(line: String, route: FirstLine.Route) {
        let bytes = Array(line.utf8)
        #expect(FirstLine.route(bytes) == route)
        for count in 0...bytes.count {
            let early = FirstLine.route(bytes.prefix(count))
            #expect(early == nil || early == route, "after \(count) bytes")
        }
        #expect(bytes.count < 26 || FirstLine.route(bytes.prefix(26)) != nil)
    }
}

@Suite struct WebSocketUpgradeTests {
    static let good: [(String, String)] = [
        ("Host", "h"), ("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), ("Sec-WebSocket-Protocol", "mqtt"),
    ]

    struct Row: CustomTestStringConvertible, Sendable {
        let testDescription: String
        /// Replaces the header of that name; `nil` takes it away.
        let change: (name: String, value: String?)
        let status: UInt

        init(_ claim: String, _ name: String, _ value: String?, _ status: UInt) {
            (testDescription, change, self.status) = (claim, (name, value), status)
        }
    }

    static let rows: [Row] = [
        Row("what browsers send", "Origin", "https://h:443", 101),
        Row("more than one protocol", "Sec-WebSocket-Protocol", "mqttv3.1, mqtt", 101),
        Row("more than one connection token", "Connection", "keep-alive, upgrade", 101),
        Row("another case", "Upgrade", "WebSocket", 101),
        Row("an extension that we do not speak", "Sec-WebSocket-Extensions", "permessage-deflate", 101),
        Row("an empty body", "Content-Length", "0", 101),
        Row("no upgrade", "Upgrade", nil, 426),
        Row("an upgrade to something else", "Upgrade", "h2c", 426),
        Row("no connection token", "Connection", "keep-alive", 426),
        Row("no version", "Sec-WebSocket-Version", nil, 426),
        Row("an old version", "Sec-WebSocket-Version", "8", 426),
        Row("no key", "Sec-WebSocket-Key", nil, 400),
        Row("a short key", "Sec-WebSocket-Key", "dGhlIHNhbXBsZQ==", 400),
        Row("a key that is no Base64", "Sec-WebSocket-Key", "!!!!!!!!!!!!!!!!!!!!!!==", 400),
        Row("no protocol", "Sec-WebSocket-Protocol", nil, 400),
        Row("another protocol", "Sec-WebSocket-Protocol", "AMQPWSB10", 400),
        Row("a body", "Content-Length", "5", 400),
        Row("a chunked body", "Transfer-Encoding", "chunked", 400),
    ]

    @Test(arguments: rows) func requestsAreJudged(_ row: Row) {
        var headers = HTTPHeaders(Self.good)
        headers.remove(name: row.change.name)
        if let value = row.change.value { headers.add(name: row.change.name, value: value) }
        switch WebSocketUpgrade.answer(HTTPRequestHead(version: .http1_1, method: .GET, uri: "/", headers: headers)) {
        case .accept(let answer):
            #expect(row.status == 101)
            // The key and its answer are those of RFC 6455 section 1.3.
            #expect(answer["sec-websocket-accept"] == ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="])
            #expect(answer["sec-websocket-protocol"] == ["mqtt"])
            #expect(answer["sec-websocket-extensions"] == [])
        case .refuse(let status, let answer, let sentence):
            #expect(status.code == row.status && !sentence.isEmpty)
            if row.change.name == "Sec-WebSocket-Version" { #expect(answer["sec-websocket-version"] == ["13"]) }
        }
    }

    @Test func http10CannotUpgrade() {
        let head = HTTPRequestHead(version: .http1_0, method: .GET, uri: "/", headers: HTTPHeaders(Self.good))
        guard case .refuse(.upgradeRequired, _, _) = WebSocketUpgrade.answer(head) else {
            Issue.record("it was taken")
            return
        }
    }
}

@Suite struct RequestPaceTests {
    static let limits = RequestPace.Limits(
        idle: .seconds(60), bodyPeriod: .seconds(30), bodyBytesMin: 100, unread: .seconds(20), linger: .seconds(5))

    static func at(_ seconds: Int64) -> MonotonicInstant { MonotonicInstant(nanoseconds: seconds * 1_000_000_000) }

    private func pace() -> RequestPace { RequestPace(limits: Self.limits, headBy: Self.at(10)) }

    @Test func theFirstHeadMustBeWholeInTime() {
        var pace = pace()
        #expect(pace.timerFired(now: Self.at(9), isReading: true) == .rearm(at: Self.at(10)))
        #expect(pace.timerFired(now: Self.at(10), isReading: true) == .timedOut(beforeFirstRequest: true))
    }

    @Test func itIsNobodysFaultWhileTheHubThinks() {
        var pace = pace()
        pace.headReceived(now: Self.at(1))
        pace.requestEnded()
        #expect(pace.deadline == nil && !pace.isBetweenAnswers)
        #expect(pace.timerFired(now: Self.at(1000), isReading: true) == .ignore)
    }

    @Test func anIdleConnectionEnds() {
        var pace = pace()
        pace.headReceived(now: Self.at(1))
        pace.requestEnded()
        pace.answerEnded(now: Self.at(2))
        #expect(pace.deadline == Self.at(62) && pace.isBetweenAnswers)
        #expect(pace.timerFired(now: Self.at(62), isReading: true) == .timedOut(beforeFirstRequest: false))
    }

    @Test func aBodyMustKeepItsPace() {
        var pace = pace()
        pace.headReceived(now: Self.at(0))
        pace.bodyReceived(100)
        #expect(pace.timerFired(now: Self.at(30), isReading: true) == .rearm(at: Self.at(60)))
        pace.bodyReceived(99)
        #expect(pace.timerFired(now: Self.at(60), isReading: true) == .timedOut(beforeFirstRequest: false))
    }

    @Test func aBodyThatIsNotReadIsNotLate() {
        var pace = pace()
        pace.headReceived(now: Self.at(0))
        #expect(pace.timerFired(now: Self.at(30), isReading: false) == .rearm(at: Self.at(60)))
    }

    @Test func anAnswerMustBeRead() {
        var pace = pace()
        pace.headReceived(now: Self.at(0))
        pace.requestEnded()
        pace.writabilityChanged(false, now: Self.at(1))
        #expect(pace.deadline == Self.at(21))
        pace.writabilityChanged(true, now: Self.at(20))
        #expect(pace.deadline == nil)
        pace.writabilityChanged(false, now: Self.at(22))
        #expect(pace.timerFired(now: Self.at(42), isReading: true) == .timedOut(beforeFirstRequest: false))
    }

    @Test func whoLeavesItsHalfOpenIsCutOff() {
        var pace = pace()
        pace.outputClosed(now: Self.at(3))
        #expect(pace.timerFired(now: Self.at(8), isReading: true) == .timedOut(beforeFirstRequest: true))
    }

    @Test func pipelinedRequestsAreCounted() {
        var pace = pace()
        for _ in 0..<2 {
            pace.headReceived(now: Self.at(1))
            pace.requestEnded()
        }
        pace.answerEnded(now: Self.at(2))
        #expect(!pace.isBetweenAnswers)
        pace.answerEnded(now: Self.at(3))
        #expect(pace.isBetweenAnswers && pace.deadline == Self.at(63))
    }
}

@Suite struct HTTPDateTests {
    static let rows: [(Int64, String)] = [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"), (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (1_795_251_180, "Sat, 21 Nov 2026 08:53:00 GMT"),
    ]

    @Test(arguments: rows) func datesAreWrittenAsHTTPWantsThem(seconds: Int64, text: String) {
        #expect(WallInstant(milliseconds: seconds * 1000 + 250).httpDate == text)
    }
}
