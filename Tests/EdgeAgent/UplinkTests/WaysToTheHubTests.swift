import BrokerKit
import Connectivity
import EdgeStore
import Foundation
import HubTransport
import Outbox
import Testing
import Uplink

/// The ways to the hub beside plain MQTT over TLS, and short handshakes, against real servers.
@Suite(.serialized) struct WaysToTheHubTests {
    /// mosquitto with a second listener, for WebSockets.
    private func webSocketBroker() throws -> (broker: TestBroker, port: Int) {
        let certificates = try TestCertificates.shared.get()
        let port = try freePort()
        let extra = """
            allow_anonymous true
            listener \(port) 127.0.0.1
            protocol websockets
            cafile \(certificates.caFile)
            certfile \(certificates.certificate(TestCertificates.right))
            keyfile \(certificates.key(TestCertificates.right))
            """
        return (try TestBroker(extra: extra), port)
    }

    @Test func webSocketCarriesBatchesOfEverySizeAndCommands() throws {
        let (broker, port) = try webSocketBroker()
        let bench = try UplinkBench()
        var settings = bench.settings(port: port, caFile: broker.caFile)
        settings.inner = .webSocket(path: HubEndpoint.webSocketPath)
        try bench.append(5000)
        try bench.start(settings)
        try waitUntil("the backlog is acknowledged") { try bench.store.status().recordCount == 0 }
        try bench.append(1)
        try waitUntil("a live record is acknowledged") { try bench.store.status().recordCount == 0 }
        let printed = try broker.client(
            "mosquitto_rr",
            [
                "-t", "$iothub/methods/POST/ping/?$rid=1", "-e", "$iothub/methods/res/200/?$rid=1", "-m", "{}", "-W",
                "10",
            ])
        #expect(printed == #"{"done":"ping"}"# + "\n")
    }

