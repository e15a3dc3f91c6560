import Foundation
import HubHarness
import Listeners
import Logging
import Primitives
import SQLiteHubStore

/// The listener and the event log alone, to be measured: `bare-hub FOLDER PORT KEY_BASE64 TLS_FOLDER`.
@main
struct Program {
    static func main() async throws {
        let arguments = CommandLine.arguments
        guard arguments.count == 5, let port = Int(arguments[2]), let key = Base64.decode(arguments[3]) else {
            FileHandle.standardError.write(Data("usage: bare-hub FOLDER PORT KEY_BASE64 TLS_FOLDER\n".utf8))
            exit(2)
        }
        var options = BareHub.Options()
        options.key = key
        options.listener.port = port
        options.logger = Logger(label: "bare-hub", factory: { StreamLogHandler.standardError(label: $0) })
        // For trying out the store: BARE_HUB_PAGE_BYTES, BARE_HUB_WAL_BYTES, BARE_HUB_CACHE_KIB.
        let environment = ProcessInfo.processInfo.environment
        if let bytes = environment["BARE_HUB_PAGE_BYTES"].flatMap(Int.init) { options.log.pageBytes = bytes }
        if let bytes = environment["BARE_HUB_WAL_BYTES"].flatMap(Int.init) { options.log.walBytesMax = bytes }
        if let size = environment["BARE_HUB_CACHE_KIB"].flatMap(Int.init) { options.log.cacheKiB = size }
        let hub = try await BareHub(folder: arguments[1], tls: arguments[4], options: options)
        FileHandle.standardOutput.write(Data("bare-hub ready \(hub.port)\n".utf8))
        signal(SIGTERM, SIG_IGN)
        let (stops, continuation) = AsyncStream.makeStream(of: Void.self)
        let source = DispatchSource.makeSignalSource(signal: SIGTERM, queue: .global())
        source.setEventHandler { continuation.yield() }
        source.resume()
        for await _ in stops { break }
        try await hub.stop()
        let counters = hub.log.counters
        let seconds = counters.commits > 0 ? counters.commitSeconds / Double(counters.commits) : 0
        let text =
            "commits \(counters.commits), events \(counters.events), seconds a commit \(seconds), "
            + "checkpoints \(counters.checkpoints)\n"
        FileHandle.standardOutput.write(Data(text.utf8))
    }
}
