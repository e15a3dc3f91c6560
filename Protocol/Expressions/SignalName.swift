public import Primitives

/// A signal that an expression names: a metric of the device that the expression is about, or of another one.
///
///     temperature             a metric of the own device
///     motor.current           the same; letters, digits, _ and . need no brackets
///     [supply-1/temperature]  a metric of the device supply-1
///     [flow-rate]             a metric of the own device whose name has other characters
///     [/air/humidity]         the same when there is a slash in it
///
/// In brackets, the first slash ends the device's id, in which there can be none; `]]` stands for one `]`.
public struct SignalName: Hashable, Sendable, CustomStringConvertible {
    /// Longest metric: 128 bytes, as in telemetry.
    public static let metricBytesMax = 128

    /// `nil` is the device that the expression is about.
    public let device: DeviceID?
    public let metric: String

    public init(device: DeviceID? = nil, metric: String) {
        self.device = device
        self.metric = metric
    }

    /// As an expression names it.
    public var description: String {
        if device == nil, Self.isBare(metric) { return metric }
        let escaped = metric.split(separator: "]", omittingEmptySubsequences: false).joined(separator: "]]")
        if let device { return "[\(device)/\(escaped)]" }
        return metric.contains("/") ? "[/\(escaped)]" : "[\(escaped)]"
    }

    /// Whether the metric may stand without brackets.
    private static func isBare(_ metric: String) -> Bool {
        guard let first = metric.first, ExpressionScanner.beginsName(first), metric.last != "." else { return false }
        return metric.allSatisfy { ExpressionScanner.continuesName($0) || $0 == "." } && !metric.contains("..")
            && !ExpressionScanner.reserved.contains(metric)
    }
}
