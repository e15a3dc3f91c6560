public import BlobStore
public import HubContract
public import Logging
public import Primitives

/// Where devices put their files.
public struct UploadTarget: Sendable {
    /// `nil`: the hub itself, under the name that the device called it by.
    public let host: String?
    public let container: String
    public let access: SharedAccess
    /// The hub's own blobs; `nil` with a store elsewhere.
    public let blobs: Blobs?
    /// Where devices put their files without the hub.
    public let azure: AzureAccount?

    public init(
        host: String?, container: String, access: SharedAccess, blobs: Blobs?, azure: AzureAccount? = nil
    ) {
        self.host = host
        self.container = container
        self.access = access
        self.blobs = blobs
        self.azure = azure
    }
}

/// What a device needs to put its file.
public struct UploadTicket: Sendable, Hashable {
    public let correlation: UniqueID
    public let host: String
    public let container: String
    public let blob: BlobName
    /// Begins with a question mark.
    public let sasToken: String
}

/// The three steps of IoT Hub's file upload: ask for a place, put the file there, say how it ended.
public final class FileUploads: Sendable {
    public struct Limits: Sendable, Hashable {
        /// How long a signature is valid.
        public var lifetime = Duration.seconds(3600)
        /// Uploads of one device that have neither ended nor expired.
        public var activeMax = 10
        /// Notifications that wait for a service; the oldest goes for a new one.
        public var notificationsMax = 10_000
        /// How long a notification waits.
        public var notificationAge = Duration.seconds(2 * 86_400)

        public init() {}
    }

    /// How long after its end a correlation id is still told from one that never was.
    private static let memory = Duration.seconds(86_400)

    public let target: UploadTarget
    private let store: any UploadStore
    private let limits: Limits
    private let clock: @Sendable () -> WallInstant
    private let logger: Logger

    public init(
        target: UploadTarget, store: any UploadStore, limits: Limits, clock: @escaping @Sendable () -> WallInstant,
        logger: Logger = Logger(label: "files")
    ) {
        self.target = target
        self.store = store
        self.limits = limits
        self.clock = clock
        self.logger = logger
    }

    /// Gives a device a place for one file. The place is remembered before it is told.
    ///
    /// - Parameters:
    ///   - path: what the device calls the file.
    ///   - host: the name and port that the device called the hub by.
    /// - Throws: 400004 when it is no blob name, 403002 when there is no room, 403006 with too many uploads.
    public func start(_ device: DeviceID, path: String, host: String) async throws(HubError) -> UploadTicket {
        guard let blob = BlobName("\(device)/\(path)") else {
            throw HubError(
                .argumentInvalid,
                "blobName has to have 1 to \(BlobName.lengthMax - device.text.utf8.count - 1) characters, none of them "
                    + "a control character or a backslash, and no part that is empty, '.' or '..'")
        }
        guard target.blobs?.fits(blob) ?? true else {
            throw HubError(
                .argumentInvalid, "blobName is too long for the store behind this hub, which takes names of 1024 bytes")
        }
        guard target.blobs?.hasRoom() ?? true else {
            throw HubError(
                .iotHubQuotaExceeded,
                "the hub's room for files is full; its operator has to raise files.quota or lower files.retention_age")
        }
        let now = clock()
        var random = SystemRandomNumberGenerator()
        let upload = UploadRecord(
            correlation: .random(using: &random), device: device, blob: blob, host: target.host ?? host, startedAt: now,
            expiresAt: now + limits.lifetime)
        let isAdded = try await stored("remember an upload") {
            try await store.begin(upload, activeMax: limits.activeMax)
        }
        guard isAdded else {
            throw HubError(
                .deviceMaximumActiveFileUploadLimitExceeded,
                "\(limits.activeMax) uploads of this device are under way; end one with a notification, or wait until "
                    + "one expires")
        }
        return UploadTicket(
            correlation: upload.correlation, host: upload.host, container: target.container, blob: blob,
            sasToken: target.access.token(for: blob, [.read, .write], until: upload.expiresAt))
    }

