import Primitives

/// A rule's condition without anything that must be retained: what an evaluation reads.
enum Judge: Sendable {
    case above(Double)
    case atLeast(Double)
    case below(Double)
    case atMost(Double)
    case equal(Double)
    case notEqual(Double)
    case inside(Double, Double)
    case outside(Double, Double)
    case changing(Condition.Direction, by: Double, window: Int64)
    case stuck(tolerance: Double, time: Int64)
    case deviating(MovingAverage.Gauge)
    case silent
    /// `maxAge`: nanoseconds; 0 for none.
    case expression(maxAge: Int64)

    /// What one value says.
    enum Verdict: Sendable {
        case breached
        /// No breach, and not far enough on the good side to end one.
        case between
        case good
        /// Nothing can be said.
        case undecided
    }

    init(_ rule: Rule) {
        switch rule.condition {
        case .above(let limit): self = .above(limit)
        case .atLeast(let limit): self = .atLeast(limit)
        case .below(let limit): self = .below(limit)
        case .atMost(let limit): self = .atMost(limit)
        case .equal(let limit): self = .equal(limit)
        case .notEqual(let limit): self = .notEqual(limit)
        case .inside(let band): self = .inside(band.lowerBound, band.upperBound)
        case .outside(let band): self = .outside(band.lowerBound, band.upperBound)
        case .changing(let direction, let limit, let window):
            self = .changing(direction, by: limit, window: window.nanosecondsClamped)
        case .stuck(let tolerance): self = .stuck(tolerance: tolerance, time: rule.holdTime.nanosecondsClamped)
        case .deviating(let deviation):
            self = .deviating(
                .init(
                    sigmas: deviation.sigmas, window: Double(deviation.window.nanosecondsClamped),
                    floor: deviation.floor ?? -1, samplesMin: deviation.samplesMin))
        case .silent: self = .silent
        case .expression: self = .expression(maxAge: rule.inputAgeMax.nanosecondsClamped)
        }
    }

    /// A comparison or a band, for which the value itself is enough.
    func verdict(on value: Double, hysteresis: Double) -> Verdict {
        if isBreached(by: value, relaxedBy: 0) { return .breached }
        return isBreached(by: value, relaxedBy: hysteresis) ? .between : .good
    }

    private func isBreached(by value: Double, relaxedBy slack: Double) -> Bool {
        switch self {
        case .above(let limit): value > limit - slack
        case .atLeast(let limit): value >= limit - slack
        case .below(let limit): value < limit + slack
        case .atMost(let limit): value <= limit + slack
        case .equal(let limit): value == limit
        case .notEqual(let limit): value != limit
        case .inside(let low, let high): value >= low - slack && value <= high + slack
        case .outside(let low, let high): value < low + slack || value > high - slack
        case .changing, .stuck, .deviating, .silent, .expression: false
        }
    }

    /// Whether one number of a state, such as its average, is held in a table of its own.
    var memory: Memory {
        switch self {
        case .above, .atLeast, .below, .atMost, .equal, .notEqual, .inside, .outside, .silent: .none
        case .changing: .window
        case .stuck: .anchor
        case .deviating: .average
        case .expression: .program
        }
    }

    enum Memory: Sendable { case none, window, anchor, average, program }
}

/// One rule as an evaluation reads it.
struct CompiledRule: Sendable {
    let judge: Judge
    let hysteresis: Double
    /// Nanoseconds that a breach must last before it fires. 0 for `stuck`, which counts them itself.
    let hold: Int64
    let isSilence: Bool
    let isExpression: Bool
    /// Index in the evaluator's zones; -1 without a schedule.
    let zone: Int

    init(_ rule: Rule, zones: [Schedule.Zone]) {
        judge = Judge(rule)
        hysteresis = rule.hysteresis
        if case .stuck = rule.condition { hold = 0 } else { hold = rule.holdTime.nanosecondsClamped }
        isSilence = rule.condition == .silent
        if case .expression = rule.condition { isExpression = true } else { isExpression = false }
        zone = rule.schedule.flatMap { zones.firstIndex(of: $0.zone) } ?? -1
    }
}
