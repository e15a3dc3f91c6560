import ConfigText
import Foundation
import HubConfig
import Primitives
import Rules
import Testing

@Suite("The hub's configuration")
struct HubConfigTests {
    static func sample() throws -> String {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appending(path: "../../../Deploy/config/cloud-hub.toml").standardizedFileURL
        return try String(contentsOf: file, encoding: .utf8)
    }

    /// The sample with its keys and tables, but not its prose, uncommented.
    static func uncommented(_ text: String) -> String {
        text.split(separator: "\n").filter { !$0.hasPrefix("# ") }.map { $0.hasPrefix("#") ? $0.dropFirst() : $0 }
            .joined(separator: "\n")
    }

    @Test("an empty file and the sample as it is give the defaults")
    func defaults() throws {
        #expect(try HubConfig(toml: "") == HubConfig())
        #expect(try HubConfig(toml: Self.sample()) == HubConfig())
    }

    @Test("every key of the sample is known and stands there at its default")
    func sampleIsTrue() throws {
        var read = try HubConfig(toml: Self.uncommented(Self.sample()))
        #expect(read.hostname == "hub.example.com")
        #expect(read.crm?.scope == "https://contoso.crm4.dynamics.com/.default")
        #expect(read.crm?.clientSecretFile == "/etc/cloud-hub/crm-secret")
        #expect(read.rules.map(\.name) == ["cold-store"])
        #expect(read.rules.first?.runs == .hub)
        #expect(read.commands.map { [$0.name, $0.method] } == [["Open Valve", "openValve"]])
        // What has no default is only an example; all the rest must be what an absent key gives.
        read.hostname = nil
        read.crm = nil
        read.rules = []
        read.commands = []
        #expect(read == HubConfig())
    }

