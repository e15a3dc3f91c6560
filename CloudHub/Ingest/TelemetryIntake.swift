import Compression
public import EventLog
import HubContract
public import Primitives
import Telemetry

/// Checks telemetry batches before they are appended: who may speak for whom, and what cannot be taken.
///
/// MQTT 3.1.1 has no negative acknowledgement. So what is refused here is quarantined with its reason, acknowledged, and
/// named in a receipt: the gateway never sends it again, and its page shows why.
public struct TelemetryIntake: Sendable {
    /// What becomes of a batch publish.
    public struct Verdict: Sendable {
        /// The event to append, decompressed; `nil` when no record is left for one.
        public let body: [UInt8]?
        /// The event's property bag: as it came, but that it says how the body is encoded now.
        public var bagText = ""
        /// What the log must know to drop repeats; `nil` when the envelope could not be read.
        public let mark: BatchMark?
        /// The whole publish, when the envelope could not be read.
        public let quarantined: QuarantinedRecord?
        /// For the gateway, once the group is durable.
        public let receipt: [UInt8]?
    }

    /// The head of a publish that cannot be read, kept in quarantine.
    public static let headBytesMax = 4096

    /// What a speaker may do in the name of a device.
    public enum SpeakingRight: Sendable {
        /// It is the device itself, or its gateway.
        case granted
        /// It is neither.
        case foreign
        /// It is the device's gateway, but the device is disabled in the registry.
        case disabled
    }

    /// The gateway that speaks for a child, and whether the registry lets the child take part.
    public typealias Parentage = (gateway: DeviceID, isEnabled: Bool)

    private let parentageOf: @Sendable (DeviceID) -> Parentage?
    let decompressor = BatchDecompressor()

    /// - Parameter parentageOf: of a child, or `nil` when it has no gateway; called on event loops, from memory.
    public init(parentageOf: @escaping @Sendable (DeviceID) -> Parentage?) { self.parentageOf = parentageOf }

    /// Whether these raw bytes of a property bag may name the batch content type; `isBatch` decides. Costs nothing for an
    /// empty bag.
    public static func mayBeBatch(bag: UnsafeRawBufferPointer) -> Bool {
        guard bag.count >= marker.count else { return false }
        var index = 0
        let last = bag.count - marker.count
        while index <= last {
            if bag[index] == marker[0], bag[index..<index + marker.count].elementsEqual(marker) { return true }
            index += 1
        }
        return false
    }

    /// What a batch may name as its content encoding, the best first.
    public static let batchEncodings = BatchDecompressor.encodings + [Batch.contentEncoding]

    // Inside the content type, of characters that are never percent-encoded.
    private static let marker = Array("vnd.fieldline.batch".utf8)

    /// Whether the property bag's content type says that the body is a batch.
    public static func isBatch(bagText: String) -> Bool {
        guard let bag = try? PropertyBag(parsing: bagText) else { return false }
        return bag.system("ct") == Batch.contentType
    }

    /// Whether `speaker` may send in the name of `device`, and take what goes to it.
    public func right(of speaker: DeviceID, for device: DeviceID) -> SpeakingRight {
        // A disabled speaker has no connection.
        if device == speaker { return .granted }
        guard let parentage = parentageOf(device), parentage.gateway == speaker else { return .foreign }
        return parentage.isEnabled ? .granted : .disabled
    }
}
