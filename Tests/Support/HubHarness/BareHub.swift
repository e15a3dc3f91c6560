import EventLog
import Foundation
import HubContract
import HubTLS
import Ingest
public import Journal
public import Listeners
public import Logging
import NIOCore
public import NIOPosix
public import Primitives
public import SQLiteHubStore
public import Sessions
public import Throttles

/// A hub of nothing but a listener and the event log: for the tests of the data plane, and to measure it alone.
public final class BareHub: Sendable {
    public let port: Int
    public let log: SQLiteEventLog
    public let services: HarnessServices
    public let connected: ConnectedDevices
    public let authority: HarnessAuthority
    public let listener: MQTTListener
    public let admission: HandshakeAdmission
    public let tls: ServerTLS
    /// What the listener runs on, for others that stand beside it.
    public let group: MultiThreadedEventLoopGroup
    /// Every id counts as registered.
    public let journal: DeviceJournal

    public struct Options: Sendable {
        public var key = Array("a key for tests".utf8)
        public var log = SQLiteEventLog.Options()
        public var listener = MQTTListener.Configuration()
        public var handshakes = HandshakeLimits()
        /// Gateway by child.
        public var gateways: [DeviceID: DeviceID] = [:]
        /// Children that are disabled.
        public var disabled: Set<DeviceID> = []
        public var threads = 2
        /// `nil` lets everything through, and costs nothing.
        public var throttles: ThrottleLimits?
        public var logger = Logger(label: "bare-hub", factory: { _ in SwiftLogNoOpLogHandler() })

        public init() { listener.port = 0 }
    }

    /// Opens `log.sqlite` in the folder and listens with the test certificate at `tls`.
    public init(folder: String, tls folderTLS: String, options: Options = Options()) async throws {
        let now: @Sendable () -> WallInstant = {
            WallInstant(milliseconds: Int64(Date().timeIntervalSince1970 * 1000))
        }
        let gateways = options.gateways
        let disabled = options.disabled
        log = try SQLiteEventLog(
            path: folder + "/log.sqlite", options: options.log, logger: options.logger, now: now)
        services = HarnessServices()
        connected = ConnectedDevices { gateways[$0] }
        authority = HarnessAuthority(key: options.key)
        group = MultiThreadedEventLoopGroup(numberOfThreads: options.threads)
        tls = try ServerTLS(
            TLSIdentity(
                certificatePath: folderTLS + "/localhost-cert.pem", keyPath: folderTLS + "/localhost-key.pem"))
        admission = HandshakeAdmission(limits: options.handshakes, group: group)
        journal = DeviceJournal(clock: now) { _ in true }
        let clock: @Sendable () -> MonotonicInstant = {
            MonotonicInstant(nanoseconds: Int64(clamping: NIODeadline.now().uptimeNanoseconds))
        }
        listener = MQTTListener(
            configuration: options.listener, tls: tls, admission: admission,
            dependencies: MQTTDependencies(
                authority: authority, services: services, connected: connected, eventLog: log,
                intake: TelemetryIntake { child in gateways[child].map { ($0, !disabled.contains(child)) } },
                throttles: options.throttles.map { Throttles($0, clock: clock) }, journal: journal,
                logger: options.logger,
                now: now),
            group: group)
        port = try await listener.start()
    }

    public func stop() async throws {
        await listener.stop()
        log.close()
        try await group.shutdownGracefully()
    }
}
