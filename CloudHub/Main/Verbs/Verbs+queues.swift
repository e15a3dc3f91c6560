import Control
import Devices
import HubClock
import HubContract
import JSON
import Primitives
import Registry
import SQLiteHubStore

/// Messages to devices: sending them, what waits, and how they ended.
extension Verbs {
    /// Queues one cloud-to-device message; it waits for the device until it expires.
    func sendToDevice(_ request: ControlRequest) async throws -> JSONValue {
        let id = try deviceID(request)
        let devices = try hub(request).devices
        guard registry.device(id) != nil else { throw noDevice(id) }
        guard let body = Base64.decode(request.text("body") ?? "") else {
            throw ControlError("the message's body is no base64", .wrongCall)
        }
        var random = SystemRandomNumberGenerator()
        let messageID = request.text("messageID") ?? UniqueID.random(using: &random).description
        let lifetime = request.arguments["seconds"]?.int64Value.map { Duration.seconds($0) }
        let expiresAt = SystemTime.wall() + (lifetime ?? devices.options.timeToLive)
        try await devices.sendCloudToDevice(
            HubIdentity(device: id),
            message: C2DMessage(
                id: messageID, properties: try bag(request), payload: body, expiresAt: expiresAt))
        return [
            "device": .string(id.text), "message": .string(messageID), "expires": .string(expiresAt.description),
        ]
    }

    private func bag(_ request: ControlRequest) throws -> PropertyBag {
        var bag = PropertyBag()
        if let correlation = request.text("correlationID") { bag.append("$.cid", correlation) }
        for pair in request.arguments["properties"]?.arrayValue ?? [] {
            let parts = (pair.stringValue ?? "").split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, !parts[0].isEmpty else {
                throw ControlError("a property is written name=value, not '\(pair.stringValue ?? "")'", .wrongCall)
            }
            bag.append(String(parts[0]), String(parts[1]))
        }
        if let ack = request.text("ack"), ack != C2DAck.none.rawValue { bag.append(C2DAck.propertyName, ack) }
        return bag
    }

    /// What waits for a device, oldest first; without a running hub as it is in the store.
    func showQueue(_ request: ControlRequest) async throws -> JSONValue {
        let id = try deviceID(request)
        guard registry.device(id) != nil else { throw noDevice(id) }
        if let devices = running?.devices {
            return .array(try await devices.cloudToDeviceQueue(of: id).map { Self.row($0.waiting, isHeld: $0.isHeld) })
        }
        let now = SystemTime.wall()
        return .array(
            try await SQLiteDeviceStore(database).waiting(for: id).map { waiting in
                Self.row(waiting, isHeld: waiting.lockedUntil.map { $0 > now } ?? false)
            })
    }

    /// IoT Hub's words for the states: a message that the device has in hand is invisible to its other connections.
    private static func row(_ waiting: WaitingMessage, isHeld: Bool) -> JSONValue {
        let message = waiting.message
        return [
            "message": .string(message.messageID), "sequence": .number(JSONNumber(waiting.sequence)),
            "state": .string(isHeld ? "invisible" : "enqueued"),
            "deliveries": .number(JSONNumber(message.deliveries)), "ack": .string(message.ack.rawValue),
            "expires": .string(message.expiresAt.description),
            "bytes": .number(JSONNumber(message.payload.count + message.bagText.utf8.count)),
        ]
    }

    /// How messages ended whose senders asked for it, newest first; takes nothing out.
    func showFeedback(_ request: ControlRequest) async throws -> JSONValue {
        let id = request.text("id") == nil ? nil : try deviceID(request)
        let records: [C2DFeedback]
        if let devices = running?.devices {
            records = try await devices.feedback(of: id, most: DeviceHub.feedbackMax)
        } else {
            records = try await SQLiteDeviceStore(database).feedback(of: id, most: DeviceHub.feedbackMax)
        }
        return .array(
            records.map { record in
                [
                    "time": .string(record.at.description), "device": .string(record.device.text),
                    "message": .string(record.messageID), "status": .string(record.kind.statusCode),
                ]
            })
    }
}
