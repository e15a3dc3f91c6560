import Synchronization

/// A bug that a test plants in a debug build, to show that the test would notice it. A release build has none of them.
///
/// Each room names its own bugs, beside the code that they break, and its program plants one at its start:
///
///     extension PlantedBug {
///         /// What has been sent is deleted without waiting for the acknowledgement.
///         public static var agentForgetsWhenSent: PlantedBug { PlantedBug("agentForgetsWhenSent") }
///     }
///     if PlantedBug.agentForgetsWhenSent.isPlanted { … }
public struct PlantedBug: Sendable {
    #if DEBUG
        public let name: String
        private static let planted = Mutex<String?>(nil)

        /// - Parameter name: unique in its program.
        public init(_ name: StaticString) { self.name = name.description }

        public var isPlanted: Bool { Self.planted.withLock { $0 == name } }

        /// Plants the bug of that name. Called once, before anything else runs.
        ///
        /// - Parameter known: all bugs of the program.
        /// - Returns: `nil` when it is planted, else what is wrong, with the names that there are.
        public static func plant(_ name: String, of known: [PlantedBug]) -> String? {
            guard known.contains(where: { $0.name == name }) else {
                return "there is no planted bug '\(name)'; there are \(known.map(\.name).joined(separator: ", "))"
            }
            planted.withLock { $0 = name }
            return nil
        }

        /// Takes the planted bug away; for a test that goes on in the same process.
        public static func unplant() { planted.withLock { $0 = nil } }
    #else
        /// Keeps nothing, so that not even the name is in the program.
        @inlinable public init(_: StaticString) {}

        /// Known to the compiler in every room, which then leaves the branch out.
        @inlinable public var isPlanted: Bool { false }
    #endif
}
