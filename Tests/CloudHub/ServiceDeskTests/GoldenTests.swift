import DeskTestKit
import Glibc
import JSON
import Primitives
import ServiceDesk
import Testing

/// Requests and answers in the forms of the public documentation, replayed against a live desk.
///
/// A case is a folder with three files. `request.http` holds method and path after `/api/data/v9.2/` (or from `/` on),
/// headers, and the body; a header `Desk-Throttle: <kind> <seconds>` makes the desk refuse it so, `Desk-Rows: n` adds alerts
/// `row 1` … `row n` first. `response.http` holds the status, the headers and the members of the body that must be there;
/// `"<any>"` stands for any value, `"<none>"` for none, `"<starts>…"` for a text that begins so. `{origin}`, `{tenant}`,
/// `{client}` and `{secret}` are filled in. `source.txt` names each page by title, section and address, and says which parts
/// of the answer it shows and which no page shows.
///
/// The desk holds one device (`…d1`), one alert (`…a1`) and one command (`…c1`).
@Suite struct GoldenTests {
    static let folder = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    static var root: String { "/" + folder + "/Golden/dataverse" }

    static var cases: [String] {
        guard let directory = opendir(root) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted()
    }

    @Test func thereAreCases() { #expect(Self.cases.count >= 60) }

    @Test(arguments: cases) func namesItsPages(_ name: String) throws {
        let lines = try text(name, "source.txt").split(separator: "\n")
        func values(_ key: String) -> [Substring] {
            lines.filter { $0.hasPrefix(key + ": ") }.map { $0.dropFirst(key.count + 2) }
        }
        #expect(!values("page").isEmpty && values("page").count == values("address").count)
        #expect(values("page").allSatisfy { $0.contains(" — ") }, "a page is named with its section")
        #expect(values("address").allSatisfy { $0.hasPrefix("https://") })
        #expect(values("shows").count == 1)
        #expect(values("not shown").count <= 1)
    }

    @Test(arguments: cases) func answersAsDocumented(_ name: String) async throws {
        let folder = TemporaryFolder()
        let live = try await LiveDesk.start(folder: folder.path)
        do {
            try await replay(name, live)
        } catch {
            try await live.stop()
            throw error
        }
        try await live.stop()
    }

    private func replay(_ name: String, _ live: LiveDesk) async throws {
        let caller = try await DeskCaller(live)
        try await seed(caller)
        let request = try Message(text(name, "request.http").filling(live))
        let expected = try Message(text(name, "response.http").filling(live))
        let answer = try await send(request, caller, live)
        #expect("\(answer.status)" == expected.first, "\(String(decoding: answer.body, as: UTF8.self))")
        for (header, wanted) in expected.headers {
            let found = answer.headers[header.lowercased()]
            switch wanted {
            case "<any>": #expect(found != nil, "\(header)")
            case "<none>": #expect(found == nil, "\(header)")
            default: #expect(found == wanted, "\(header)")
            }
        }
        if expected.body.isEmpty {
            #expect(answer.body.isEmpty)
        } else {
            let wanted = try JSONValue(parsing: expected.body)
            #expect(wanted.isIn(answer.json ?? .null), "\(String(decoding: answer.body, as: UTF8.self))")
        }
    }

    private func send(_ request: Message, _ caller: DeskCaller, _ live: LiveDesk) async throws -> DeskCaller.Answer {
        var caller = caller
        var headers: [(String, String)] = []
        for (name, value) in request.headers {
            switch name {
            case "Authorization":
                caller.token = nil
                headers.append((name, value))
            case "Desk-Rows":
                for number in 1...(Int(value) ?? 1) {
                    _ = try await caller.call(
                        "POST", "msdyn_iotalerts", ["msdyn_description": .string("row \(number)")])
                }
            case "Desk-Throttle":
                let words = value.split(separator: " ")
                let kind = try #require(Throttle.Kind.allCases.first { "\($0)" == words[0] })
                live.desk.throttle.refuseNext(1, kind, retryAfterSeconds: Int(words[1]) ?? 0)
            default: headers.append((name, value))
            }
        }
        let words = request.first.split(separator: " ", maxSplits: 1).map(String.init)
        guard !words[1].hasPrefix("/") else {
            return try await DeskCaller.send(
                words[0], live.origin + words[1], headers: headers, body: Array(request.body.utf8))
        }
        let body = request.body.isEmpty ? nil : try JSONValue(parsing: request.body)
        return try await caller.call(words[0], words[1], body, headers: headers)
    }

    private func seed(_ caller: DeskCaller) async throws {
        let zeros = "00000000-0000-0000-8000-0000000000"
        _ = try await caller.call(
            "PATCH", "msdyn_iotdevices(\(zeros)d1)", ["msdyn_name": "Thermostat", "msdyn_deviceid": "thermostat-1"])
        _ = try await caller.call(
            "PATCH", "msdyn_iotalerts(\(zeros)a1)",
            [
                "msdyn_description": "too hot", "msdyn_alerttoken": "token-1",
                "msdyn_Device@odata.bind": .string("/msdyn_iotdevices(\(zeros)d1)"),
            ])
        _ = try await caller.call(
            "PATCH", "msdyn_iotdevicecommands(\(zeros)c1)",
            [
                "msdyn_name": "Reset Thermostat", "msdyn_deviceid": "thermostat-1",
                "msdyn_message": #"{"CommandName":"Reset Thermostat","Parameters":{}}"#,
                "msdyn_ParentAlert@odata.bind": .string("/msdyn_iotalerts(\(zeros)a1)"),
            ])
    }

    private func text(_ name: String, _ file: String) throws -> String {
        guard let stream = fopen("\(Self.root)/\(name)/\(file)", "r") else { throw Missing(file: "\(name)/\(file)") }
        defer { fclose(stream) }
        var bytes = [UInt8](repeating: 0, count: 64 << 10)
        let count = fread(&bytes, 1, bytes.count, stream)
        return String(decoding: bytes.prefix(count), as: UTF8.self)
    }

    struct Missing: Error { let file: String }
}

/// First line, headers, blank line, body.
private struct Message {
    let first: String
    var headers: [(String, String)] = []
    let body: String

