import Control
import EventLog
import HubContract
import JSON
import Primitives
import Registry

extension Verbs {
    /// Streams events as they are stored: of one device or of all, from now or from the oldest kept one.
    func monitor(
        _ request: ControlRequest, send: @Sendable (ControlAnswer) async -> Bool
    ) async throws -> ControlAnswer {
        let hub = try hub(request)
        let device = request.text("id") == nil ? nil : try deviceID(request)
        if let device, registry.device(device) == nil {
            throw ControlError("device \(device) is not registered; 'cloud-hub device list' shows which are")
        }
        let follower = LogFollower(log: hub.log, device: device)
        let fromStart = request.isSet("fromStart")
        for try await event in follower.events(fromStart: fromStart, follow: !request.isSet("noFollow")) {
            guard await send(.item(EventView.json(event))) else { break }
        }
        return .done(.null)
    }
}

/// Reads the partitions side by side and waits for appends in between.
private struct LogFollower {
    private static let chunkEvents = 500
    private static let chunkBytes = 1024 * 1024

    let log: any EventLog
    let device: DeviceID?

    /// One chunk is read ahead of the reader, no more: a slow terminal slows this down and nothing else.
    func events(fromStart: Bool, follow: Bool) -> AsyncThrowingStream<StoredEvent, any Error> {
        let (wakes, wake) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        let token = log.onAppend { wake.yield() }
        let cursor = Cursor(
            next: (0..<log.partitionCount).map { fromStart ? 0 : log.nextOffset(partition: $0) }, wakes: wakes,
            token: token)
        return AsyncThrowingStream { try await cursor.nextEvent(self, follow: follow) }
    }

    fileprivate func chunk(_ partition: Int, from offset: Int64) throws -> [StoredEvent] {
        try log.read(partition: partition, from: offset, eventsMax: Self.chunkEvents, bytesMax: Self.chunkBytes)
    }

    fileprivate func isWanted(_ event: StoredEvent) -> Bool { device == nil || event.header.device == device }
}

/// Where one follower stands.
private actor Cursor {
    private var next: [Int64]
    private var ready: [StoredEvent] = []
    private var iterator: AsyncStream<Void>.Iterator
    private let token: WakeToken

    init(next: [Int64], wakes: AsyncStream<Void>, token: WakeToken) {
        self.next = next
        iterator = wakes.makeAsyncIterator()
        self.token = token
    }

    func nextEvent(_ follower: LogFollower, follow: Bool) async throws -> StoredEvent? {
        while ready.isEmpty {
            let advanced = try readMore(follower)
            if !ready.isEmpty || advanced { continue }
            guard follow, !Task.isCancelled else { return nil }
            var waiting = iterator
            let woken: Void? = await waiting.next(isolation: #isolation)
            iterator = waiting
            guard woken != nil else { return nil }
        }
        return ready.removeFirst()
    }

    /// - Returns: whether any partition had more.
    private func readMore(_ follower: LogFollower) throws -> Bool {
        var advanced = false
        for partition in next.indices {
            let events = try follower.chunk(partition, from: next[partition])
            guard let last = events.last else { continue }
            advanced = true
            next[partition] = last.offset + 1
            ready += events.filter(follower.isWanted)
        }
        return advanced
    }
}
