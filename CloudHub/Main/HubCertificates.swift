import Certificates
import HubClock
import HubTLS
import Listeners
import Logging
import NIOCore
import Primitives
import Synchronization

/// The server certificate of a running hub: one for every listener, renewed and replaced in place.
final class HubCertificates: Sendable {
    /// The longest time between two looks at the files, and the time after one that helped nothing.
    private static let lookInterval = Duration.seconds(86_400)
    private static let retryInterval = Duration.seconds(3_600)

    private struct Loaded: Sendable {
        let certificate: ServerCertificate
        let identity: TLSIdentity
    }

    private let folder: String
    private let hostname: String
    private let current: Mutex<Loaded>
    private let tls = Mutex<ServerTLS?>(nil)
    /// One look at a time.
    private let looking = Mutex<Void>(())
    private let logger = Logger(label: "certificates")

    init(settings: ServeSettings) throws {
        folder = settings.directory.tls
        hostname = settings.hostname
        let loaded = try Self.load(folder, hostname)
        current = Mutex(loaded)
        tell(loaded.certificate)
    }

    /// For `/healthz` and `/metrics`.
    var certificate: ServerCertificate { current.withLock { $0.certificate } }

    /// For the listeners, which share it.
    func serverTLS() throws -> ServerTLS {
        let loaded = current.withLock { $0 }
        let made = try ServerTLS(loaded.identity)
        tls.withLock { $0 = made }
        return made
    }

    /// Looks once a day and when the certificate is due, until the task is cancelled.
    func watch() async {
        var wait = untilDue() ?? Self.retryInterval
        while true {
            do { try await Task.sleep(for: wait) } catch { return }
            look()
            wait = untilDue() ?? Self.retryInterval
        }
    }

    /// Looks at the files now: renews what is due and takes up what was replaced. New connections get what is there
    /// then, open ones keep what they have. When the files are no good, the hub goes on with what it has.
    func look() {
        looking.withLock { _ in
            do {
                let fresh = try Self.load(folder, hostname)
                let old = current.withLock { $0 }
                guard fresh.identity.certificates != old.identity.certificates else { return tell(fresh.certificate) }
                try tls.withLock { try $0?.replace(fresh.identity) }
                current.withLock { $0 = fresh }
                tell(fresh.certificate)
                logger.info(
                    fresh.certificate.isNew
                        ? "the server certificate was renewed" : "the server certificate was replaced",
                    metadata: ["ends": "\(fresh.certificate.expiresAt)"])
            } catch {
                logger.error(
                    "the server certificate could not be renewed; the hub goes on with the one it has",
                    metadata: ["reason": "\(error)"])
            }
        }
    }

    /// `nil` when it is due already, so that the last look did not help.
    private func untilDue() -> Duration? {
        guard let renewsAt = certificate.renewsAt else { return Self.lookInterval }
        let due = renewsAt - SystemTime.wall()
        return due > .zero ? min(due, Self.lookInterval) : nil
    }

    private static func load(_ folder: String, _ hostname: String) throws -> Loaded {
        let certificate = try ServerCertificate.ensure(directory: folder, hostname: hostname, now: SystemTime.wall())
        return Loaded(
            certificate: certificate,
            identity: try TLSIdentity(certificatePath: certificate.certificatePath, keyPath: certificate.keyPath))
    }

    private func tell(_ certificate: ServerCertificate) {
        for warning in certificate.warnings {
            logger.warning("the server certificate needs attention", metadata: ["reason": "\(warning)"])
        }
    }
}