    init(_ text: String) throws {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        first = lines.removeFirst()
        while let line = lines.first, !line.isEmpty {
            let halves = line.split(separator: ":", maxSplits: 1).map { $0.drop { $0 == " " } }
            headers.append((String(halves[0]), String(halves[1])))
            lines.removeFirst()
        }
        body = lines.joined(separator: "\n").split(separator: "\n").joined(separator: "\n")
    }
}

extension String {
    fileprivate func filling(_ live: LiveDesk) -> String {
        let credentials = live.desk.credentials
        let values = [
            "{origin}": live.origin, "{encoded-origin}": PercentEncoding.encode(live.origin),
            "{tenant}": credentials.tenant, "{client}": credentials.clientID,
            "{secret}": PercentEncoding.encode(String(decoding: credentials.clientSecret.bytes, as: UTF8.self)),
        ]
        return values.reduce(self) { text, pair in
            text.split(separator: pair.key, omittingEmptySubsequences: false).joined(separator: pair.value)
        }
    }
}

extension JSONValue {
    fileprivate func isIn(_ found: JSONValue) -> Bool {
        switch (self, found) {
        case (.string("<any>"), _): found != .null
        case (.string(let text), .string(let other)) where text.hasPrefix("<starts>"):
            other.hasPrefix(text.dropFirst("<starts>".count))
        case (.object(let wanted), .object(let object)):
            wanted.members.allSatisfy { member in
                guard member.value != .string("<none>") else { return object[member.key] == nil }
                return object[member.key].map { member.value.isIn($0) } ?? false
            }
        case (.array(let wanted), .array(let array)):
            wanted.count == array.count && zip(wanted, array).allSatisfy { $0.isIn($1) }
        default: self == found
        }
    }
}
