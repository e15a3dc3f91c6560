import BrokerKit
import Foundation

public struct FieldKitError: Error, CustomStringConvertible {
    public let description: String
    public init(_ description: String) { self.description = description }
}

/// Removed with the value.
public final class TemporaryFolder {
    public let path: String

    public init(_ name: String) throws { path = try makeTemporaryFolder(name) }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    public func file(_ name: String) -> String { path + "/" + name }
}
