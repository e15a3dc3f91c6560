/// Exponentially weighted mean and variance of a signal, weighted by time: 40 bytes, whatever the window.
///
/// A value of age t weighs about exp(-t / window). The first values count evenly, so that the very first one does not
/// linger. What deviates too far is taken in only up to the limit: one outlier hardly moves the average, and a lasting
/// step becomes the new normal within a few windows.
struct MovingAverage: Sendable {
    private(set) var mean = 0.0
    private(set) var variance = 0.0
    private(set) var count = 0
    private var lastAt: Int64 = 0

    /// What the value is measured with: built once a rule.
    struct Gauge: Sendable {
        let sigmas: Double
        /// Nanoseconds.
        let window: Double
        /// Below 0: a thousandth of the mean.
        let floor: Double
        let samplesMin: Int
    }

    /// How far the value is from the mean of those before it, in standard deviations; then takes it in.
    ///
    /// - Returns: `nil` before there were enough values, and of a signal that never moved and has no floor: nothing
    ///   says how far is far.
    mutating func observe(_ value: Double, at now: Int64, _ gauge: Gauge) -> Double? {
        var taken = value
        var score: Double?
        if count >= gauge.samplesMin {
            let floor = gauge.floor < 0 ? mean.magnitude * 0.001 : gauge.floor
            let sigma = max(variance.squareRoot(), floor)
            if sigma > 0 {
                let far = sigma * gauge.sigmas
                score = (value - mean).magnitude / sigma
                taken = min(max(value, mean - far), mean + far)
            }
        }
        take(taken, now, gauge.window)
        return score
    }

    private mutating func take(_ value: Double, _ now: Int64, _ window: Double) {
        let elapsed = Double(max(0, now &- lastAt))
        let weight = count == 0 ? 1 : max(elapsed / (window + elapsed), count < 1000 ? 1 / Double(count + 1) : 0)
        lastAt = now
        count = min(count + 1, 1_000_000)
        let difference = value - mean
        let step = weight * difference
        mean += step
        variance = (1 - weight) * (variance + difference * step)
    }
}
