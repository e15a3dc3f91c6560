internal import JSON
public import Primitives

/// What the hub answers to `$fieldline/time/GET/?$rid=1`, on `$fieldline/time/res/200/?$rid=1`: what time it is, and how
/// batches may be encoded.
///
///     {"time":"2026-11-21T08:53:00.250Z","batchEncodings":["zstd-fieldline-1","zstd","utf-8"]}
///
/// A device without a clock of its own learns the time here; the answer is up to one way of the network old.
public struct HubTime: Hashable, Sendable {
    /// Encodings in one answer.
    public static let encodingsMax = 32

    public let time: WallInstant
    /// What this hub takes as the content encoding of a batch, in its order of preference; `utf-8` always.
    public let batchEncodings: [String]

    public init(time: WallInstant, batchEncodings: [String]) {
        self.time = time
        self.batchEncodings = Array(batchEncodings.prefix(Self.encodingsMax))
    }

    public func encoded() -> [UInt8] {
        let object: JSONValue = [
            "time": .string(time.description), "batchEncodings": .array(batchEncodings.map { .string($0) }),
        ]
        return object.serialized()
    }

    /// `nil` when the bytes are no such answer.
    public init?(parsing bytes: some Collection<UInt8>) {
        guard let value = try? JSONValue(parsing: bytes, limits: JSONLimits(bytesMax: 4096, depthMax: 4)),
            let time = value["time"]?.stringValue.flatMap({ WallInstant($0) })
        else { return nil }
        let encodings = value["batchEncodings"]?.arrayValue ?? []
        self.init(time: time, batchEncodings: encodings.compactMap(\.stringValue))
    }
}