    /// The device's word on how an upload ended; each correlation id is good for one.
    ///
    /// - Throws: 400015 for an id that is unknown, another device's or used, 400016 for one that expired, 400020 when
    ///   the file is not there.
    public func end(_ device: DeviceID, _ report: UploadReport) async throws(HubError) {
        let now = clock()
        let upload = try await stored("look an upload up") { try await store.upload(report.correlation) }
        guard let upload, upload.device == device else {
            throw HubError(.invalidFileUploadCorrelationID, "correlationId is none that this device was given")
        }
        guard upload.endedAt == nil else { throw Self.isUsed }
        guard now < upload.expiresAt else {
            throw HubError(
                .expiredFileUploadCorrelationID,
                "the upload expired at \(upload.expiresAt); ask for a new correlation id")
        }
        let notification = report.isSuccess ? try await notification(of: upload, at: now) : nil
        let dropped = try await stored("end an upload") {
            try await store.end(
                upload.correlation, at: now, notification: notification, queueMax: limits.notificationsMax)
        }
        guard let dropped else { throw Self.isUsed }
        tell(upload, report, notification)
        if dropped > 0 {
            logger.warning(
                "the oldest file notifications were dropped; nobody reads them", metadata: ["count": "\(dropped)"])
        }
        do { try await target.blobs?.removeStaged(of: upload.blob) } catch {
            logger.debug("staged blocks stay until they expire", metadata: ["error": "\(error)"])
        }
    }

    private static let isUsed = HubError(
        .invalidFileUploadCorrelationID, "this correlationId was used before; ask for a new one with each file")

    private func notification(of upload: UploadRecord, at now: WallInstant) async throws(HubError) -> FileNotification {
        var facts: BlobFacts?
        var bytes: Int64?
        var isMissing = false
        if let blobs = target.blobs {
            facts = try await stored("look a file up") { try await blobs.facts(of: upload.blob) }
            bytes = facts?.bytes
            isMissing = facts == nil
        } else if let azure = target.azure {
            switch await azure.look(for: upload.blob) {
            case .there(let size): bytes = size
            case .missing: isMissing = true
            case .trouble: break  // the device has done its part; services are told without a size
            }
        }
        guard !isMissing else {
            throw HubError(
                .invalidStorageEndpointOrBlob, "there is no file \(upload.blob); put it first, then notify")
        }
        let path = upload.blob.text.split(separator: "/").map { PercentEncoding.encode($0) }.joined(separator: "/")
        return FileNotification(
            device: upload.device, blobURI: "https://\(upload.host)/\(target.container)/\(path)", blob: upload.blob,
            bytes: bytes, updatedAt: facts?.modifiedAt ?? now, enqueuedAt: now)
    }

    private func tell(_ upload: UploadRecord, _ report: UploadReport, _ notification: FileNotification?) {
        var facts: Logger.Metadata = ["device": "\(upload.device)", "file": "\(upload.blob.path)"]
        guard let notification else {
            facts["status"] = "\(report.status.map(String.init) ?? "none")"
            facts["description"] = "\(report.description.prefix(256))"
            return logger.warning("a device failed to upload a file", metadata: facts)
        }
        if let bytes = notification.bytes { facts["bytes"] = "\(bytes)" }
        logger.info("a device uploaded a file", metadata: facts)
    }

    // MARK: - For services

    /// What no service has taken yet, oldest first.
    public func notifications(most: Int) async throws -> [QueuedNotification] {
        try await store.notifications(most: most)
    }

    public func notificationsHandled(_ sequences: [Int64]) async throws {
        try await store.removeNotifications(sequences)
    }

    // MARK: - Upkeep

    /// Forgets what is over, every minute, until the task is cancelled; so do the blobs.
    public func run() async {
        await withDiscardingTaskGroup { group in
            if let blobs = target.blobs { group.addTask { await blobs.run() } }
            if let azure = target.azure { group.addTask { await azure.run() } }
            group.addTask { await self.forget() }
        }
    }

    private func forget() async {
        while !Task.isCancelled {
            let now = clock()
            do {
                try await store.removeOld(
                    uploadsBefore: now + (.zero - Self.memory),
                    notificationsBefore: now + (.zero - limits.notificationAge))
            } catch {
                logger.warning(
                    "old uploads cannot be forgotten; trying again in a minute", metadata: ["error": "\(error)"])
            }
            try? await Task.sleep(for: .seconds(60))
        }
    }

    private func stored<Value>(
        _ doing: String, _ body: () async throws -> Value
    ) async throws(HubError) -> Value {
        do { return try await body() } catch {
            logger.error("the hub's store failed", metadata: ["doing": "\(doing)", "error": "\(error)"])
            throw HubError(.serviceUnavailable, "the hub could not \(doing); try again in a while")
        }
    }
}
