import Devices
import HubContract
import JSON
import Primitives

/// How messages ended, for those who sent them.
extension ServiceAPI {
    /// Source: Azure IoT Hub, message feedback.
    private static let contentType = "application/vnd.microsoft.iothub.feedback.json"

    func takeFeedback() async throws(HubError) -> ServiceAnswer {
        guard let (lock, records) = try await devices.takeFeedback() else { return .done }
        let items = records.map { record -> JSONValue in
            [
                "originalMessageId": .string(record.messageID), "enqueuedTimeUtc": .string(record.at.description),
                "statusCode": .string(record.kind.statusCode), "description": .string(record.kind.statusCode),
                "deviceId": .string(record.device.text), "deviceGenerationId": .string(record.generationID),
            ]
        }
        return ServiceAnswer(json: .array(items), etag: lock.description, contentType: Self.contentType)
    }

    func settleFeedback(_ lock: String, isDone: Bool) async throws(HubError) -> ServiceAnswer {
        guard let token = UniqueID(lock.filter { $0 != "\"" }) else {
            throw HubError(.deviceMessageLockLost, "'\(lock.prefix(64))' is no lock of this hub")
        }
        try await devices.settleFeedback(token, isDone: isDone)
        return .done
    }
}
