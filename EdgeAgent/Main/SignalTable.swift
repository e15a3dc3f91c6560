import Signals

/// What `edge-agent status` says about single signals: what came in, what was kept of it, and how far that may err.
enum SignalTable {
    /// Signals that are shown: those with the most readings.
    static let shownMax = 50

    static func lines(_ bytes: [UInt8]?) -> [String] {
        guard let bytes, let (time, figures) = SignalFigures.read(bytes), !figures.isEmpty else { return [] }
        var lines = ["signals      since the agent's start, as of \(time)"]
        for one in figures.sorted(by: { ($1.readings, $0.key) < ($0.readings, $1.key) }).prefix(shownMax) {
            var parts = ["\(one.readings) read, \(one.kept) kept"]
            if one.results > 0 { parts.append("\(one.results) window results") }
            if one.context > 0 { parts.append("\(one.context) for faults") }
            if one.marked > 0 { parts.append("\(one.marked) marked") }
            if one.unknown > 0 { parts.append("\(one.unknown) unknown") }
            if one.contextCuts > 0 { parts.append("\(one.contextCuts) faults with a cut minute before") }
            parts.append("\(one.bytesIn) -> \(one.bytesOut) bytes, saved \(Int(one.savingPercent.rounded())) %")
            if let bound = one.bound { parts.append("error at most \(bound)") }
            lines.append("signal       \(one.key.device) \(one.key.metric): " + parts.joined(separator: ", "))
        }
        if figures.count > shownMax { lines.append("signal       and \(figures.count - shownMax) more") }
        return lines
    }
}
