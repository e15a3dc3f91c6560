/// Recognises one identity's telemetry topic in raw bytes, without making a text of it. A session makes one when it
/// begins and asks it for every PUBLISH; what it does not recognise goes to `HubTopics.publish`.
public struct TelemetryTopic: Hashable, Sendable {
    /// `devices/D/messages/events` or `devices/D/modules/M/messages/events`.
    public let prefix: [UInt8]

    public init(of identity: HubIdentity) { prefix = Array(HubTopics.eventsBase(of: identity).utf8) }

    /// Where the property bag stands (empty when there is none; a leading `?` is left out). `nil` when this is another
    /// topic.
    public func bagRange(in topic: UnsafeRawBufferPointer) -> Range<Int>? {
        guard topic.count >= prefix.count, topic.prefix(prefix.count).elementsEqual(prefix) else { return nil }
        guard topic.count > prefix.count else { return topic.count..<topic.count }
        guard topic[prefix.count] == UInt8(ascii: "/") else { return nil }
        var start = prefix.count + 1
        if start < topic.count, topic[start] == UInt8(ascii: "?") { start += 1 }
        return start..<topic.count
    }
}