    @Test func portWithoutWebSocketsIsNamed() throws {
        let broker = try TestBroker()
        let bench = try UplinkBench()
        var settings = bench.settings(port: broker.port, caFile: broker.caFile)
        settings.inner = .webSocket(path: HubEndpoint.webSocketPath)
        try bench.start(settings)
        // mosquitto takes the request for a broken CONNECT and hangs up.
        let found = try bench.waitForProblem()
        #expect(
            found == .lost(detail: "the hub closed the connection")
                || found == .lost(detail: "Connection reset by peer"))
    }

    @Test func deadProxyIsNamed() throws {
        let bench = try UplinkBench()
        var settings = bench.settings(port: 8883, caFile: nil)
        let port = try freePort()
        settings.proxy = HubEndpoint.Proxy(host: "127.0.0.1", port: port)
        try bench.start(settings)
        let found = try bench.waitForProblem()
        #expect(found == .proxyFailed(proxy: "127.0.0.1:\(port)", detail: "Connection refused"))
        #expect(
            found.operatorText
                == "The proxy 127.0.0.1:\(port) cannot be used: Connection refused. Check the proxy in the configuration, "
                + "and the network between gateway and proxy.")
    }

    @Test func proxyWithoutANameIsNamed() throws {
        let bench = try UplinkBench()
        var settings = bench.settings(port: 8883, caFile: nil)
        settings.proxy = HubEndpoint.Proxy(host: "no-such-proxy.invalid", port: 3128)
        try bench.start(settings)
        let found = try bench.waitForProblem()
        #expect(
            found == .proxyFailed(proxy: "no-such-proxy.invalid:3128", detail: "its name cannot be resolved"))
    }

    // MARK: Short handshakes

    private func handshakes(_ bench: UplinkBench) -> [String] {
        bench.log.all.compactMap { line in
            guard line.hasPrefix("debug how the connection came up") else { return nil }
            return line.contains("handshake=short") ? "short" : "full"
        }
    }

    @Test(arguments: ["tlsv1.2", "tlsv1.3"]) func nextConnectionsShakeHandsShortly(version: String) throws {
        let broker = try TestBroker(extra: "allow_anonymous true\ntls_version \(version)")
        let bench = try UplinkBench()
        var settings = bench.settings(port: broker.port, caFile: broker.caFile)
        settings.tokenLifetime = .seconds(1)
        try bench.start(settings)
        try waitUntil("three connections") { handshakes(bench).count >= 3 }
        let found = handshakes(bench)
        #expect(found.first == "full" && found.dropFirst().allSatisfy { $0 == "short" }, "\(found)")
        try bench.append(3)
        try waitUntil("the records are acknowledged") { try bench.store.status().recordCount == 0 }
    }

    /// A session is as good as the authorities that it was checked against.
    @Test func anotherFileOfAuthoritiesAsksForAFullHandshake() throws {
        let broker = try TestBroker()
        let bench = try UplinkBench()
        let caFile = bench.folder + "/ca.pem"
        try FileManager.default.copyItem(atPath: broker.caFile, toPath: caFile)
        try bench.start(bench.settings(port: broker.port, caFile: caFile))
        try waitUntil("the link is up") { handshakes(bench) == ["full"] }
        let other = try TestCertificates.shared.get().folder + "/other.pem"
        try FileManager.default.removeItem(atPath: caFile)
        try FileManager.default.copyItem(atPath: other, toPath: caFile)
        broker.stop()
        try broker.start()
        try waitUntil("the broker is a stranger now") {
            bench.state == .waiting(.unknownCertificateAuthority(host: "localhost", caFile: caFile))
        }
        try FileManager.default.removeItem(atPath: caFile)
        try FileManager.default.copyItem(atPath: broker.caFile, toPath: caFile)
        try waitUntil("the link is up again") { handshakes(bench) == ["full", "full"] }
    }

    @Test func serverThatForgotItsSessionsIsReachedAllTheSame() throws {
        let broker = try TestBroker()
        let bench = try UplinkBench()
        try bench.start(bench.settings(port: broker.port, caFile: broker.caFile))
        for round in 1...3 {
            try waitUntil("connection \(round)") { handshakes(bench).count >= round }
            broker.kill()
            _ = try bench.waitForProblem()
            try broker.start()
        }
        try bench.append(3)
        try waitUntil("the records are acknowledged") { try bench.store.status().recordCount == 0 }
    }

    // MARK: Acknowledgements by hand

    /// The broker repeats a command until it is durable here, and the link stays up meanwhile.
    @Test func aCommandThatCannotBeKeptIsNotAcknowledgedUntilItIs() throws {
        let broker = try TestBroker()
        let bench = try UplinkBench()
        // What the store says when its disk is full, for commands alone.
        try bench.sql("CREATE TRIGGER full BEFORE INSERT ON command BEGIN SELECT RAISE(ABORT, 'no room'); END")
        try bench.start(bench.settings(port: broker.port, caFile: broker.caFile))
        try waitUntil("the link is up") { bench.state == .connected }
        try broker.client(
            "mosquitto_pub",
            ["-q", "1", "-t", "devices/gw/messages/devicebound/%24.mid=m1&method-name=Reset", "-m", "{}"])
        try waitUntil("the refusal is told") {
            bench.log.all.contains { $0.hasPrefix("error a command could not be kept") }
        }
        try bench.append(3)
        try waitUntil("records go on meanwhile") { try bench.store.status().recordCount == 0 }
        // Not acknowledged: another connection of ours gets it again.
        broker.stop()
        _ = try bench.waitForProblem()
        try broker.start()
        try waitUntil("the refusal is told again") {
            bench.log.all.count { $0.hasPrefix("error a command could not be kept") } >= 2
        }
        #expect(bench.commands.seen.isEmpty)
        try bench.sql("DROP TRIGGER full")
        try waitUntil("the command is executed") { bench.commands.seen.map(\.name) == ["Reset"] }
        #expect(bench.log.all.contains { $0.hasPrefix("info a command could be kept at last") })
    }
}
