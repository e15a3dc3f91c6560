public import HubContract
public import MQTTCodec
import NIOCore
public import Primitives

/// What a device asks of the rooms behind its session.
public enum DeviceOperation: Hashable, Sendable {
    case twinGet(rid: String)
    case reportedPatch(rid: String, ifVersion: Int64?)
    case methodAnswer(status: Int, rid: String)
    case timeGet(rid: String)
}

/// Turns what an authenticated identity publishes into what IoT Hub makes of it. Pure; one per connection.
public struct SessionDispatch: Sendable {
    /// Body, property names and values of one message. Source: IoT Hub, 256 KB.
    public static let messageBytesMax = 256 * 1024

    public enum PublishAction: Hashable, Sendable {
        /// The identity's own event; the property bag is these bytes of the topic.
        case telemetry(bag: Range<Int>)
        /// A child's event, on its gateway's connection.
        case childTelemetry(DeviceID, bagText: String)
        /// For `who`: the identity or a child of it.
        case operation(who: HubIdentity, DeviceOperation)
        case close(DisconnectReason)
    }

    public let identity: HubIdentity
    private let telemetryTopic: TelemetryTopic

    public init(identity: HubIdentity) {
        self.identity = identity
        telemetryTopic = TelemetryTopic(of: identity)
    }

    /// What a PUBLISH is. A message of the identity's own telemetry is recognised by its bytes, without an allocation.
    public func publishReceived(_ publish: Publish) -> PublishAction {
        let size = publish.topic.readableBytes + publish.payload.readableBytes
        if let bag = publish.topic.withUnsafeReadableBytes({ telemetryTopic.bagRange(in: $0) }) {
            let messageBytes = bag.count + publish.payload.readableBytes
            guard messageBytes <= Self.messageBytesMax else { return .close(Self.oversize(messageBytes)) }
            return .telemetry(bag: bag)
        }
        guard size <= Self.messageBytesMax else { return .close(Self.oversize(size)) }
        do {
            let (child, asked) = try HubTopics.publish(publish.topicName, from: identity)
            let who = child.map { HubIdentity($0) } ?? identity
            switch asked {
            case .telemetry(let bagText):
                // The identity's own was recognised above.
                return child.map { .childTelemetry($0, bagText: bagText) }
                    ?? .close(.refused("topic '\(publish.topicName)' is not telemetry of \(identity.spoken)"))
            case .twinGet(let rid): return .operation(who: who, .twinGet(rid: rid))
            case .reportedPatch(let rid, let version):
                return .operation(who: who, .reportedPatch(rid: rid, ifVersion: version))
            case .methodResponse(let status, let rid):
                return .operation(who: who, .methodAnswer(status: status, rid: rid))
            case .timeGet(let rid): return .operation(who: who, .timeGet(rid: rid))
            }
        } catch {
            return .close(.refused("\(error)"))
        }
    }

    /// Whether a will can be delivered: it must be the identity's own telemetry, within the limit.
    /// - Returns: its property bag, or why not.
    public func willBag(_ will: Will) -> Result<String, DispatchRefusal> {
        let topic = Array(will.topicName.utf8)
        guard let bag = topic.withUnsafeBytes({ telemetryTopic.bagRange(in: $0) }) else {
            return .failure(
                DispatchRefusal("the will's topic '\(will.topicName.prefix(256))' is not the device's events topic"))
        }
        guard bag.count + will.payload.count <= Self.messageBytesMax else {
            return .failure(DispatchRefusal("the will has more than \(Self.messageBytesMax) bytes"))
        }
        return .success(String(decoding: topic[bag], as: UTF8.self))
    }

    private static func oversize(_ bytes: Int) -> DisconnectReason {
        .refused("a message of \(bytes) bytes; the most is \(messageBytesMax), so let the device send smaller messages")
    }
}

/// A sentence for the operator.
public struct DispatchRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    public let description: String
    public var isRetryable: Bool { false }

    init(_ sentence: String) { description = sentence }
}
