import EventLog
import NIOCore
import Primitives
import Telemetry
import Testing

@Suite struct EventChunkTests {
    static let gateway = EventOrigin(
        device: DeviceID("gateway-1") ?? .anyone, module: nil, authGeneration: "638", authScope: "device",
        authType: "sas")
    static let module = EventOrigin(
        device: DeviceID("gateway-1") ?? .anyone, module: "filter", authGeneration: "639", authScope: "module",
        authType: "x509Certificate")
    static let row = EventChunk.Row(partition: 3, baseOffset: 100, enqueuedAt: WallInstant(milliseconds: 5))
    static let noLimits = EventChunk.ReadLimits(eventsMax: .max, bytesMax: .max)

    @Test func eventsComeBackAsTheyWereAppended() throws {
        var builder = GroupBuilder(partitionCount: 1)
        var first = EventStamp(origin: Self.gateway, partitionCount: 1)
        var second = EventStamp(origin: Self.module, partitionCount: 1)
        builder.add(&first, bag: "a=1", body: "one")
        builder.add(&second, bag: "", body: "two")
        builder.add(&first, bag: "%24.mid=7", body: "")
        let group = builder.seal()
        let chunk = try #require(group.chunks.first)
        #expect(group.chunks.count == 1 && chunk.eventCount == 3)
        let events = try chunk.events(Self.row, from: 0, Self.noLimits)
        #expect(events.map(\.offset) == [100, 101, 102])
        #expect(events.map { String(decoding: $0.body, as: UTF8.self) } == ["one", "two", ""])
        #expect(events.map(\.header.bag) == ["a=1", "", "%24.mid=7"])
        #expect(events.map(\.header.origin) == [Self.gateway, Self.module, Self.gateway])
        #expect(events.allSatisfy { $0.header.enqueuedAt == Self.row.enqueuedAt && $0.partition == 3 })
        let isEmpty = builder.isEmpty
        #expect(isEmpty)
    }

    @Test func readingStartsAtTheOffsetAndKeepsTheLimits() throws {
        var builder = GroupBuilder(partitionCount: 1)
        var stamp = EventStamp(origin: Self.gateway, partitionCount: 1)
        for number in 0..<10 { builder.add(&stamp, bag: "", body: "event \(number)") }
        let group = builder.seal()
        let chunk = try #require(group.chunks.first)
        let two = try chunk.events(Self.row, from: 104, .init(eventsMax: 2, bytesMax: .max))
        #expect(two.map(\.offset) == [104, 105])
        let small = try chunk.events(Self.row, from: 0, .init(eventsMax: 100, bytesMax: 15))
        #expect(small.map(\.offset) == [100, 101])
        let one = try chunk.events(Self.row, from: 0, .init(eventsMax: 100, bytesMax: 1))
        #expect(one.map(\.offset) == [100], "an event larger than the limit still comes, alone")
    }

    @Test func aFullChunkIsClosedAndTheOriginStandsInEach() throws {
        var builder = GroupBuilder(partitionCount: 1)
        var stamp = EventStamp(origin: Self.gateway, partitionCount: 1)
        let body = String(repeating: "x", count: 100_000)
        for _ in 0..<5 { builder.add(&stamp, bag: "", body: body) }
        let group = builder.seal()
        #expect(group.chunks.map(\.eventCount) == [2, 2, 1])
        for chunk in group.chunks {
            #expect(chunk.bytes.readableBytes <= EventChunk.bytesSoftMax)
            #expect(try chunk.events(Self.row, from: 0, Self.noLimits).allSatisfy { $0.header.origin == Self.gateway })
        }
    }

    @Test func recycledBuffersDoNotLeakOldEvents() throws {
        var builder = GroupBuilder(partitionCount: 1)
        var stamp = EventStamp(origin: Self.gateway, partitionCount: 1)
        builder.add(&stamp, bag: "", body: "old")
        builder.recycle(builder.seal())
        builder.add(&stamp, bag: "", body: "new")
        let chunk = try #require(builder.seal().chunks.first)
        let events = try chunk.events(Self.row, from: 0, Self.noLimits)
        #expect(events.map { String(decoding: $0.body, as: UTF8.self) } == ["new"])
    }

    @Test func damagedBytesAreAnErrorAndNeverATrap() throws {
        var builder = GroupBuilder(partitionCount: 1)
        var stamp = EventStamp(origin: Self.gateway, partitionCount: 1)
        builder.add(&stamp, bag: "k=v", body: "body")
        let good = Array(try #require(builder.seal().chunks.first).bytes.readableBytesView)
        var random = SeededRandom(seed: 7)
        var refused = 0
        for _ in 0..<20_000 {
            var bytes = Array(good.prefix(Int.random(in: 0...good.count, using: &random)))
            for _ in 0..<Int.random(in: 0...3, using: &random) where !bytes.isEmpty {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            do {
                _ = try bytes.withUnsafeBytes {
                    try EventChunk.events(in: $0, row: Self.row, from: 0, limits: Self.noLimits)
                }
            } catch let error as EventLogError {
                #expect(error.problem == .damaged)
                refused += 1
            }
        }
        #expect(refused > 1000)
    }

    @Test func editsTouchOnlyTheirBatch() throws {
        var builder = GroupBuilder(partitionCount: 1)
        var stamp = EventStamp(origin: Self.gateway, partitionCount: 1)
        builder.add(&stamp, bag: "", body: "before")
        for body in ["kept", "dropped", "replaced"] { builder.add(&stamp, bag: "b=1", body: body, batch: .of(stamp)) }
        builder.add(&stamp, bag: "", body: "after")
        let chunk = try #require(builder.seal().chunks.first)
        #expect(
            chunk.batches.map { String(decoding: chunk.body(of: $0), as: UTF8.self) } == [
                "kept", "dropped", "replaced",
            ])
        let (bytes, count) = chunk.applying([.keep, .drop, .replaceBody(Array("shorter".utf8))])
        let events = try bytes.withUnsafeReadableBytes {
            try EventChunk.events(in: $0, row: Self.row, from: 0, limits: Self.noLimits)
        }
        #expect(count == 4)
        #expect(events.map { String(decoding: $0.body, as: UTF8.self) } == ["before", "kept", "shorter", "after"])
        #expect(events.map(\.header.isBatch) == [false, true, true, false])
        #expect(events.map(\.header.bag) == ["", "b=1", "b=1", ""])
    }

    @Test func aDeviceKeepsItsPartition() {
        #expect(EventStamp.partition(of: DeviceID("thermostat-1") ?? .anyone, count: 4) == 2)
        #expect(EventStamp.partition(of: DeviceID("thermostat-2") ?? .anyone, count: 4) == 3)
        #expect(EventStamp.partition(of: DeviceID("meter") ?? .anyone, count: 32) == 2)
    }
}
