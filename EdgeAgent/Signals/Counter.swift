/// A value that only ever counts up, until it begins anew: pulses, energy, litres.
public struct Counter: Sendable, Equatable {
    /// Where it begins at zero again by its own size, in the unit of the signal: 65536 for a register of 16 bits that counts
    /// single pulses; `nil`: it never gets there.
    public var wrap: Double?

    public init(wrap: Double? = nil) { self.wrap = wrap }

    /// What was counted from one reading to the next.
    ///
    /// A smaller value than before is a wrap when that makes it less than half of the whole way, and else a reset: the
    /// meter has begun at zero, and what it counted until then is not known.
    func step(from before: Double, to value: Double) -> (rise: Double, isReset: Bool) {
        guard value < before else { return (value - before, false) }
        if let wrap, before < wrap, value >= 0, wrap - before + value < wrap / 2 {
            return (wrap - before + value, false)
        }
        return (max(value, 0), true)
    }
}
