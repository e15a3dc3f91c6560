import Primitives

/// The properties of one message as they end an MQTT topic: `%24.ct=application%2Fjson&color=red&flag&empty=`.
///
/// Names and values are percent-encoded (`+` is a plus). A name alone has the value null, a name with `=` and nothing
/// behind it the empty text. System properties begin with `$.`, which arrives as `%24.` from most clients.
public struct PropertyBag: Equatable, Sendable {
    public struct Entry: Hashable, Sendable {
        public let name: String
        /// `nil` is null, which is not the empty text.
        public let value: String?

        public init(_ name: String, _ value: String?) {
            self.name = name
            self.value = value
        }
    }

    /// Most properties of one message.
    public static let entriesMax = 256

    /// As sent, decoded; a name may come twice.
    public private(set) var entries: [Entry] = []

    public init() {}

    public init(_ entries: [Entry]) { self.entries = entries }

    /// Reads what follows `…/messages/events/` or `…/messages/devicebound/`; a leading `?` is allowed.
    public init(parsing text: some StringProtocol) throws(PropertyBagError) {
        let body = text.dropping("?") ?? Substring(text)
        for piece in body.cut(at: "&", omittingEmpty: true) {
            guard entries.count < Self.entriesMax else { throw PropertyBagError(.tooMany) }
            let halves = piece.cut(at: "=", maxSplits: 1)
            guard let name = PercentEncoding.decode(halves[0]) else {
                throw PropertyBagError(.badEncoding(entry: entries.count + 1))
            }
            guard !name.isEmpty else { throw PropertyBagError(.noName(entry: entries.count + 1)) }
            var value: String?
            if halves.count > 1 {
                guard let decoded = PercentEncoding.decode(halves[1]) else {
                    throw PropertyBagError(.badEncoding(entry: entries.count + 1))
                }
                value = decoded
            }
            entries.append(Entry(name, value))
        }
    }

    public mutating func append(_ name: String, _ value: String?) { entries.append(Entry(name, value)) }

    /// Everything but letters, digits and `- . _ ~` is encoded, so a slash never splits the topic.
    public func encoded() -> String {
        entries.map { entry in
            let name = PercentEncoding.encode(entry.name)
            return entry.value.map { name + "=" + PercentEncoding.encode($0) } ?? name
        }.joined(separator: "&")
    }

    /// Gives the first entry of this name another value, or adds one.
    public mutating func replace(_ name: String, with value: String?) {
        guard let place = entries.firstIndex(where: { $0.name == name }) else { return append(name, value) }
        entries[place] = Entry(name, value)
    }

    /// The value of the first entry of this name; `nil` when there is none or it is null.
    public func value(_ name: String) -> String? { entries.first { $0.name == name }?.value }

    /// The value of a system property by its short name: `mid`, `cid`, `uid`, `ct`, `ce`, `sub`, `exp`, `to`, …
    public func system(_ name: String) -> String? { value("$." + name) }

    /// What is not a system property, in order.
    public var application: [Entry] { entries.filter { !$0.name.hasPrefix("$.") } }

    /// What is a system property, in order, named without the `$.`.
    public var system: [Entry] {
        entries.filter { $0.name.hasPrefix("$.") }.map { Entry(String($0.name.dropFirst(2)), $0.value) }
    }

    /// Whether a bag, still as raw bytes, holds this property with this value. Allocates nothing: the test that every
    /// telemetry message passes.
    public static func contains(name: StaticString, value: StaticString, inRaw bag: UnsafeRawBufferPointer) -> Bool {
        var start = 0
        while start < bag.count {
            let end = bag[start...].firstIndex(of: UInt8(ascii: "&")) ?? bag.count
            var reader = PercentReader(bytes: bag, index: start, end: end)
            if reader.takes(name), reader.takes("="), reader.takes(value), reader.isAtEnd { return true }
            start = end + 1
        }
        return false
    }
}

/// Compares percent-encoded bytes with plain text on the way.
private struct PercentReader {
    let bytes: UnsafeRawBufferPointer
    var index: Int
    let end: Int

    var isAtEnd: Bool { index == end }

    mutating func takes(_ text: StaticString) -> Bool {
        for position in 0..<text.utf8CodeUnitCount {
            guard next() == text.utf8Start[position] else { return false }
        }
        return true
    }

    private mutating func next() -> UInt8? {
        guard index < end else { return nil }
        let byte = bytes[index]
        guard byte == UInt8(ascii: "%") else {
            index += 1
            return byte
        }
        guard index + 2 < end, let high = Hex.digit(bytes[index + 1]), let low = Hex.digit(bytes[index + 2]) else {
            return nil
        }
        index += 3
        return high << 4 | low
    }
}

/// Why a property bag cannot be read. Not retryable.
public struct PropertyBagError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Problem: Hashable, Sendable {
        /// Entries count from 1.
        case badEncoding(entry: Int)
        case noName(entry: Int)
        case tooMany
    }

    public let problem: Problem
    public var isRetryable: Bool { false }

    init(_ problem: Problem) { self.problem = problem }

    public var description: String {
        switch problem {
        case .badEncoding(let entry):
            "property \(entry) of the message is not percent-encoded UTF-8; encode '%' as '%25' and other bytes as '%XX'"
        case .noName(let entry): "property \(entry) of the message has no name before its '='"
        case .tooMany: "the message has more than \(PropertyBag.entriesMax) properties"
        }
    }
}
