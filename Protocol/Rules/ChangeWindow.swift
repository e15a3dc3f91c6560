/// The lowest and the highest value of the last while, in sixteen slices of the window: 280 bytes, whatever the pace.
///
/// The oldest slice leaves as a whole, so a change is held against values that are between 15/16 and 16/16 of the window
/// old at most. When none is left of the window (the sensor speaks more rarely than that), the change since the previous
/// value counts, spread evenly over the time between the two.
struct ChangeWindow: Sendable {
    static let slices = 16

    private var lows = InlineArray<16, Double>(repeating: .infinity)
    private var highs = InlineArray<16, Double>(repeating: -.infinity)
    /// Number of the newest slice, counted from the axis' zero; `nil` before the first value.
    private var newest: Int64?
    private var previous: (value: Double, at: Int64) = (0, 0)
    private(set) var startedAt: Int64 = 0

    /// How far the value has risen and fallen within the window; then takes it in. Both 0 or more.
    ///
    /// - Parameters:
    ///   - now: nanoseconds; not before the last one.
    ///   - window: nanoseconds, at least `slices`.
    mutating func observe(_ value: Double, at now: Int64, window: Int64) -> (rise: Double, fall: Double) {
        let slice = Self.slice(now, window)
        guard let last = newest else {
            startedAt = now
            newest = slice
            take(value, now, slice)
            return (0, 0)
        }
        newest = max(slice, last)
        if slice - last >= Int64(Self.slices) {
            for index in 0..<Self.slices { clear(index) }
        } else if slice > last {
            for number in (last + 1)...slice { clear(Self.place(number)) }
        }
        let change = self.change(to: value, at: now, window: window)
        take(value, now, slice)
        return change
    }

    private func change(to value: Double, at now: Int64, window: Int64) -> (rise: Double, fall: Double) {
        var low = Double.infinity
        var high = -Double.infinity
        for index in 0..<Self.slices {
            low = min(low, lows[index])
            high = max(high, highs[index])
        }
        if low <= high { return (max(0, value - low), max(0, high - value)) }
        let share = Double(window) / Double(max(1, now &- previous.at))
        let difference = (value - previous.value) * share
        return (max(0, difference), max(0, -difference))
    }

    private mutating func take(_ value: Double, _ now: Int64, _ slice: Int64) {
        let place = Self.place(slice)
        lows[place] = min(lows[place], value)
        highs[place] = max(highs[place], value)
        previous = (value, now)
    }

    private mutating func clear(_ index: Int) {
        lows[index] = .infinity
        highs[index] = -.infinity
    }

    private static func slice(_ now: Int64, _ window: Int64) -> Int64 {
        let width = window / Int64(slices)
        return now >= 0 ? now / width : (now + 1) / width - 1
    }

    private static func place(_ slice: Int64) -> Int { Int(slice & Int64(slices - 1)) }
}
