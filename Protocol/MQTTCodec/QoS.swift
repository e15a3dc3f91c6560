/// How often a message may arrive. Source: MQTT 3.1.1 section 4.3.
public enum QoS: UInt8, Comparable, Sendable, CaseIterable {
    case atMostOnce = 0
    case atLeastOnce = 1
    case exactlyOnce = 2

    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}
