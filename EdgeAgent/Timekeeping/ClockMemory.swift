internal import JSON
public import Primitives

/// What a run knows about the time and the next one wants to know: kept in the outbox, as a JSON object.
public struct ClockMemory: Sendable, Equatable {
    /// Where the outbox keeps it.
    public static let key = "clock"
    /// While the time is known: how often it is kept anew.
    public static let interval = Duration.seconds(6 * 3600)
    private static let bytesMax = 64 * 1024

    /// The time was known to be this at some moment that has passed.
    public let lowest: WallInstant?
    let stamps: Restamper.Memory?

    /// - Parameter lowest: the earliest time that it can be, as far as known.
    public init(_ restamper: Restamper, lowest: WallInstant?) {
        self.lowest = lowest
        stamps = restamper.memory
    }

    /// - Returns: `nil` for what no agent has written.
    public init?(_ bytes: [UInt8]) {
        let limits = JSONLimits(bytesMax: Self.bytesMax, depthMax: 8)
        guard let document = try? JSONValue(parsing: bytes, limits: limits), case .object = document else { return nil }
        lowest = document["lowest"]?.stringValue.flatMap { WallInstant($0) }
        stamps = document["stamps"].flatMap { Restamper.Memory($0) }
    }

    public var bytes: [UInt8] {
        var object = JSONObject()
        if let lowest { object["lowest"] = .string(lowest.description) }
        if let stamps { object["stamps"] = stamps.json }
        return JSONValue.object(object).serialized()
    }
}

extension Restamper.Memory {
    fileprivate init?(_ json: JSONValue) {
        guard let boot = json["boot"]?.stringValue, let zero = json["zero"]?.milliseconds,
            let since = json["since"]?.milliseconds, let first = json["first"]?.sequence,
            let waiting = json["waiting"]?.arrayValue, let known = json["known"]?.arrayValue
        else { return nil }
        self.init(
            boot: boot, zero: WallInstant(milliseconds: zero), since: WallInstant(milliseconds: since), first: first,
            waiting: waiting.suffix(Restamper.stretchesMax).compactMap { Restamper.Stretch($0) },
            known: known.suffix(Restamper.stretchesMax).compactMap { Restamper.Stretch($0) })
    }

    fileprivate var json: JSONValue {
        [
            "boot": .string(boot), "zero": .string("\(zero.milliseconds)"), "since": .string("\(since.milliseconds)"),
            "first": .string("\(first)"), "waiting": .array(waiting.map(\.json)), "known": .array(known.map(\.json)),
        ]
    }
}

extension Restamper.Stretch {
    fileprivate init?(_ json: JSONValue) {
        guard let from = json["from"]?.milliseconds, let to = json["to"]?.milliseconds,
            let delta = json["delta"]?.milliseconds, let first = json["first"]?.sequence,
            let end = json["end"]?.sequence
        else { return nil }
        self.init(
            from: WallInstant(milliseconds: from), to: WallInstant(milliseconds: to), delta: .milliseconds(delta),
            first: first, end: end)
    }

    fileprivate var json: JSONValue {
        let zero = WallInstant(milliseconds: 0)
        return [
            "from": .string("\(from.milliseconds)"), "to": .string("\(to.milliseconds)"),
            "delta": .string("\((zero + delta).milliseconds)"), "first": .string("\(first)"), "end": .string("\(end)"),
        ]
    }
}

extension JSONValue {
    /// Sixty-four bits as text; a hundred thousand years either way, so that no sum of them overflows.
    fileprivate var milliseconds: Int64? {
        stringValue.flatMap { Int64($0) }.flatMap {
            (-4_000_000_000_000_000...4_000_000_000_000_000).contains($0) ? $0 : nil
        }
    }
    fileprivate var sequence: UInt64? { stringValue.flatMap { UInt64($0) } }
}
