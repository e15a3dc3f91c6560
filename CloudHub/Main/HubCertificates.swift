import HubClock
import Certificates
import Listeners
import Logging
import NIOCore
import NIOSSL
import Primitives
import Synchronization

/// The server certificate of a running hub: loaded for every listener, looked at once a day, renewed in place.
final class HubCertificates: Sendable {
    private let folder: String
    private let hostname: String
    private let current: Mutex<ServerCertificate>
    private let listener = Mutex<ServerTLS?>(nil)
    private let logger = Logger(label: "certificates")

    init(settings: ServeSettings) throws {
        folder = settings.directory.tls
        hostname = settings.hostname
        let certificate = try ServerCertificate.ensure(directory: folder, hostname: hostname, now: SystemTime.wall())
        current = Mutex(certificate)
        tell(certificate)
    }

    var daysLeft: Int { current.withLock { $0 }.daysLeft(at: SystemTime.wall()) }

    /// For MQTT; renewed without closing a connection.
    func listenerTLS() throws -> ServerTLS {
        let (chain, key) = try load()
        let tls = try ServerTLS(chain: chain, privateKey: key)
        listener.withLock { $0 = tls }
        return tls
    }

    /// For HTTPS; a handshake takes the certificate that is there then.
    func webConfiguration() throws -> TLSConfiguration {
        let (chain, key) = try load()
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
        configuration.minimumTLSVersion = .tlsv12
        configuration.sslContextCallback = { [weak self] _, promise in
            guard let self else { return promise.succeed(.noChanges) }
            do {
                let (chain, key) = try self.load()
                var override = NIOSSLContextConfigurationOverride.noChanges
                override.certificateChain = chain.map { .certificate($0) }
                override.privateKey = .privateKey(key)
                promise.succeed(override)
            } catch {
                promise.fail(error)
            }
        }
        return configuration
    }

    /// Looks once a day, until the task is cancelled.
    func watch() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(86_400))
            guard !Task.isCancelled else { return }
            do {
                let certificate = try ServerCertificate.ensure(
                    directory: folder, hostname: hostname, now: SystemTime.wall())
                current.withLock { $0 = certificate }
                tell(certificate)
                guard certificate.isNew else { continue }
                let (chain, key) = try load()
                try listener.withLock { try $0?.replace(chain: chain, privateKey: key) }
                logger.info("the server certificate was renewed", metadata: ["daysLeft": "\(daysLeft)"])
            } catch {
                logger.error(
                    "the server certificate could not be renewed; check the files in the folder",
                    metadata: ["folder": "\(folder)", "error": "\(error)"])
            }
        }
    }

    private func load() throws -> (chain: [NIOSSLCertificate], key: NIOSSLPrivateKey) {
        let certificate = current.withLock { $0 }
        return (
            try NIOSSLCertificate.fromPEMFile(certificate.certificatePath),
            try NIOSSLPrivateKey(file: certificate.keyPath, format: .pem)
        )
    }

    private func tell(_ certificate: ServerCertificate) {
        for warning in certificate.warnings { logger.warning("\(warning)") }
    }
}
