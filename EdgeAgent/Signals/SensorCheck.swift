public import Primitives
public import Telemetry

/// Some readings as `[[signal]]` has them, for those who cannot wait for the pipeline: in their unit, and bad when they are
/// out of range. Steps and rates, which only make a reading uncertain, are not looked at. Asked from any thread.
public struct SensorCheck: Sendable {
    private let settings: [SignalKey: SignalSettings]

    /// - Parameters:
    ///   - settings: of the configuration, in order.
    ///   - sensors: those that will be asked for.
    public init(settings: [SignalSettings], sensors: [(device: DeviceID, metric: String)]) {
        var found: [SignalKey: SignalSettings] = [:]
        for sensor in sensors {
            let key = SignalKey(device: sensor.device, metric: sensor.metric)
            found[key] = settings.first { $0.selects(key) }
        }
        self.settings = found
    }

    public func reading(_ given: Reading) -> Reading {
        guard let chosen = settings[SignalKey(device: given.device, metric: given.metric)] else { return given }
        var reading = given
        var known = KnownConversion()
        if !chosen.conversion.isIdentity { _ = chosen.conversion.apply(to: &reading, known: &known) }
        var range = PlausibleRange()
        (range.low, range.high) = (chosen.plausibility.low, chosen.plausibility.high)
        if let number = reading.value.double, number.isFinite, !range.isUnlimited {
            var state = PlausibilityState()
            reading.quality = state.quality(
                of: number, reading.quality, at: MonotonicInstant(nanoseconds: 0), range)
        }
        return reading
    }
}

extension SignalSettings {
    /// Whether the metric is worked out by this table and comes from no sensor: by its expression, or by a window.
    public func worksOut(_ metric: String, of device: DeviceID) -> Bool {
        guard self.device.map({ $0 == device }) ?? true else { return false }
        if expression != nil, self.metric == metric { return true }
        return windows.contains { window in
            window.aggregates.contains { aggregate in
                let suffix = window.suffix(aggregate)
                return metric.hasSuffix(suffix) && (self.metric.map { $0 + suffix == metric } ?? true)
            }
        }
    }
}
