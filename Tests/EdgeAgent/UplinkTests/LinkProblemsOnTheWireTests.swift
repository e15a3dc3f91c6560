import BrokerKit
import Connectivity
import EdgeStore
import Foundation
import Outbox
import Testing
import Uplink

/// Each way in which a link can fail, on real sockets, by its exact text.
@Suite(.serialized) struct LinkProblemsOnTheWireTests {
    struct Row: Sendable, CustomTestStringConvertible {
        let certificate: String
        let text: String
        var testDescription: String { certificate }
    }

    static let rows: [Row] = [
        Row(
            certificate: TestCertificates.wrongHost,
            text: "The hub's certificate is not for the name localhost. Use a name that the certificate covers, or "
                + "give the hub a certificate for this one."),
        Row(
            certificate: TestCertificates.expired,
            text: "The certificate of localhost has expired. Renew it at the hub; if it should still be valid, check "
                + "this gateway's clock."),
        Row(
            certificate: TestCertificates.future,
            text: "The certificate of localhost is not valid yet. Check this gateway's clock; it is probably behind."),
    ]

    @Test(arguments: rows) func badCertificateIsNamed(row: Row) throws {
        let broker = try TestBroker(certificate: row.certificate)
        let bench = try UplinkBench()
        try bench.append(1)
        try bench.start(bench.settings(port: broker.port, caFile: broker.caFile))
        let found = try bench.waitForProblem().operatorText
        #expect(found == row.text)
        #expect(bench.log.all.contains { $0.hasPrefix("error no link to the hub") && $0.contains(row.text) })
        #expect(try bench.store.status().recordCount == 1)
    }

    @Test func unknownAuthorityIsNamedWithTheFileToMend() throws {
        let broker = try TestBroker(certificate: TestCertificates.stranger)
        let bench = try UplinkBench()
        try bench.start(bench.settings(port: broker.port, caFile: broker.caFile))
        let found = try bench.waitForProblem().operatorText
        #expect(
            found
                == "The certificate of localhost was signed by an authority that this gateway does not know. Copy the "
                + "hub's CA certificate to \(broker.caFile).")
    }

    @Test func systemAuthoritiesDoNotKnowATestAuthority() throws {
        let broker = try TestBroker()
        let bench = try UplinkBench()
        try bench.start(bench.settings(port: broker.port, caFile: nil))
        let found = try bench.waitForProblem()
        #expect(found == .unknownCertificateAuthority(host: "localhost", caFile: ""))
    }

    @Test func addressInTheCertificateIsEnough() throws {
        let broker = try TestBroker()
        let bench = try UplinkBench()
        try bench.start(
            bench.settings(host: "127.0.0.1", port: broker.port, caFile: broker.caFile))
        try waitUntil("the link is up") { bench.state == .connected }
    }

    @Test func refusedLoginIsNamed() throws {
        let broker = try TestBroker(extra: "allow_anonymous false")
        let bench = try UplinkBench()
        try bench.start(bench.settings(port: broker.port, caFile: broker.caFile))
        let found = try bench.waitForProblem()
        #expect(found == .notAuthorised(device: "gw"))
    }

    @Test func nobodyListeningIsNamed() throws {
        let bench = try UplinkBench()
        let port = try freePort()
        try bench.start(bench.settings(port: port, caFile: nil))
        let found = try bench.waitForProblem()
        #expect(found == .connectionRefused(host: "localhost", port: port))
    }

    @Test func unknownNameIsNamed() throws {
        let bench = try UplinkBench()
        try bench.start(bench.settings(host: "no-such-hub.invalid", port: 8883, caFile: nil))
        let found = try bench.waitForProblem()
        #expect(found == .nameNotResolved(host: "no-such-hub.invalid"))
    }

    @Test func plainTextPortIsNamed() throws {
        let folder = try makeTemporaryFolder("plain")
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let broker = try TestBroker(extra: "allow_anonymous true\nlistener \(try freePort()) 127.0.0.1")
        let configuration = try String(contentsOfFile: broker.folder + "/mosquitto.conf", encoding: .utf8)
        let line = try #require(configuration.split(separator: "\n").last { $0.hasPrefix("listener ") })
        let plainPort = try #require(Int(line.split(separator: " ")[1]))
        let bench = try UplinkBench()
        try bench.start(bench.settings(port: plainPort, caFile: broker.caFile))
        guard case .tlsFailed(host: "localhost", _) = try bench.waitForProblem() else {
            Issue.record("a port without TLS must be named so, got \(bench.state)")
            return
        }
    }

    @Test func missingFilesAreNamed() throws {
        let bench = try UplinkBench()
        try bench.start(bench.settings(port: 1, caFile: "/no/such/ca.pem"))
        guard case .credentialsUnusable(let detail) = try bench.waitForProblem() else {
            Issue.record("a missing CA file must be named, got \(bench.state)")
            return
        }
        #expect(detail.hasPrefix("the CA file /no/such/ca.pem cannot be read as PEM"))
    }

    @Test func hostThatDropsPacketsIsGivenUpInTime() throws {
        let silent = try SilentListener()
        let bench = try UplinkBench()
        var settings = bench.settings(port: silent.port, caFile: nil)
        settings.link.connectTimeMax = .milliseconds(600)
        try bench.start(settings)
        let found = try bench.waitForProblem()
        #expect(found == .unreachable(host: "localhost", port: silent.port, detail: "Connection timed out"))
    }

    @Test func hostThatDropsPacketsDoesNotDelayTheStop() throws {
        let silent = try SilentListener()
        let bench = try UplinkBench()
        try bench.start(bench.settings(port: silent.port, caFile: nil))
        try waitUntil("the connection is being tried") { silent.isTried }
        let before = Date()
        bench.stop(grace: .seconds(5))
        #expect(Date().timeIntervalSince(before) < 0.9)
        #expect(bench.log.all.allSatisfy { !$0.contains("left behind") })
    }

    @Test func stoppingWithoutALinkEndsAtOnce() throws {
        let bench = try UplinkBench()
        try bench.start(bench.settings(port: try freePort(), caFile: nil))
        _ = try bench.waitForProblem()
        let before = Date()
        bench.stop(grace: .seconds(5))
        #expect(Date().timeIntervalSince(before) < 2)
    }
}
