/// The members of a JSON object in the order in which they were first set, each name once.
///
/// Equality ignores the order, as JSON does. Looking a name up is linear in small objects and hashed in large ones.
public struct JSONObject: Hashable, Sendable, ExpressibleByDictionaryLiteral {
    /// Below this many members a walk is faster than a hash.
    private static let indexedFrom = 12

    /// In the order in which the names were first set.
    public private(set) var members: [(key: String, value: JSONValue)] = []
    /// Name to place in `members`; empty while the object is small.
    private var places: [String: Int] = [:]

    public init() {}

    /// A name that comes twice keeps its first place and its last value.
    public init(dictionaryLiteral elements: (String, JSONValue)...) { self.init(elements.map { ($0.0, $0.1) }) }

    /// A name that comes twice keeps its first place and its last value.
    public init(_ members: some Sequence<(key: String, value: JSONValue)>) {
        for member in members { self[member.key] = member.value }
    }

    public var isEmpty: Bool { members.isEmpty }
    public var count: Int { members.count }
    /// In member order.
    public var keys: [String] { members.map(\.key) }

    /// `nil` when there is no such member; setting `nil` removes it.
    public subscript(key: String) -> JSONValue? {
        get { place(of: key).map { members[$0].value } }
        set {
            guard let newValue else {
                removeValue(forKey: key)
                return
            }
            if let place = place(of: key) {
                members[place].value = newValue
            } else {
                append(key, newValue)
            }
        }
    }

    /// Linear in the number of members. Returns what was there.
    @discardableResult
    public mutating func removeValue(forKey key: String) -> JSONValue? {
        guard let place = place(of: key) else { return nil }
        let old = members.remove(at: place).value
        reindex()
        return old
    }

    /// Removes every member for which the answer is yes, in one pass.
    public mutating func removeAll(where isGone: (_ key: String, _ value: JSONValue) -> Bool) {
        members.removeAll { isGone($0.key, $0.value) }
        reindex()
    }

    public static func == (left: Self, right: Self) -> Bool {
        left.count == right.count && left.members.allSatisfy { right[$0.key] == $0.value }
    }

    public func hash(into hasher: inout Hasher) {
        var sum = 0
        for member in members {
            var own = Hasher()
            own.combine(member.key)
            own.combine(member.value)
            sum ^= own.finalize()
        }
        hasher.combine(count)
        hasher.combine(sum)
    }

    private func place(of key: String) -> Int? {
        places.isEmpty ? members.firstIndex { $0.key == key } : places[key]
    }

    private mutating func append(_ key: String, _ value: JSONValue) {
        members.append((key, value))
        if !places.isEmpty {
            places[key] = members.count - 1
        } else if members.count >= Self.indexedFrom {
            reindex()
        }
    }

    private mutating func reindex() {
        places.removeAll(keepingCapacity: true)
        guard members.count >= Self.indexedFrom else { return }
        for (place, member) in members.enumerated() { places[member.key] = place }
    }
}
