internal import Expressions
internal import Primitives
internal import Telemetry

/// An expression at work for one device.
struct Derivation: Sendable {
    private struct Input: Sendable {
        let value: Double
        let time: MonotonicInstant
        let quality: ReadingQuality
    }

    /// Index of its settings.
    let settings: Int
    let key: SignalKey
    let expression: SignalExpression
    private var inputs: [Input?]

    init(settings: Int, key: SignalKey, _ expression: SignalExpression) {
        self.settings = settings
        self.key = key
        self.expression = expression
        inputs = Array(repeating: nil, count: expression.signals.count)
    }

    /// What the expression calls its input.
    func inputKey(_ index: Int) -> SignalKey {
        let name = expression.signals[index]
        return SignalKey(device: name.device ?? key.device, metric: name.metric)
    }

    /// One of its inputs has spoken.
    ///
    /// - Returns: what comes out, with the time of that input and the worst quality of all; `nil` for unknown.
    mutating func take(
        _ input: Int, _ reading: Reading, number: Double?, at time: MonotonicInstant, _ settings: SignalSettings
    ) -> Reading? {
        inputs[input] =
            reading.quality == .bad ? nil : number.map { Input(value: $0, time: time, quality: reading.quality) }
        guard let value = value(at: time, ageMax: settings.inputAgeMax) else { return nil }
        let isDoubtful = inputs.contains { $0?.quality == .uncertain }
        return Reading(
            device: key.device, metric: key.metric, value: value, unit: settings.conversion.unit, time: reading.time,
            quality: isDoubtful ? .uncertain : .good, clock: reading.clock)
    }

    private func value(at time: MonotonicInstant, ageMax: Duration) -> ReadingValue? {
        let read = { (index: Int) -> Double? in
            guard let input = inputs[index], time - input.time <= ageMax else { return nil }
            return input.value
        }
        switch expression.kind {
        case .number: return expression.number(read).flatMap { Rounding.decimal($0) }.map(ReadingValue.number)
        case .boolean: return expression.truth(read).map(ReadingValue.boolean)
        }
    }
}
