import HubConfig
import Hummingbird
import HummingbirdCore
import HummingbirdTLS
import Logging
import NIOCore
import NIOSSL
import ServiceLifecycle
import Synchronization

/// One HTTP listener: it binds in `start` and serves until `stop`.
final class WebServer: Sendable {
    let port: Int
    /// Requests that are being answered when the hub stops may take this long.
    private static let drainTimeMax = Duration.seconds(2)

    private let services: ServiceGroup
    private let task: Task<Void, Never>

    private init(port: Int, services: ServiceGroup, task: Task<Void, Never>) {
        self.port = port
        self.services = services
        self.task = task
    }

    /// - Parameter tls: `nil` for plain HTTP.
    /// - Throws: the operating system's error when the address cannot be bound.
    static func start(
        _ router: Router<BasicRequestContext>, at address: HostPort, tls: TLSConfiguration?,
        group: any EventLoopGroup, logger: Logger
    ) async throws -> WebServer {
        let opened = Opened()
        let application = Application(
            router: router, server: try server(tls),
            configuration: .init(
                address: .hostname(address.host, port: address.port), serverName: "fieldline"),
            onServerRunning: { channel in opened.resolve(.success(channel.localAddress?.port ?? address.port)) },
            eventLoopGroupProvider: .shared(group), logger: logger)
        var configuration = ServiceGroupConfiguration(services: [application], logger: logger)
        configuration.maximumGracefulShutdownDuration = drainTimeMax
        let services = ServiceGroup(configuration: configuration)
        let task = Task {
            do {
                try await services.run()
                opened.resolve(.failure(CancellationError()))
            } catch {
                opened.resolve(.failure(error))
            }
        }
        return WebServer(port: try await opened.value(), services: services, task: task)
    }

    func stop() async {
        await services.triggerGracefulShutdown()
        await task.value
    }

    private static func server(_ tls: TLSConfiguration?) throws -> HTTPServerBuilder {
        guard let tls else { return .http1(configuration: .init(idleTimeout: .seconds(60))) }
        return try .tls(.http1(configuration: .init(idleTimeout: .seconds(60))), tlsConfiguration: tls)
    }
}

/// The first of two outcomes: the listener accepts, or it could not be opened.
private final class Opened: Sendable {
    private enum State {
        case pending
        case waiting(CheckedContinuation<Int, any Error>)
        case resolved(Result<Int, any Error>)
    }

    private let state = Mutex(State.pending)

    func resolve(_ result: Result<Int, any Error>) {
        let waiting: CheckedContinuation<Int, any Error>? = state.withLock { state in
            switch state {
            case .pending:
                state = .resolved(result)
                return nil
            case .waiting(let continuation):
                state = .resolved(result)
                return continuation
            case .resolved: return nil
            }
        }
        waiting?.resume(with: result)
    }

    func value() async throws -> Int {
        try await withCheckedThrowingContinuation { continuation in
            let resolved: Result<Int, any Error>? = state.withLock { state in
                if case .resolved(let result) = state { return result }
                state = .waiting(continuation)
                return nil
            }
            if let resolved { continuation.resume(with: resolved) }
        }
    }
}
