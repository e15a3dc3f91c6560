internal import Telemetry
internal import Primitives

/// How losses become readings, and come back when such a reading is itself lost.
public enum LossReport {
    /// `fieldline.dropped.temperature` of a device says how many of its temperatures were dropped since the last report.
    public static func metric(_ loss: SensorLoss) -> String {
        let head = prefix(loss.reason)
        let name = loss.sensor.metric
        return name.isEmpty || head.utf8.count + 1 + name.utf8.count > TelemetryLimits.metricBytesMax
            ? head : "\(head).\(name)"
    }

    private static func prefix(_ reason: SensorLoss.Reason) -> String {
        switch reason {
        case .dropped: "fieldline.dropped"
        case .expired: "fieldline.expired"
        }
    }

    /// What is lost with these records, by sensor. A report counts as what it reports.
    public static func losses(in fragments: FragmentList, reason: SensorLoss.Reason) -> [SensorLoss] {
        var counts: [Key: UInt64] = [:]
        for record in fragments {
            guard let name = fragments.name(of: record) else { continue }
            if let reported = reported(name), let count = fragments.number(of: record) {
                counts[reported, default: 0] += count
            } else {
                counts[Key(sensor: name, reason: reason), default: 0] += 1
            }
        }
        return counts.map { SensorLoss(sensor: $0.key.sensor, reason: $0.key.reason, count: $0.value) }
            .sorted { $0.sensor < $1.sensor }
    }

    private struct Key: Hashable {
        let sensor: SensorName
        let reason: SensorLoss.Reason
    }

    private static func reported(_ name: SensorName) -> Key? {
        for reason in SensorLoss.Reason.allCases {
            let head = prefix(reason)
            guard name.metric.hasPrefix(head) else { continue }
            let rest = name.metric.dropFirst(head.count)
            guard rest.isEmpty || rest.first == "." else { continue }
            return Key(sensor: SensorName(device: name.device, metric: String(rest.dropFirst())), reason: reason)
        }
        return nil
    }
}
