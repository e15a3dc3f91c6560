import Synchronization

/// A bug that a test plants in a debug build, to show that the test would notice it. A release build has none of them.
public enum PlantedBug: String, CaseIterable, Sendable {
    /// The hub's log commits, but the disk is not told to keep it.
    case hubCommitsWithoutSync
    /// The hub acknowledges when it has received, not when it has stored.
    case hubAcknowledgesBeforeCommit
    /// The hub stores what it has already.
    case hubKeepsRepeats
    /// The gateway deletes what it has sent, without waiting for the acknowledgement.
    case agentForgetsWhenSent
    /// The gateway acknowledges to the local broker before the outbox has the reading.
    case agentAcknowledgesBeforeDurable
    /// The gateway's outbox commits, but the disk is not told to keep it.
    case agentCommitsWithoutSync
    /// The gateway starts with an empty rule state, as if no fault were open.
    case agentForgetsRuleState

    #if DEBUG
        private static let planted = Mutex<PlantedBug?>(nil)

        /// Plants the bug of that name; `false` when there is none. Called once, before anything else runs.
        public static func plant(_ name: String) -> Bool {
            guard let bug = PlantedBug(rawValue: name) else { return false }
            planted.withLock { $0 = bug }
            return true
        }

        public var isPlanted: Bool { Self.planted.withLock { $0 == self } }
    #else
        public var isPlanted: Bool { false }
    #endif
}
