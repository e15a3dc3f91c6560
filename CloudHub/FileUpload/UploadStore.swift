public import BlobStore
public import Primitives

/// One upload that a device asked for.
public struct UploadRecord: Sendable, Hashable {
    public let correlation: UniqueID
    public let device: DeviceID
    public let blob: BlobName
    /// Where the device was sent to: host, and port if it is not the standard one.
    public let host: String
    public let startedAt: WallInstant
    /// When its signature ends.
    public let expiresAt: WallInstant
    /// When the device said how it ended.
    public var endedAt: WallInstant?

    public init(
        correlation: UniqueID, device: DeviceID, blob: BlobName, host: String, startedAt: WallInstant,
        expiresAt: WallInstant, endedAt: WallInstant? = nil
    ) {
        self.correlation = correlation
        self.device = device
        self.blob = blob
        self.host = host
        self.startedAt = startedAt
        self.expiresAt = expiresAt
        self.endedAt = endedAt
    }
}

/// What a service is told about an uploaded file. Source: IoT Hub, file upload notifications.
public struct FileNotification: Sendable, Hashable {
    public let device: DeviceID
    public let blobURI: String
    public let blob: BlobName
    /// `nil` when the store could not be asked.
    public let bytes: Int64?
    public let updatedAt: WallInstant
    public let enqueuedAt: WallInstant

    public init(
        device: DeviceID, blobURI: String, blob: BlobName, bytes: Int64?, updatedAt: WallInstant,
        enqueuedAt: WallInstant
    ) {
        self.device = device
        self.blobURI = blobURI
        self.blob = blob
        self.bytes = bytes
        self.updatedAt = updatedAt
        self.enqueuedAt = enqueuedAt
    }
}

/// A notification in the queue.
public struct QueuedNotification: Sendable, Hashable {
    public let sequence: Int64
    public let notification: FileNotification

    public init(sequence: Int64, notification: FileNotification) {
        self.sequence = sequence
        self.notification = notification
    }
}

/// Uploads and notifications, durable. Every change is one transaction, on the disk when it returns.
public protocol UploadStore: Sendable {
    /// Adds an upload unless its device has this many that neither ended nor expired.
    ///
    /// - Returns: whether it was added.
    func begin(_ upload: UploadRecord, activeMax: Int) async throws -> Bool
    func upload(_ correlation: UniqueID) async throws -> UploadRecord?
    /// Ends an upload and queues its notification, both or none.
    ///
    /// - Returns: `nil` when it had ended before; else how many notifications had to go for this one.
    func end(
        _ correlation: UniqueID, at now: WallInstant, notification: FileNotification?, queueMax: Int
    ) async throws -> Int?
    /// Oldest first; stays in the queue.
    func notifications(most: Int) async throws -> [QueuedNotification]
    func removeNotifications(_ sequences: [Int64]) async throws
    /// Forgets uploads that expired, and notifications that were queued, before these times.
    func removeOld(uploadsBefore: WallInstant, notificationsBefore: WallInstant) async throws
}
