import BrokerKit
import Connectivity
import EdgeStore
import Foundation
import HubContract
import HubTransport
import JSON
import Outbox
import Primitives
import Telemetry
import Testing
import Uplink

/// The uplink against a real mosquitto over TLS.
@Suite(.serialized) struct UplinkTests {
    private func sequences(_ messages: [String]) throws -> [UInt64] {
        try messages.flatMap { line in
            let body = line.split(separator: " ", maxSplits: 1)[1]
            return try Batch(parsing: Array(body.utf8)).records.map(\.sequence)
        }
    }

    @Test func acknowledgedRecordsLeaveTheOutboxAndArriveAsBatches() throws {
        let broker = try TestBroker()
        try broker.collect(UplinkBench.eventsFilter, as: "ledger")
        let bench = try UplinkBench()
        try bench.append(100)
        try bench.start(bench.settings(port: broker.port, caFile: broker.caFile))
        try waitUntil("the backlog is acknowledged") { try bench.store.status().recordCount == 0 }
        try bench.append(20)
        try waitUntil("live records are acknowledged") { try bench.store.status().recordCount == 0 }
        #expect(bench.state == .connected)

        let messages = try broker.collected(as: "ledger", filter: UplinkBench.eventsFilter, count: 2)
        #expect(try sequences(messages) == Array(1...120))
        let topic = String(try #require(messages.first?.split(separator: " ").first))
        let (child, publish) = try HubTopics.publish(topic, from: HubIdentity(UplinkBench.gateway))
        #expect(child == nil)
        guard case .telemetry(let bagText) = publish else {
            Issue.record("\(topic) is not a telemetry topic")
            return
        }
        #expect(try PropertyBag(parsing: bagText).system("ct") == Batch.contentType)
    }

    @Test func brokerThatDiesAndReturnsLosesNothing() throws {
        let broker = try TestBroker()
        try broker.collect(UplinkBench.eventsFilter, as: "ledger")
        let bench = try UplinkBench()
        try bench.start(bench.settings(port: broker.port, caFile: broker.caFile))
        try bench.append(50)
        try waitUntil("the first records are acknowledged") { try bench.store.status().recordCount == 0 }
        broker.stop()
        for _ in 0..<20 { try bench.append(10) }
        _ = try bench.waitForProblem()
        #expect(try bench.store.status().recordCount == 200)
        try broker.start()
        try bench.append(7)
        try waitUntil("everything is acknowledged") { try bench.store.status().recordCount == 0 }
        let messages = try broker.collected(as: "ledger", filter: UplinkBench.eventsFilter, count: 100, seconds: 2)
        #expect(Set(try sequences(messages)) == Set(1...257))
    }

    @Test func brokerKilledAgainAndAgainKeepsWhatIsNotAcknowledged() throws {
        let broker = try TestBroker()
        let bench = try UplinkBench()
        try bench.start(bench.settings(port: broker.port, caFile: broker.caFile))
        for _ in 0..<4 {
            for _ in 0..<10 { try bench.append(25) }
            broker.kill()
            let kept = try bench.store.status().recordCount
            try bench.append(5)
            #expect(try bench.store.status().recordCount >= min(kept, 5))
            try broker.start()
            try waitUntil("everything is acknowledged") { try bench.store.status().recordCount == 0 }
        }
        #expect(try bench.store.status().nextSequence == 1021)
    }

    @Test func methodOnAChildIsAnsweredOnItsTopic() throws {
        let broker = try TestBroker()
        let bench = try UplinkBench()
        try bench.start(bench.settings(port: broker.port, caFile: broker.caFile))
        try waitUntil("the link is up") { bench.state == .connected }
        let request = HubTopics.child(UplinkBench.child, HubTopics.methodRequest(name: "SetValue", rid: "7"))
        let answer = HubTopics.child(UplinkBench.child, HubTopics.methodResponse(status: 200, rid: "7"))
        let printed = try broker.client(
            "mosquitto_rr", ["-t", request, "-e", answer, "-m", #"{"value":21}"#, "-W", "10"])
        #expect(printed == #"{"done":"SetValue"}"# + "\n")
        let call = try #require(bench.commands.seen.first)
        #expect(call.device == UplinkBench.child && call.name == "SetValue")
        #expect(call.payload == Array(#"{"value":21}"#.utf8))
    }

    @Test func methodOnTheGatewayIsAnsweredWithoutAPrefix() throws {
        let broker = try TestBroker()
        let bench = try UplinkBench()
        try bench.start(bench.settings(port: broker.port, caFile: broker.caFile))
        try waitUntil("the link is up") { bench.state == .connected }
        let printed = try broker.client(
            "mosquitto_rr",
            [
                "-t", HubTopics.methodRequest(name: "ping", rid: "x1"), "-e",
                HubTopics.methodResponse(status: 200, rid: "x1"), "-m", "{}", "-W", "10",
            ])
        #expect(printed == #"{"done":"ping"}"# + "\n")
        #expect(bench.commands.seen.first?.device == UplinkBench.gateway)
    }

    @Test func commandFromTheCloudIsExecutedOnceAndNotAfterItsEnd() throws {
        let broker = try TestBroker()
        let bench = try UplinkBench()
        try bench.start(bench.settings(port: broker.port, caFile: broker.caFile))
        try waitUntil("the link is up") { bench.state == .connected }
        func send(_ entries: [(String, String)]) throws {
            let bag = PropertyBag(entries.map { PropertyBag.Entry($0.0, $0.1) })
            let topic = HubTopics.cloudToDevice(to: HubIdentity(UplinkBench.child), bag: bag)
            try broker.client(
                "mosquitto_pub", ["-q", "1", "-t", HubTopics.child(UplinkBench.child, topic), "-m", "{}"])
        }
        try send([("$.mid", "late"), ("method-name", "Reset"), ("$.exp", "2026-01-01T00:00:00Z")])
        try send([("$.mid", "once"), ("method-name", "Reset"), ("$.exp", "2099-01-01T00:00:00Z")])
        try send([("$.mid", "once"), ("method-name", "Reset"), ("$.exp", "2099-01-01T00:00:00Z")])
        try send([("$.mid", "no-command")])
        try send([("$.mid", "last"), ("method-name", "Notify")])
        try waitUntil("the last command was executed") { bench.commands.seen.last?.name == "Notify" }
        #expect(bench.commands.seen.map(\.name) == ["Reset", "Notify"])
        #expect(bench.log.all.contains { $0.hasPrefix("warning a command came too late and was not executed") })
        #expect(bench.log.all.contains { $0.contains("it has no property method-name") })
    }

    /// mosquitto passes the requests on, and this test answers them as the hub would.
    @Test func twinIsFetchedAndToldWithEveryConnectionAndAfterADesiredChange() throws {
        let broker = try TestBroker()
        let (requests, reports) = ("$iothub/twin/GET/#", "$iothub/twin/PATCH/properties/reported/#")
        try broker.collect(requests, as: "requests")
        try broker.collect(reports, as: "reports")
        let bench = try UplinkBench()
        try bench.start(bench.settings(port: broker.port, caFile: broker.caFile))
        func send(_ topic: String, _ body: String) throws {
            try broker.client("mosquitto_pub", ["-q", "1", "-t", topic, "-m", body])
        }
        // At least once: a message that the collector has printed may come again.
        func waitForReport(_ rid: String, _ body: String) throws {
            let expected = HubTopics.reportedPatch(rid: rid) + " " + body
            try waitUntil("report \(rid)") {
                try broker.collected(as: "reports", filter: reports, count: 1, seconds: 1).contains(expected)
            }
        }
        let asked = try broker.collected(as: "requests", filter: requests, count: 1)
        #expect(asked == [HubTopics.twinGet(rid: "twin-1") + " "])
        try send(
            HubTopics.twinResponse(rid: "twin-1", status: 200, version: nil),
            #"{"desired":{"$version":4},"reported":{"$version":1}}"#)
        try waitForReport("twin-2", #"{"seen":4}"#)
        try send(HubTopics.twinResponse(rid: "twin-2", status: 204, version: 2), "")
        // What changed is not in the push for sure: the whole twin is asked for again.
        try send(HubTopics.desiredPush(version: 5), "{}")
        try waitUntil("the twin is asked for again") {
            try broker.collected(as: "requests", filter: requests, count: 1, seconds: 1).contains(
                HubTopics.twinGet(rid: "twin-3") + " ")
        }
        try send(
            HubTopics.twinResponse(rid: "twin-3", status: 200, version: nil),
            #"{"desired":{"$version":5},"reported":{"$version":2}}"#)
        try waitForReport("twin-4", #"{"seen":5}"#)
    }

    @Test func receiptIsKeptAndLogged() throws {
        let broker = try TestBroker()
        let bench = try UplinkBench()
        try bench.start(bench.settings(port: broker.port, caFile: broker.caFile))
        try waitUntil("the link is up") { bench.state == .connected }
        let receipt = Receipt(
            epoch: bench.store.epoch,
            entries: [
                Receipt.Entry(
                    run: Run(start: 5, count: 2), code: .childNotInScope, reason: "thermostat-9 is not a child of gw")
            ])
        let text = String(decoding: receipt.encoded(), as: UTF8.self)
        try broker.client("mosquitto_pub", ["-q", "1", "-t", HubTopics.receipts, "-m", text])
        try waitUntil("the receipt is kept") { try bench.store.receipts(countMax: 1).first?.bytes == Array(text.utf8) }
        try waitUntil("the receipt is logged") {
            bench.log.all.contains { $0.contains("in quarantine") && $0.contains("thermostat-9 is not a child of gw") }
        }
    }

    @Test func clientCertificateIsShownToTheHub() throws {
        let broker = try TestBroker(extra: "require_certificate true\nuse_identity_as_username true")
        let bench = try UplinkBench()
        let certificates = try TestCertificates.shared.get()
        var settings = bench.settings(port: broker.port, caFile: broker.caFile)
        settings.credentials = .certificate(
            ClientCertificate(
                file: certificates.certificate(TestCertificates.client),
                key: .file(certificates.key(TestCertificates.client))))
        try bench.start(settings)
        try bench.append(3)
        try waitUntil("the records are acknowledged") { try bench.store.status().recordCount == 0 }
    }

    @Test func tokenIsRenewedWithANewConnection() throws {
        let broker = try TestBroker()
        let bench = try UplinkBench()
        var settings = bench.settings(port: broker.port, caFile: broker.caFile)
        settings.tokenLifetime = .seconds(1)
        try bench.start(settings)
        try waitUntil("the token was renewed twice") {
            bench.log.all.count { $0.hasPrefix("info connected to the hub") } >= 3
        }
        try bench.append(3)
        try waitUntil("the records are acknowledged") { try bench.store.status().recordCount == 0 }
    }

    @Test func neitherKeyNorTokenReachesTheLog() throws {
        let broker = try TestBroker()
        let bench = try UplinkBench()
        try bench.start(bench.settings(port: broker.port, caFile: broker.caFile))
        try bench.append(3)
        try waitUntil("the records are acknowledged") { try bench.store.status().recordCount == 0 }
        broker.kill()
        _ = try bench.waitForProblem()
        let text = bench.log.all.joined(separator: "\n")
        #expect(!text.isEmpty)
        #expect(!text.contains("SharedAccessSignature") && !text.contains("sig=") && !text.contains("thirty-two"))
    }
}
