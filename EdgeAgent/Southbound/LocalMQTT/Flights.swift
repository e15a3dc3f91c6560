import Primitives
import SouthboundAPI

/// What was read from the broker and has not ended: each entry is one delivery, or messages that gave nothing to deliver.
///
/// The broker is acknowledged in the order in which it sent (MQTT 3.1.1, [MQTT-4.6.0-2]), so an entry leaves only when
/// all before it have. A value; no thread, no socket.
struct Flights {
    /// QoS 1 messages that are not acknowledged: no more than a delivery's mark can name.
    static let messagesMax = RepeatFilter.entriesMax
    static let readingsMax = 8192
    static let payloadBytesMax = 524_288
    static let countMax = 256

    struct Flight: Equatable {
        /// Messages that will be acknowledged.
        var messages = 0
        var readings = 0
        var payloadBytes = 0
        /// Devices whose health it tells.
        var devices: [DeviceID] = []
        var tellsLearned = false
    }

    private struct Entry {
        let flight: Flight
        /// `nil` while it has not ended.
        var ending: Ending?
    }

    enum Ending: Equatable {
        case kept
        case refused(SinkError)
    }

    /// In the order in which it was read.
    private var entries: [Entry] = []
    private(set) var total = Flight()

    var isEmpty: Bool { entries.isEmpty }

    /// Whether more may be read.
    var hasRoom: Bool {
        entries.count < Self.countMax && total.messages < Self.messagesMax && total.readings < Self.readingsMax
            && total.payloadBytes < Self.payloadBytesMax
    }

    /// - Parameter isDelivered: the sink will tell how it ended; else there is nothing in it that could be lost.
    mutating func began(_ flight: Flight, isDelivered: Bool) {
        entries.append(Entry(flight: flight, ending: isDelivered ? nil : .kept))
        total.messages += flight.messages
        total.readings += flight.readings
        total.payloadBytes += flight.payloadBytes
    }

    /// The sink has told how the oldest delivery ended that it had not told before.
    mutating func ended(_ ending: Ending) {
        guard let index = entries.firstIndex(where: { $0.ending == nil }) else { return }
        entries[index].ending = ending
    }

    /// The oldest one, if it has ended; it is forgotten.
    mutating func takeEnded() -> (flight: Flight, ending: Ending)? {
        guard let first = entries.first, let ending = first.ending else { return nil }
        entries.removeFirst()
        total.messages -= first.flight.messages
        total.readings -= first.flight.readings
        total.payloadBytes -= first.flight.payloadBytes
        return (first.flight, ending)
    }
}
