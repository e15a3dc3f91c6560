import Glibc
import HubClock
import Hummingbird
import Logging
import NIOCore
public import Primitives
public import ServiceDesk
import Synchronization

/// The real service desk behind a real socket on loopback.
public final class LiveDesk: Sendable {
    public let desk: ServiceDesk
    public let origin: String
    public let port: Int
    /// Makes requests fail, on demand.
    public let trouble: DeskTrouble
    private let server: Task<Void, any Error>

    private init(desk: ServiceDesk, port: Int, trouble: DeskTrouble, server: Task<Void, any Error>) {
        self.desk = desk
        self.trouble = trouble
        self.port = port
        self.server = server
        origin = "http://127.0.0.1:\(port)"
    }

    /// - Parameter port: 0 takes a free one.
    public static func start(
        folder: String, port: Int = 0, tokenLifetime: Duration = .seconds(3599),
        now: @escaping @Sendable () -> WallInstant = { TestClock.wall }
    ) async throws -> LiveDesk {
        var log = Logger(label: "desk")
        log.logLevel = .critical
        let desk = try ServiceDesk(
            DeskConfiguration(folder: folder, tokenLifetime: tokenLifetime, now: now), log: log)
        let router = Router()
        let trouble = DeskTrouble()
        router.add(middleware: TroubleMiddleware(trouble: trouble))
        desk.addRoutes(to: router)
        let (ports, found) = AsyncStream<Int>.makeStream()
        var configuration = ApplicationConfiguration(address: .hostname("127.0.0.1", port: port))
        configuration.reuseAddress = true
        let application = Application(
            router: router, configuration: configuration,
            onServerRunning: { channel in
                found.yield(channel.localAddress?.port ?? 0)
                found.finish()
            }, logger: log)
        let server = Task {
            defer { found.finish() }
            try await application.run()
        }
        var iterator = ports.makeAsyncIterator()
        guard let bound = await iterator.next() else {
            try await server.value
            throw CancellationError()
        }
        return LiveDesk(desk: desk, port: bound, trouble: trouble, server: server)
    }

    /// Closes the socket and the database; the files stay.
    public func stop() async throws {
        server.cancel()
        _ = await server.result
        try desk.close()
    }
}

public enum TestClock {
    /// The machine's civil clock.
    public static var wall: WallInstant { SystemTime.wall() }
}

/// A civil clock that a test sets by hand.
public final class SetClock: Sendable {
    private let instant: Mutex<WallInstant>

    public init(_ instant: WallInstant) { self.instant = Mutex(instant) }

    public var now: WallInstant { instant.withLock { $0 } }

    public func advance(by duration: Duration) { instant.withLock { $0 = $0 + duration } }
}

/// A folder that goes away with its owner.
public final class TemporaryFolder: Sendable {
    public let path: String

    public init() {
        var template = Array("/tmp/fieldline-test-XXXXXX".utf8CString)
        path = template.withUnsafeMutableBufferPointer { buffer in
            mkdtemp(buffer.baseAddress!).map { String(cString: $0) } ?? "/tmp"
        }
        precondition(path != "/tmp", "a temporary folder could not be made")
    }

    deinit {
        guard let folder = opendir(path) else { return }
        while let entry = readdir(folder) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            unlink(path + "/" + name)
        }
        closedir(folder)
        rmdir(path)
    }
}
