public import Primitives
internal import Tunnels

/// What time it is at the hub, by the `Date` header of an answer on a connection whose certificate was checked.
public struct HubDate: Sendable, Equatable {
    /// The middle of what it can have been at `at`.
    public let time: WallInstant
    public let at: MonotonicInstant
    /// The header has whole seconds, and the answer was on its way for a while.
    public let uncertainty: Duration

    init(after second: WallInstant, asked: MonotonicInstant, heard: MonotonicInstant) {
        let half = max(heard - asked, .zero) / 2
        time = second + .milliseconds(500) + half
        at = heard
        uncertainty = .milliseconds(500) + half
    }
}

/// The question, and the answer's date. Source: RFC 9110 sections 6.6.1 and 9.3.2.
enum DateQuestion {
    static func request(host: String, port: Int) -> [UInt8] {
        let host = host.contains(":") ? "[\(host)]" : host
        return Array("HEAD / HTTP/1.1\r\nHost: \(host):\(port)\r\nConnection: close\r\n\r\n".utf8)
    }

    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    /// The one form that servers send today: `Sat, 21 Nov 2026 08:53:00 GMT`. Source: RFC 9110 section 5.6.7.
    static func date(in head: ResponseHead) -> WallInstant? {
        let words = head.value("date")?.split(separator: " ") ?? []
        guard words.count == 6, words[5] == "GMT", words[1].utf8.count == 2, words[3].utf8.count == 4,
            let month = months.firstIndex(where: { $0 == words[2] })
        else { return nil }
        let number = month < 9 ? "0\(month + 1)" : "\(month + 1)"
        return WallInstant("\(words[3])-\(number)-\(words[1])T\(words[4])Z")
    }
}
