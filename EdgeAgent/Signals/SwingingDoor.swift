/// Leaves readings out of which straight lines between the kept ones tell within a bound.
///
///         value │        ╱ upper: the least steep that some reading allows
///               │   •  ╱ •       a reading may end the line while its own slope from the start
///         start ●────╱──────•    is within what all readings since then allow
///               │      ╲ lower: the steepest that some reading demands
///
/// A line may end only at a reading that all between it and the start agree with, so the bound holds for every one of
/// them; the usual form of the algorithm checks the doors alone and may err by twice the bound.
struct SwingingDoor: Sendable, Equatable {
    let startTime: Int64
    let startValue: Double
    /// Slopes, a millisecond, that pass all readings since the start.
    private(set) var steepest = Double.infinity
    private(set) var flattest = -Double.infinity

    /// - Parameter startTime: in milliseconds of wall time.
    init(startTime: Int64, startValue: Double) {
        self.startTime = startTime
        self.startValue = startValue
    }

    init(startTime: Int64, startValue: Double, steepest: Double, flattest: Double) {
        self.init(startTime: startTime, startValue: startValue)
        self.steepest = steepest
        self.flattest = flattest
    }

    /// Whether a line from the start may end here; then the reading is among those that later ends must agree with.
    mutating func passes(_ value: Double, at time: Int64, errorMax: Double) -> Bool {
        let (elapsed, overflow) = time.subtractingReportingOverflow(startTime)
        guard !overflow, elapsed > 0 else { return false }
        let span = Double(elapsed)
        let slope = (value - startValue) / span
        guard slope.isFinite, slope >= flattest, slope <= steepest else { return false }
        steepest = min(steepest, (value + errorMax - startValue) / span)
        flattest = max(flattest, (value - errorMax - startValue) / span)
        return true
    }
}
