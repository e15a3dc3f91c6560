import CRM
import Devices
import HubContract
import JSON
import Primitives
import Registry
import Sessions
import Synchronization

/// The connector's way to devices: direct methods for those that are there, cloud-to-device messages for the others.
final class DeviceDispatcher: CommandDispatcher {
    /// The application property that says which command a queued message asks for.
    static let commandProperty = "method-name"

    private let devices: DeviceHub
    private let now: @Sendable () -> WallInstant
    private let waiting = Mutex<[String: CheckedContinuation<DispatchOutcome, Never>]>([:])

    init(devices: DeviceHub, now: @escaping @Sendable () -> WallInstant) {
        self.devices = devices
        self.now = now
        devices.onOutcome { [weak self] outcome in self?.ended(outcome) }
    }

    func isOnline(_ device: DeviceID) -> Bool { devices.takesMethods(HubIdentity(device: device)) }

    func invoke(
        _ device: DeviceID, method: String, payload: JSONValue, timeLimit: Duration
    ) async -> DispatchOutcome {
        let limits = DeviceHub.responseTimeouts
        do throws(HubError) {
            let result = try await devices.invokeMethod(
                HubIdentity(device: device), name: method, payload: payload,
                responseTimeout: min(max(timeLimit, limits.lowerBound), limits.upperBound))
            return .answered(status: result.status, payload: result.payload)
        } catch {
            return .failed(error.message)
        }
    }

    func queue(
        _ device: DeviceID, name: String, payload: JSONValue, expiresAt: WallInstant
    ) async -> DispatchOutcome {
        var random = SystemRandomNumberGenerator()
        let id = UniqueID.random(using: &random).description
        var bag = PropertyBag()
        bag.append(Self.commandProperty, name)
        bag.append("$.ct", "application/json")
        let message = C2DMessage(id: id, properties: bag, payload: payload.serialized(), expiresAt: expiresAt)
        return await withCheckedContinuation { continuation in
            // Entered before the message is queued: its end may come before the queueing has returned.
            waiting.withLock { $0[id] = continuation }
            Task { await self.send(message, to: HubIdentity(device: device)) }
        }
    }

    private func send(_ message: C2DMessage, to target: HubIdentity) async {
        do throws(HubError) {
            try await devices.sendCloudToDevice(target, message: message)
        } catch {
            resume(message.id, with: .failed(error.message))
        }
    }

    private func ended(_ outcome: C2DOutcome) {
        switch outcome.kind {
        case .completed: resume(outcome.messageID, with: .delivered)
        case .expired: resume(outcome.messageID, with: .expired)
        case .deliveryCountExceeded:
            resume(
                outcome.messageID,
                with: .failed("the device took the message \(DeviceHub.deliveriesMax) times and never acknowledged it"))
        case .purged:
            resume(outcome.messageID, with: .failed("the message was taken out of the device's queue"))
        }
    }

    private func resume(_ id: String, with outcome: DispatchOutcome) {
        waiting.withLock { $0.removeValue(forKey: id) }?.resume(returning: outcome)
    }
}

/// Sends one message that a person wrote on the command line.
struct MessageSender {
    let devices: DeviceHub
    let now: @Sendable () -> WallInstant

    func send(
        to target: HubIdentity, bag: PropertyBag, messageID: String?, payload: [UInt8], lifetime: Duration
    ) async throws -> JSONValue {
        var random = SystemRandomNumberGenerator()
        let id = messageID ?? UniqueID.random(using: &random).description
        let expiresAt = now() + lifetime
        try await devices.sendCloudToDevice(
            target, message: C2DMessage(id: id, properties: bag, payload: payload, expiresAt: expiresAt))
        return [
            "device": .string(target.device.text), "messageId": .string(id), "expires": .string(expiresAt.description),
        ]
    }
}

/// The registry as the listener's authority.
struct RegistryAuthority: ConnectAuthority {
    let registry: DeviceRegistry

    func authenticate(_ request: ConnectRequest, now: WallInstant) -> ConnectVerdict {
        let attempt = ConnectAttempt(
            host: request.userName.host, identity: request.userName.identity, password: request.password,
            leafSHA1: request.leafSHA1, leafSHA256: request.leafSHA256)
        switch registry.authenticate(attempt, now: now) {
        case .refused(let reason): return .refused(reason.sentence)
        case .accepted(let principal):
            return .accepted(
                ConnectGrant(
                    generationID: principal.generationID, authScope: principal.scope.rawValue,
                    authType: principal.authType.rawValue, expiresAt: principal.expiresAt))
        }
    }
}
