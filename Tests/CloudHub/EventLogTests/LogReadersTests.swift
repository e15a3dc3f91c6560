import EventLog
import Foundation
import HubTestSupport
import Primitives
import SQLiteHubStore
import Synchronization
import Testing

/// Many readers of one log at a time.
@Suite(.timeLimit(.minutes(1))) struct LogReadersTests {
    let folder: TemporaryFolder
    let log: SQLiteEventLog

    init() throws {
        folder = try TemporaryFolder()
        var options = SQLiteEventLog.Options()
        options.partitionCount = 1
        options.reserveBytes = 0
        log = try SQLiteEventLog(
            path: folder.file("log.sqlite"), options: options, logger: silent,
            now: { WallInstant(milliseconds: 1_795_251_600_000) })
    }

    private func append(_ bodies: [String]) async throws {
        var builder = GroupBuilder(partitionCount: 1)
        var stamp = EventStamp(origin: EventChunkTests.gateway, partitionCount: 1)
        for body in bodies { builder.add(&stamp, bag: "", body: body) }
        _ = try await log.append(builder.seal())
    }

    private func inThread(_ body: @escaping @Sendable () -> Void) { Thread.detachNewThread(body) }

    /// Open descriptors of this process on the log's database file.
    private func descriptorCount() throws -> Int {
        let path = folder.file("log.sqlite")
        return try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").filter {
            (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)")) == path
        }.count
    }

    @Test func aReaderInTheMiddleOfALongReadHoldsNeitherReadersNorTheWriter() async throws {
        try await append(["a", "b"])
        let mayGoOn = DispatchSemaphore(value: 0)
        let (begun, begin) = AsyncStream.makeStream(of: Void.self)
        let (ended, end) = AsyncStream.makeStream(of: (seen: Int, wasLetGo: Bool).self)
        inThread { [log] in
            var seen = 0
            var wasLetGo = true
            _ = try? log.read(
                partition: 0, from: 0, limits: EventChunk.ReadLimits(eventsMax: .max, bytesMax: .max)
            ) { _ in
                if seen == 0 {
                    begin.yield()
                    wasLetGo = mayGoOn.wait(timeout: .now() + 20) == .success
                }
                seen += 1
                return true
            }
            end.yield((seen, wasLetGo))
        }
        var begins = begun.makeAsyncIterator()
        await begins.next()

        #expect(try log.all().map(\.text) == ["a", "b"])
        #expect(try log.sequences(gateway: .anyone).isEmpty)
        #expect(try log.quarantine(gateway: nil, countMax: 1).isEmpty)
        try await append(["c"])
        #expect(try log.all().map(\.text) == ["a", "b", "c"])

        mayGoOn.signal()
        var ends = ended.makeAsyncIterator()
        let slow = try #require(await ends.next())
        #expect(slow.wasLetGo, "the others were done before the slow reader was")
        #expect(slow.seen == 2, "a read shows the log as it was when it began")
        log.close()
    }

    @Test func fourReadAtATimeAndTheOthersWaitForTheirTurn() async throws {
        try await append(["a"])
        struct Inside {
            var now = 0
            var most = 0
        }
        let inside = Mutex(Inside())
        let areFour = DispatchSemaphore(value: 0)
        let (reads, read) = AsyncStream.makeStream(of: Bool.self)
        let count = 12
        for _ in 0..<count {
            inThread { [log] in
                var wasInTime = true
                _ = try? log.read(
                    partition: 0, from: 0, limits: EventChunk.ReadLimits(eventsMax: .max, bytesMax: .max)
                ) { _ in
                    let isFourth = inside.withLock { inside in
                        inside.now += 1
                        inside.most = max(inside.most, inside.now)
                        return inside.most >= 4
                    }
                    // The first three stay inside until a fourth has joined them.
                    if !isFourth { wasInTime = areFour.wait(timeout: .now() + 20) == .success }
                    areFour.signal()
                    inside.withLock { $0.now -= 1 }
                    return true
                }
                read.yield(wasInTime)
            }
        }
        var done = 0
        for await wasInTime in reads {
            #expect(wasInTime)
            done += 1
            if done == count { break }
        }
        #expect(inside.withLock { $0.most } == 4)
        #expect(try descriptorCount() == 5, "the writer's and four readers'")
        log.close()
        #expect { try log.all() } throws: { ($0 as? EventLogError)?.problem == .closed }
        while try descriptorCount() > 0 { try await Task.sleep(for: .milliseconds(5)) }
    }
}
