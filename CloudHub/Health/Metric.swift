/// One metric of the hub with its samples, as Prometheus reads it.
public struct Metric: Sendable, Equatable {
    public enum Kind: String, Sendable {
        /// Only rises.
        case counter
        /// Goes up and down.
        case gauge
    }

    public struct Sample: Sendable, Equatable {
        /// Values are fixed words of ours, never a peer's: a peer could otherwise make endless series.
        public let labels: [String: String]
        public let value: Double

        public init(_ value: Double, labels: [String: String] = [:]) {
            self.value = value
            self.labels = labels
        }
    }

    /// With the unit at the end: `cloud_hub_log_bytes`.
    public let name: String
    public let kind: Kind
    public let help: String
    public let samples: [Sample]

    public init(_ name: String, _ kind: Kind, _ help: String, samples: [Sample]) {
        self.name = name
        self.kind = kind
        self.help = help
        self.samples = samples
    }

    public init(_ name: String, _ kind: Kind, _ help: String, _ value: Double) {
        self.init(name, kind, help, samples: [Sample(value)])
    }
}

/// The text exposition format. Source: Prometheus, exposition formats, version 0.0.4.
enum PrometheusText {
    static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    static func render(_ metrics: [Metric]) -> String {
        var text = ""
        for metric in metrics {
            text +=
                "# HELP \(metric.name) \(escaped(metric.help, quotes: false))\n# TYPE \(metric.name) \(metric.kind.rawValue)\n"
            for sample in metric.samples {
                let labels = sample.labels.sorted { $0.key < $1.key }
                    .map { "\($0.key)=\"\(escaped($0.value, quotes: true))\"" }.joined(separator: ",")
                text += labels.isEmpty ? metric.name : "\(metric.name){\(labels)}"
                text += " \(number(sample.value))\n"
            }
        }
        return text
    }

    private static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
        if let whole = Int64(exactly: value) { return String(whole) }
        return String(value)
    }

    private static func escaped(_ text: String, quotes: Bool) -> String {
        var out = ""
        for character in text {
            switch character {
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\"" where quotes: out += "\\\""
            default: out.append(character)
            }
        }
        return out
    }
}
