public import HubContract
public import MQTTCodec
public import Primitives

/// What one connection is subscribed to. Pure.
public struct SubscriptionTable: Sendable, Equatable {
    /// IoT Hub's five kinds and ours, for a gateway and for its children one by one.
    public static let countMax = 512

    public private(set) var entries: Set<StoredSubscription>

    public init(_ entries: Set<StoredSubscription> = []) { self.entries = entries }

    public struct Outcome: Sendable, Equatable {
        /// One for each requested filter, in order.
        public var codes: [SubAck.Code] = []
        /// Sentences about the filters that were refused.
        public var refusals: [String] = []
        /// Granted now; also those that were there before.
        public var granted: [StoredSubscription] = []
    }

    /// Adds what an IoT Hub has; the rest is answered with 0x80. QoS 2 is granted as 1.
    public mutating func subscribe(_ subscribe: Subscribe, as identity: HubIdentity) -> Outcome {
        var outcome = Outcome()
        for request in subscribe.requests {
            do throws(TopicError) {
                let (scope, kind) = try HubTopics.subscription(request.topicFilter, from: identity)
                let granted: UInt8 = request.qosMax == .atMostOnce ? 0 : 1
                remove(scope, kind)
                guard entries.count < Self.countMax else {
                    outcome.refusals.append("more than \(Self.countMax) subscriptions")
                    outcome.codes.append(.failure)
                    continue
                }
                let entry = StoredSubscription(scope: scope, subscription: kind, grantedQoS: granted)
                entries.insert(entry)
                outcome.granted.append(entry)
                outcome.codes.append(.granted(granted == 0 ? .atMostOnce : .atLeastOnce))
            } catch {
                outcome.refusals.append("\(error)")
                outcome.codes.append(.failure)
            }
        }
        return outcome
    }

    /// Removes what is there; filters that are not are ignored, as MQTT asks.
    public mutating func unsubscribe(_ filters: [String], as identity: HubIdentity) {
        for filter in filters {
            guard let (scope, kind) = try? HubTopics.subscription(filter, from: identity) else { continue }
            remove(scope, kind)
        }
    }

    /// The QoS at which messages of this kind go out, or `nil` when nobody asked for them.
    public func qos(_ kind: DeviceSubscription, child: DeviceID?) -> QoS? {
        entries.lazy.filter { $0.covers(kind, child: child) }.map { $0.grantedQoS == 0 ? .atMostOnce : .atLeastOnce }
            .max()
    }

    private mutating func remove(_ scope: StoredSubscription.Scope, _ kind: DeviceSubscription) {
        for old in entries where old.scope == scope && old.subscription == kind { entries.remove(old) }
    }
}
