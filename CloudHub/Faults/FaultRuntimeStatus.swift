/// Limits of the fault runtime.
public struct FaultRuntimeSettings: Sendable {
    /// How late a value may arrive and still decide. Default 60 s.
    public var lateness: Duration
    /// States of the hub's rules, rules times devices; beyond it a rule does not watch further devices. Default 100,000.
    public var ruleStatesMax: Int

    public init(lateness: Duration = .seconds(60), ruleStatesMax: Int = HubRuleEngine.statesMaxDefault) {
        self.lateness = lateness
        self.ruleStatesMax = ruleStatesMax
    }
}

/// How the fault runtime stands.
public struct FaultRuntimeStatus: Sendable, Equatable {
    /// The offset of the next event that is not yet committed, by partition: what retention must not reach.
    public var checkpoints: [Int64]
    /// Why nothing can be committed now, with what to do; `nil` when all is well. Nothing is read on meanwhile.
    public var waitsFor: String?
    /// Hub rules that have no room for some device.
    public var fullRules: Set<String> = []
    /// Values that such rules should have looked at, since the start.
    public var unwatchedCount: UInt64 = 0
    /// Events that retention took before they were read, since the start.
    public var eventsLost: UInt64 = 0

    init(checkpoints: [Int64]) { self.checkpoints = checkpoints }

    /// What an operator should do something about, in words; empty when there is nothing.
    public var trouble: String {
        if let waitsFor { return waitsFor }
        guard !fullRules.isEmpty else { return "" }
        return
            "hub rules \(fullRules.sorted().joined(separator: ", ")) have no room for more devices and do not watch the "
            + "newest ones; name the devices that they are for, or share them among several hubs"
    }
}
