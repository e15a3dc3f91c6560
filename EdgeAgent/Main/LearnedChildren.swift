import Logging
import Outbox
import Primitives
import SouthboundAPI

/// How the outbox keeps the devices that a driver knows only by having heard them.
enum LearnedChildren {
    /// One id a line; an id is at most 128 characters, none of them a line feed.
    static func state(_ devices: [DeviceID], of driver: String) -> KeptState {
        KeptState(key: key(driver), bytes: Array(devices.map(\.text).joined(separator: "\n").utf8))
    }

    /// What an earlier run has kept; none when it cannot be read, because the devices are learned again.
    static func kept(of driver: String, in store: any OutboxStore, logger: Logger) -> [DeviceID] {
        do throws(OutboxError) {
            let bytes = try store.kept(key(driver)) ?? []
            return bytes.split(separator: UInt8(ascii: "\n")).prefix(Delivery.learnedMax).compactMap {
                DeviceID(String(decoding: $0, as: UTF8.self))
            }
        } catch {
            logger.warning(
                "the devices behind a broker are not known before they are heard; commands to them fail until then",
                metadata: ["driver": "\(driver)", "reason": "\(error)"])
            return []
        }
    }

    private static func key(_ driver: String) -> String { "learned/" + driver }
}
