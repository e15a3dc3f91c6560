import BrokerKit
import FieldKit
import Primitives
import SouthboundAPI
import Telemetry
import Testing

@testable import LocalMQTT

/// Against a real mosquitto.
@Suite(.serialized) struct LocalMQTTDriverTests {
    private func config(_ port: UInt16) throws -> LocalMQTTConfig {
        var mapping = TopicMapping(template: try #require(TopicTemplate("plant/{device}/state")))
        mapping.units = ["temperature": "Cel"]
        var config = LocalMQTTConfig(
            name: "plant", host: "localhost", port: port, clientID: "gateway-test", topics: [mapping])
        config.reconnectFirst = .milliseconds(50)
        config.reconnectMost = .milliseconds(200)
        return config
    }

    private func started(
        _ config: LocalMQTTConfig, _ sink: RecordingSink, _ log: LogBook = LogBook()
    ) throws -> LocalMQTTDriver {
        let driver = try LocalMQTTDriver(config: config, clock: .system, logger: log.logger)
        try driver.start(into: sink)
        return driver
    }

    private func connected(_ driver: LocalMQTTDriver, times: UInt64 = 1) throws {
        try waitUntil("the driver is connected") { driver.counters.connections >= times }
    }

    @Test func aMessageBecomesReadingsWithUnitAndHealth() throws {
        let broker = try LocalBroker()
        let sink = RecordingSink()
        let driver = try started(try config(broker.port), sink)
        defer { driver.stop() }
        try connected(driver)
        try broker.publish("plant/t-1/state", #"{"temperature":71.250,"relay":false}"#)
        try waitUntil("two readings came") { sink.readings.count == 2 }
        #expect(sink.values("temperature", of: "t-1") == ["71.250"])
        #expect(sink.readings.first?.unit == "Cel")
        #expect(sink.lastHealth(of: "t-1")?.answers == true)
        #expect(driver.serves(try device("t-1")))
        #expect(!driver.serves(try device("t-2")))
    }

    @Test func aDeviceThatWasHeardIsServedByTheNextRunBeforeItIsHeardAgain() throws {
        let broker = try LocalBroker()
        let sink = RecordingSink()
        let first = try started(try config(broker.port), sink)
        defer { first.stop() }
        try connected(first)
        sink.set(.refuse)
        try broker.publish("plant/t-1/state", #"{"a":1}"#)
        try waitUntil("the sink has refused it") { first.counters.connections >= 2 }
        sink.set(.keep)
        try waitUntil("it is kept after all") { sink.learned == [try device("t-1")] }
        let kept = try #require(sink.learned)
        let next = try LocalMQTTDriver(
            config: try config(broker.port), clock: .system, logger: LogBook().logger, learned: kept)
        #expect(next.serves(try device("t-1")))
        var fixed = try config(broker.port)
        fixed.topics = [TopicMapping(template: try #require(TopicTemplate("plant/x")), device: try device("t-9"))]
        let changed = try LocalMQTTDriver(config: fixed, clock: .system, logger: LogBook().logger, learned: kept)
        #expect(!changed.serves(try device("t-1")), "the configuration no longer listens to it")
    }

    @Test func learnedDevicesAreBoundedAndTheOldestGoes() throws {
        var learned = LearnedDevices(
            kept: [try device("a"), try device("b"), try device("c")], configured: [try device("z")], countMax: 2)
        #expect(learned.devices.map(\.text) == ["b", "c"])
        learned.heard(try device("b"))
        learned.heard(try device("z"))
        #expect(!learned.isChanged)
        learned.heard(try device("d"))
        #expect(learned.isChanged)
        #expect(learned.devices.map(\.text) == ["c", "d"])
    }

    /// The rule of the house: the broker keeps the message until the sink has it. A sink that never returns is a
    /// gateway that dies before its commit.
    @Test func theBrokerIsAcknowledgedOnlyWhenTheReadingIsDurable() throws {
        let broker = try LocalBroker()
        let sink = RecordingSink()
        sink.set(.hold)
        let first = try started(try config(broker.port), sink)
        try connected(first)
        try broker.publish("plant/t-1/state", #"{"temperature":1}"#)
        try waitUntil("the driver waits for the sink") { sink.isHolding }

        // The same session, taken by another client while the first one still holds the message: what was not
        // acknowledged comes again.
        let again = try broker.collected("plant/+/state", as: "gateway-test", count: 1)
        #expect(again == [#"plant/t-1/state {"temperature":1}"#])
        sink.set(.keep)
        first.stop()
    }

    @Test func whatTheSinkRefusesComesAgainAndIsKeptOnce() throws {
        let broker = try LocalBroker()
        let sink = RecordingSink()
        let log = LogBook()
        let driver = try started(try config(broker.port), sink, log)
        defer { driver.stop() }
        try connected(driver)
        sink.set(.refuse)
        try broker.publish("plant/t-1/state", #"{"temperature":5}"#)
        try waitUntil("the driver has dropped the connection") { driver.counters.connections >= 2 }
        #expect(sink.readings.isEmpty)
        sink.set(.keep)
        try waitUntil("the reading came after all") { !sink.readings.isEmpty }
        try broker.publish("plant/t-1/state", #"{"temperature":6}"#)
        try waitUntil("the next one came") { sink.values("temperature").contains("6") }
        #expect(sink.values("temperature") == ["5", "6"])
        #expect(log.text.contains("the readings cannot be kept: the disk is full"))
    }

    /// Reading goes on while the disk works, and each message is acknowledged for itself, in order.
    @Test func aSlowDiskHoldsUpNoReadingAndAcknowledgementsFollowTheDisk() throws {
        let broker = try LocalBroker()
        let sink = RecordingSink()
        sink.set(.hold)
        let driver = try started(try config(broker.port), sink)
        try connected(driver)
        for number in 1...3 {
            try broker.publish("plant/t-1/state", "{\"n\":\(number)}")
            try waitUntil("it was handed over, whatever waits before it") { sink.heldReadings.count == number }
        }
        #expect(sink.heldCount == 3)
        sink.keepOldest()
        try waitUntil("the driver knows it") { driver.counters.readings == 1 }
        // Another client takes the session: what was not acknowledged comes again.
        let again = try broker.collected("plant/+/state", as: "gateway-test", count: 2)
        #expect(again == [#"plant/t-1/state {"n":2}"#, #"plant/t-1/state {"n":3}"#])
        sink.set(.refuse)
        driver.stop()
    }

    @Test func aRefusalInTheMiddleTakesAllBehindItAndTheyComeAgainOnce() throws {
        let broker = try LocalBroker()
        let sink = RecordingSink()
        sink.set(.hold)
        let driver = try started(try config(broker.port), sink)
        defer { driver.stop() }
        try connected(driver)
        for number in 1...4 {
            try broker.publish("plant/t-1/state", "{\"n\":\(number)}")
            try waitUntil("it was handed over") { sink.heldReadings.count == number }
        }
        sink.keepOldest()
        sink.set(.refuse)
        sink.set(.keep)
        try waitUntil("all are kept") { sink.readings.count >= 4 }
        try broker.publish("plant/t-1/state", #"{"n":5}"#)
        try waitUntil("the next one came") { sink.values("n").contains("5") }
        #expect(sink.values("n") == ["1", "2", "3", "4", "5"])
    }

    /// It gave nothing to keep, and still waits for its turn: the one before it is not kept.
    @Test func aMessageThatCannotBeReadBehindARefusedOneHidesNothing() throws {
        let broker = try LocalBroker()
        let sink = RecordingSink()
        sink.set(.hold)
        let driver = try started(try config(broker.port), sink)
        defer { driver.stop() }
        try connected(driver)
        try broker.publish("plant/t-1/state", #"{"n":1}"#)
        try waitUntil("it was handed over") { sink.heldReadings.count == 1 }
        try broker.publish("plant/t-1/state", #"{"n":"#)
        try waitUntil("it was looked at") { driver.counters.refused == 1 }
        sink.set(.refuse)
        try waitUntil("the connection was dropped") { driver.counters.connections >= 2 }
        sink.set(.keep)
        try broker.publish("plant/t-1/state", #"{"n":2}"#)
        try waitUntil("the next one came") { sink.values("n").contains("2") }
        #expect(sink.values("n") == ["1", "2"])
        #expect(driver.counters.repeats == 0)
    }

    @Test func aBrokerThatWaitsForAcknowledgementsIsNotLeftWaitingForTheInterval() throws {
        let broker = try LocalBroker(settings: ["allow_anonymous true", "max_inflight_messages 5"])
        let sink = RecordingSink()
        sink.set(.hold)
        var config = try config(broker.port)
        config.inflightMax = 5
        let driver = try started(config, sink)
        defer { driver.stop() }
        try connected(driver)
        try broker.publish("plant/t-1/state", lines: (1...4).map { "{\"n\":\($0)}" })
        try waitUntil("four are on their way") { sink.heldReadings.count == 4 }
        #expect(sink.hurries == 0)
        try broker.publish("plant/t-1/state", lines: (5...12).map { "{\"n\":\($0)}" })
        try waitUntil("the driver cannot wait any longer") { sink.hurries > 0 }
        #expect(sink.heldReadings.count == 5)
        sink.set(.keep)
        try waitUntil("all are kept") { sink.readings.count == 12 }
        #expect(sink.values("n") == (1...12).map(String.init))
    }

    @Test func aMessageThatIsFarTooLargeIsNamedAndTheNextOnePasses() throws {
        let broker = try LocalBroker()
        let sink = RecordingSink()
        let log = LogBook()
        let driver = try started(try config(broker.port), sink, log)
        defer { driver.stop() }
        try connected(driver)
        try broker.publish("plant/t-1/state", lines: [String(repeating: "9", count: 900_000), #"{"n":1}"#])
        try waitUntil("the good one came") { sink.values("n") == ["1"] }
        #expect(driver.counters.refused == 1)
        #expect(log.text.contains("problem=the payload has 900000 bytes, most is 262144 topic=plant/t-1/state"))
        #expect(driver.counters.connections == 1, "the connection stands")
    }

    @Test func messagesOfTheTimeWithoutTheGatewayAreKeptByTheBroker() throws {
        let broker = try LocalBroker()
        let sink = RecordingSink()
        let first = try started(try config(broker.port), sink)
        try connected(first)
        first.stop()
        try broker.publish("plant/t-1/state", lines: (1...200).map { "{\"n\":\($0)}" })
        #expect(sink.readings.isEmpty)
        let second = try started(try config(broker.port), sink)
        defer { second.stop() }
        try waitUntil("all came") { sink.readings.count >= 200 }
        #expect(sink.values("n") == (1...200).map(String.init))
    }

    /// A crash after the commit and before the acknowledgement: the broker repeats, the mark knows it.
    @Test func aRepeatOfWhatWasKeptIsDropped() throws {
        let broker = try LocalBroker()
        let sink = RecordingSink()
        let dying = CrashAfterCommitSink(sink)
        let first = try LocalMQTTDriver(config: try config(broker.port), clock: .system, logger: LogBook().logger)
        try first.start(into: dying)
        try connected(first)
        try broker.publish("plant/t-1/state", #"{"n":1}"#)
        try waitUntil("it was kept") { sink.readings.count == 1 }
        try waitUntil("the connection was dropped without the acknowledgement") { dying.crashes >= 1 }
        first.stop()
        let second = try started(try config(broker.port), sink)
        defer { second.stop() }
        try waitUntil("the broker repeated it") { second.counters.repeats == 1 }
        try broker.publish("plant/t-1/state", #"{"n":2}"#)
        try waitUntil("the next one came") { sink.values("n").contains("2") }
        #expect(sink.values("n") == ["1", "2"])
    }

    @Test func aMessageThatCannotBeReadIsNamedAndTheNextOnePasses() throws {
        let broker = try LocalBroker()
        let sink = RecordingSink()
        let log = LogBook()
        var config = try config(broker.port)
        config.payloadBytesMax = 100
        let driver = try started(config, sink, log)
        defer { driver.stop() }
        try connected(driver)
        for _ in 0..<3 { try broker.publish("plant/t-1/state", #"{"temperature":"#) }
        try broker.publish("plant/t-2/state", #"{"text":"\#(String(repeating: "x", count: 200))"}"#)
        try broker.publish("plant/t-1/state", #"{"temperature":7}"#)
        try waitUntil("the good one came") { sink.values("temperature") == ["7"] }
        #expect(driver.counters.refused == 4)
        #expect(log.count(of: "topic=plant/t-1/state") == 1, "one warning a topic, not one a message")
        #expect(
            log.text.contains(
                "a local MQTT message cannot be read and is left out; mend the sensor or the topic mapping "
                    + "broker=localhost:\(broker.port) driver=plant more_since_last=0 "
                    + "problem=JSON is broken at byte 15: the text ends in the middle of a value topic=plant/t-1/state")
        )
        #expect(log.text.contains("problem=the payload has 211 bytes, most is 100 topic=plant/t-2/state"))
    }

    @Test func aBrokerThatComesLaterIsFoundAndItsAbsenceIsExplained() throws {
        let broker = try LocalBroker(isStarted: false)
        let sink = RecordingSink()
        let log = LogBook()
        var config = try config(broker.port)
        config.topics = [TopicMapping(template: try #require(TopicTemplate("plant/x")), device: try device("t-9"))]
        let driver = try started(config, sink, log)
        defer { driver.stop() }
        try waitUntil("the device counts as silent") { sink.lastHealth(of: "t-9")?.answers == false }
        let reason = "localhost:\(broker.port) does not take the connection: Connection refused"
        #expect(
            log.text.contains(
                "no connection to the local broker; will keep trying advice=check that the broker runs there "
                    + "(systemctl status mosquitto) and that host and port are right broker=localhost:\(broker.port) "
                    + "driver=plant reason=\(reason)"))
        #expect(log.count(of: "no connection to the local broker") == 1, "a long outage is one line")
        try broker.start()
        try connected(driver)
        try broker.publish("plant/x", #"{"a":1}"#)
        try waitUntil("the device is heard") { sink.lastHealth(of: "t-9")?.answers == true }
    }

    @Test func devicesAreSilentAlsoWhenEveryTryFailsInAnotherWay() throws {
        let broker = try FickleBroker()
        let sink = RecordingSink()
        var config = try config(broker.port)
        config.topics = [TopicMapping(template: try #require(TopicTemplate("plant/x")), device: try device("t-9"))]
        let driver = try started(config, sink)
        defer { driver.stop() }
        try waitUntil("the device counts as silent") {
            broker.refuseNext()
            try #require(broker.refusedCount < 20, "twenty tries have failed")
            return sink.lastHealth(of: "t-9")?.answers == false
        }
    }

    @Test func aBrokerThatDiesIsConnectedAgain() throws {
        let broker = try LocalBroker()
        let sink = RecordingSink()
        let driver = try started(try config(broker.port), sink)
        defer { driver.stop() }
        try connected(driver)
        broker.stop()
        try broker.start()
        try connected(driver, times: 2)
        try broker.publish("plant/t-1/state", #"{"a":1}"#)
        try waitUntil("the reading came") { sink.values("a") == ["1"] }
    }

    @Test func aRefusedPasswordSaysWhatToCheck() throws {
        let broker = try LocalBroker(settings: ["allow_anonymous false"])
        let log = LogBook()
        let driver = try started(try config(broker.port), RecordingSink(), log)
        defer { driver.stop() }
        try waitUntil("it is explained") { log.text.contains("the broker does not authorise this client") }
        #expect(log.text.contains("check user_name, password and the broker's access rules"))
    }

    @Test func aRetainedMessageIsOfUncertainQuality() throws {
        let broker = try LocalBroker()
        try broker.publish("plant/t-1/state", #"{"a":1}"#, options: ["-r"])
        let sink = RecordingSink()
        let driver = try started(try config(broker.port), sink)
        defer { driver.stop() }
        try waitUntil("it came") { sink.values("a") == ["1"] }
        #expect(sink.readings.first?.quality == .uncertain)
    }

    // MARK: Actuations and commands

    @Test func anActionFromInsideTheSinkIsPublished() throws {
        let broker = try LocalBroker()
        try broker.collect("relay/#", as: "watcher")
        let sink = RecordingSink()
        let driver = try started(try config(broker.port), sink)
        defer { driver.stop() }
        try connected(driver)
        try driver.perform(.publish(topic: "relay/1", payload: Array("on".utf8), isRetained: false))
        #expect(try broker.collected("relay/#", as: "watcher", count: 1) == ["relay/1 on"])
        #expect(throws: DriverError.self) { try driver.perform(.publish(topic: "a/#", payload: [], isRetained: false)) }
        #expect(throws: DriverError.self) {
            try driver.perform(.write(device: try device("x"), register: "r", value: .boolean(true)))
        }
    }

    @Test func actionsOfAnOutageFoldAndAreSentAfterwards() throws {
        let broker = try LocalBroker()
        try broker.collect("relay/#", as: "watcher")
        broker.stop()
        let driver = try started(try config(broker.port), RecordingSink())
        defer { driver.stop() }
        for value in ["on", "off", "on"] {
            try driver.perform(.publish(topic: "relay/1", payload: Array(value.utf8), isRetained: false))
        }
        for index in 2...Mailbox.actuationsMax {
            try driver.perform(.publish(topic: "relay/\(index)", payload: [], isRetained: false))
        }
        #expect(throws: DriverError(.queueFull, doing: "publish a local action", which: "relay/0")) {
            try driver.perform(.publish(topic: "relay/0", payload: [], isRetained: false))
        }
        try broker.start()
        #expect(try broker.collected("relay/#", as: "watcher", count: 2).first == "relay/1 on")
    }

    private func commandConfig(_ port: UInt16, answerTopic: String? = nil) throws -> LocalMQTTConfig {
        var config = try config(port)
        config.commands = [
            CommandRoute(
                command: "SetValue", topic: TextTemplate("plant/{device}/cmd/set"),
                payload: TextTemplate(#"{"id":{id},"target":{payload.target}}"#),
                answerTopic: answerTopic.map { TextTemplate($0) })
        ]
        return config
    }

    private func setValue(_ driver: LocalMQTTDriver, _ outcomes: Outcomes, within: Duration = .seconds(10)) throws {
        driver.command(
            DeviceCommand(
                device: try device("t-1"), name: "SetValue", payload: Array(#"{"target":22.5}"#.utf8),
                deadline: DriverClock.system.monotonic() + within)
        ) { outcomes.add($0) }
    }

    @Test func aCommandIsExecutedWhenTheBrokerHasIt() throws {
        let broker = try LocalBroker()
        try broker.collect("plant/+/cmd/#", as: "watcher")
        let driver = try started(try commandConfig(broker.port), RecordingSink())
        defer { driver.stop() }
        let outcomes = Outcomes()
        try setValue(driver, outcomes)
        try waitUntil("it ended") { !outcomes.list.isEmpty }
        #expect(outcomes.list == [.executed(answer: nil)])
        #expect(
            try broker.collected("plant/+/cmd/#", as: "watcher", count: 1)
                == [#"plant/t-1/cmd/set {"id":1,"target":22.5}"#])
    }

    @Test func aCommandIsExecutedWhenTheDeviceAnswersAndFailedWhenNot() throws {
        let broker = try LocalBroker()
        let driver = try started(try commandConfig(broker.port, answerTopic: "plant/{device}/answer"), RecordingSink())
        defer { driver.stop() }
        try connected(driver)
        let answered = Outcomes()
        try setValue(driver, answered)
        try broker.publish("plant/t-1/answer", #"{"id":1,"done":"set"}"#)
        try waitUntil("it ended") { !answered.list.isEmpty }
        #expect(answered.list == [.executed(answer: Array(#"{"id":1,"done":"set"}"#.utf8))])
        let silent = Outcomes()
        try setValue(driver, silent, within: .milliseconds(300))
        try waitUntil("it ended") { !silent.list.isEmpty }
        #expect(
            silent.list == [
                .failed(reason: "the broker took the command, but no answer came on plant/t-1/answer in time")
            ])
        #expect(driver.counters.refused == 0, "answers are no readings that failed")
    }

    @Test func aCommandExpiresWhenTheBrokerDoesNotComeAndIsNotSentLater() throws {
        let broker = try LocalBroker()
        try broker.collect("plant/+/cmd/#", as: "watcher")
        broker.stop()
        let driver = try started(try commandConfig(broker.port), RecordingSink())
        let outcomes = Outcomes()
        try setValue(driver, outcomes, within: .milliseconds(200))
        try waitUntil("it ended") { !outcomes.list.isEmpty }
        #expect(
            outcomes.list == [
                .expired(
                    reason: "the local broker at localhost:\(broker.port) could not be reached within the time limit")
            ])
        try broker.start()
        try connected(driver)
        try driver.perform(.publish(topic: "plant/t-1/cmd/later", payload: Array("x".utf8), isRetained: false))
        #expect(
            try broker.collected("plant/+/cmd/#", as: "watcher", count: 1) == ["plant/t-1/cmd/later x"],
            "the expired command was not sent")
        try setValue(driver, outcomes)
        driver.stop()
        #expect(outcomes.list.count == 2, "stop ends what waits")
    }
}

/// Keeps the first delivery and then fails, as a process that dies between commit and acknowledgement.
final class CrashAfterCommitSink: ReadingSink {
    private let inner: RecordingSink

    init(_ inner: RecordingSink) { self.inner = inner }

    var crashes: Int { inner.readings.isEmpty ? 0 : 1 }

    func accept(_ delivery: Delivery, ended: @escaping @Sendable (SinkError?) -> Void) {
        if inner.readings.isEmpty { inner.accept(delivery) { _ in } }
        ended(SinkError(.storeFailed, detail: "killed"))
    }

    func hurry() {}

    func lastMark(of driver: String) -> [UInt8]? { inner.lastMark(of: driver) }
}