    @Test("all problems are told at once, with line, key path, given value and what is allowed")
    func problems() throws {
        let error = #expect(throws: ConfigError.self) {
            try HubConfig(
                toml: """
                    data = "here"
                    hostname = "hub:443"
                    log_level = "loud"
                    colour = "red"
                    [listeners]
                    mqtt = "8883"
                    http = "0.0.0.0:8088"
                    [limits]
                    connect_timeout = 10
                    [event_log]
                    partitions = 33
                    retention_bytes = "1KiB"
                    [crm]
                    url = "http://crm.example/api"
                    [[rule]]
                    name = "a"
                    metric = "t"
                    when = "around 7"
                    [[command]]
                    name = "Go"
                    method = "a/b"
                    """)
        }
        let lines = error?.description.split(separator: "\n").map(String.init) ?? []
        let expected = [
            "line 1: data = \"here\": expected an absolute path",
            "line 2: hostname = \"hub:443\": expected a host name or IP address without port",
            "line 3: log_level = \"loud\": expected one of \"trace\", \"debug\", \"info\", \"notice\", \"warning\", \"error\"",
            "line 4: colour: is not a known key; known at the top: cloud_to_device, command, connector, crm, data, event_log, files, hostname, limits, listeners, log_level, rule, throttles",
            "line 6: listeners.mqtt = \"8883\": expected an address and a port, such as \"127.0.0.1:8883\" or \"[::1]:443\"",
            "line 7: listeners.http = \"0.0.0.0:8088\": expected a loopback address and a port, such as \"127.0.0.1:8088\", or \"off\": without TLS the pages are for this machine only",
            "line 9: limits.connect_timeout = 10: expected a duration with its unit, such as \"90s\" or \"1h30m\", from 1s to 1m",
            "line 11: event_log.partitions = 33: expected a whole number from 1 to 32",
            "line 12: event_log.retention_bytes = \"1KiB\": expected an amount with its unit, such as \"64KiB\" or \"10GB\", from 16MiB to 16TiB",
            "line 13: crm.client_id: is missing; expected the application's id",
            "line 21: command[1].method = \"a/b\": expected a direct method's name: 1 to 64 characters without '/', '+' and '#'",
        ]
        for line in expected { #expect(lines.contains(line), "missing: \(line)\n\(error?.description ?? "")") }
        #expect(
            lines.contains {
                $0.hasPrefix("line 14: crm.url = \"http://crm.example/api\": expected the environment's address")
            })
        #expect(lines.contains { $0.hasPrefix("line 18: rule[1].when = \"around 7\": ") })
        #expect(lines.count == 15)
    }

    @Test(
        "the pages' plain listener can be off, and is never open to other machines",
        arguments: [
            ("off", true), ("127.0.0.1:0", true), ("[::1]:8088", true), ("localhost:1", true),
            ("127.0.0.1.example:80", false),
            ("127.example:80", false), ("0.0.0.0:80", false), ("[::]:80", false), ("192.0.2.1:80", false),
            ("::1:80", false),
        ])
    func plainListener(text: String, isAllowed: Bool) {
        let read = try? HubConfig(toml: "[listeners]\nhttp = \"\(text)\"")
        #expect((read != nil) == isAllowed)
        if text == "off" { #expect(read?.listeners.http == nil) }
    }

    @Test("the limits of TLS handshakes are what the file says")
    func handshakes() throws {
        let read = try HubConfig(toml: "[limits]\nhandshake_patience = \"20ms\"\nhandshakes_slow_max = 7").limits
        #expect(read.handshakePatience == .milliseconds(20) && read.handshakesSlowMax == 7)
        for text in ["handshake_patience = \"2s\"", "handshake_patience = \"1ms\"", "handshakes_slow_max = 0"] {
            #expect(throws: ConfigError.self, "\(text)") { try HubConfig(toml: "[limits]\n" + text) }
        }
    }

    @Test("files go into an Azure account when its name, container and key are given")
    func azureStore() throws {
        let azure = "[files.azure]\naccount = \"contoso\"\ncontainer = \"device-files\"\nkey_file = \"/etc/key\"\n"
        let read = try HubConfig(toml: "[files]\nstore = \"azure\"\nsas_lifetime = \"90s\"\n" + azure)
        #expect(read.files.azure?.host == "contoso.blob.core.windows.net" && read.files.lifetime == .seconds(90))
        #expect(read.files.azure?.account == "contoso" && read.files.azure?.keyFile == "/etc/key")
        let other = try HubConfig(toml: "[files]\nstore = \"azure\"\n" + azure + "host = \"blobs.example:10000\"\n")
        #expect(other.files.azure?.host == "blobs.example:10000")
        for text in [azure, "[files]\nstore = \"azure\"", "[files]\nstore = \"s3\"", "[files]\nsas_lifetime = \"1s\""] {
            #expect(throws: ConfigError.self, "\(text)") { try HubConfig(toml: text) }
        }
    }

    static let s3 = "[files.s3]\nendpoint = \"https://s3.example/\"\nbucket = \"a.b-1\"\nkey_file = \"/etc/key\"\n"

    @Test("files go into a bucket when its store, name and key are given")
    func s3Store() throws {
        let read = try HubConfig(toml: "[files]\nstore = \"s3\"\n" + Self.s3)
        #expect(read.files.s3?.endpoint == "https://s3.example" && read.files.s3?.region == "us-east-1")
        #expect(
            read.files.s3?.bucket == "a.b-1" && read.files.s3?.prefix == "" && read.files.s3?.isVirtualHost == false)
        #expect(read.files.s3?.keyFile == "/etc/key")
        #expect(read.files.azure == nil && read.files.s3?.caFile == nil)
        let more = "region = \"eu-1\"\nprefix = \"x/y/\"\naddressing = \"virtual-host\"\nca_file = \"/ca\"\n"
        let other = try HubConfig(toml: "[files]\nstore = \"s3\"\n" + Self.s3 + more).files.s3
        #expect(other?.region == "eu-1" && other?.prefix == "x/y/" && other?.isVirtualHost == true)
        #expect(other?.caFile == "/ca")
    }

    @Test(
        "a bucket that cannot be one is a problem, and so is one beside another store",
        arguments: [
            "store = \"s3\"\n", "store = \"directory\"\n" + s3, s3,
            "store = \"s3\"\n" + s3.replacing("https://s3.example/", with: "http://s3.example"),
            "store = \"s3\"\n" + s3.replacing("https://s3.example/", with: "https://s3.example/path"),
            "store = \"s3\"\n" + s3.replacing("a.b-1", with: "ab"),
            "store = \"s3\"\n" + s3.replacing("a.b-1", with: "Upper"),
            "store = \"s3\"\n" + s3.replacing("/etc/key", with: "key"),
            "store = \"s3\"\n" + s3 + "prefix = \"no-slash\"\n", "store = \"s3\"\n" + s3 + "prefix = \"../\"\n",
            "store = \"s3\"\n" + s3 + "secret = \"in the text\"\n",
        ])
    func s3Problems(text: String) {
        #expect(throws: ConfigError.self) { try HubConfig(toml: "[files]\n" + text) }
    }

    @Test("a store on this machine may go without TLS")
    func s3OnLoopback() throws {
        let text = "[files]\nstore = \"s3\"\n" + Self.s3.replacing("https://s3.example/", with: "http://127.0.0.1:9000")
        #expect(try HubConfig(toml: text).files.s3?.endpoint == "http://127.0.0.1:9000")
    }

    @Test("two rules or two commands of one name are a problem")
    func doubles() {
        let rule = "[[rule]]\nname = \"a\"\nmetric = \"t\"\nwhen = \"> 1\"\n"
        let error = #expect(throws: ConfigError.self) { try HubConfig(toml: rule + rule) }
        #expect(
            error?.description
                == "line 6: rule[2].name = \"a\": is the name of an earlier rule; every rule needs its own")
        let commands = "[[command]]\nname = \"Go\"\nmethod = \"a\"\n[[command]]\nname = \"GO\"\nmethod = \"b\"\n"
        #expect(throws: ConfigError.self) { try HubConfig(toml: commands) }
    }
}
