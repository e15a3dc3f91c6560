/// Recognises one identity's telemetry topic in raw bytes, without making a text of it. A session makes one when it
/// begins and asks it for every PUBLISH; what it does not recognise goes to `HubTopics.publish`.
public struct TelemetryTopic: Hashable, Sendable {
    /// `devices/D/messages/events` or `devices/D/modules/M/messages/events`.
    public let prefix: [UInt8]

    public init(of identity: HubIdentity) { prefix = Array(HubTopics.eventsBase(of: identity).utf8) }

    /// Where the property bag stands (empty when there is none; a leading `?` is left out). `nil` when this is another
    /// topic.
    public func bagRange(in topic: UnsafeRawBufferPointer) -> Range<Int>? {
        guard topic.count >= prefix.count, hasPrefix(topic) else { return nil }
        guard topic.count > prefix.count else { return topic.count..<topic.count }
        guard topic[prefix.count] == UInt8(ascii: "/") else { return nil }
        var start = prefix.count + 1
        if start < topic.count, topic[start] == UInt8(ascii: "?") { start += 1 }
        return start..<topic.count
    }

    // By index: a generic comparison of two kinds of sequence costs ten times as much, for every message.
    private func hasPrefix(_ topic: UnsafeRawBufferPointer) -> Bool {
        prefix.withUnsafeBytes { prefix in
            for index in 0..<prefix.count where prefix[index] != topic[index] { return false }
            return true
        }
    }
}
