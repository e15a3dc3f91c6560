public import JSON
public import Primitives

/// The way from the connector to a device. The composition root implements it on the device hub.
public protocol CommandDispatcher: Sendable {
    /// Whether a direct method could reach the device now. Memory only.
    func isOnline(_ device: DeviceID) -> Bool

    /// Calls a direct method and waits for its answer, at most for the limit.
    func invoke(
        _ device: DeviceID, method: String, payload: JSONValue, timeLimit: Duration
    ) async -> DispatchOutcome

    /// Queues a cloud-to-device message and waits until the device completed it or it expired.
    ///
    /// - Parameter expiresAt: the message must be gone by then, delivered or not.
    func queue(
        _ device: DeviceID, name: String, payload: JSONValue, expiresAt: WallInstant
    ) async -> DispatchOutcome
}

/// How an attempt to reach a device ended.
public enum DispatchOutcome: Sendable, Equatable {
    /// The method ran; the device's own status and payload.
    case answered(status: Int, payload: JSONValue)
    /// The device completed the queued message.
    case delivered
    /// The queued message expired unread.
    case expired
    /// In words: the device did not answer, does not exist, refused the message …
    case failed(String)
}

/// Keeps what is known of each command. The store implements it; every write is durable when it returns.
public protocol ConnectorStore: Sendable {
    func record(of command: UniqueID) async throws -> CommandRecord?
    /// Replaces the record of its command.
    func save(_ record: CommandRecord) async throws
    /// Removes reported records that were changed before `instant`.
    func forget(before instant: WallInstant) async throws
}
