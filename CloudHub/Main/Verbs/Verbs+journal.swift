import Control
import HubContract
import JSON
import Journal
import Primitives
import Registry

/// Why a device was refused, disconnected, throttled or quarantined. An id that is not registered may knock too.
extension Verbs {
    func showEvents(
        _ request: ControlRequest, send: @Sendable (ControlAnswer) async -> Bool
    ) async throws -> ControlAnswer {
        let journal = try hub(request).journal
        let device = request.text("id") == nil ? nil : try deviceID(request)
        let follower = request.isSet("follow") ? journal.follow(device) : nil
        if request.isSet("follow"), follower == nil {
            throw ControlError("\(DeviceJournal.followersMax) command lines follow events already; end one of them")
        }
        let known = device.map { journal.entries(of: $0, modules: modules(of: $0)) } ?? journal.newest(500)
        for entry in known {
            guard await send(.item(Self.row(entry))) else { return .done(.null) }
        }
        guard let follower else { return .done(.null) }
        let last = known.last?.number ?? 0
        for await entry in follower where entry.number > last {
            guard await send(.item(Self.row(entry))) else { break }
        }
        return .done(.null)
    }

    func modules(of device: DeviceID) -> [String] { registry.modules(of: device)?.map(\.id) ?? [] }

    private static func row(_ entry: JournalEntry) -> JSONValue {
        [
            "time": .string(entry.at.description), "device": .string(entry.name),
            "kind": .string(entry.kind.rawValue), "times": .number(JSONNumber(entry.times)),
            "address": .string(entry.address ?? ""), "reason": .string(entry.sentence),
            "proven": .bool(entry.isProven),
        ]
    }
}
