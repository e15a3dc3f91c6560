import CRM
import Devices
import HubContract
import JSON
import Primitives
import Sessions
import Synchronization

/// The connector's way to devices: direct methods for those that are there, cloud-to-device messages for the others.
final class DeviceDispatcher: CommandDispatcher {
    /// The application property that says which command a queued message asks for.
    static let commandProperty = "method-name"

    private let devices: DeviceHub
    private let ended = Mutex<(@Sendable () -> Void)?>(nil)

    init(devices: DeviceHub) {
        self.devices = devices
        devices.onOutcome { [weak self] outcome in
            guard outcome.isStored else { return }
            self?.ended.withLock { $0 }?()
        }
    }

    func isOnline(_ device: DeviceID) -> Bool { devices.takesMethods(HubIdentity(device: device)) }

    func invoke(
        _ device: DeviceID, method: String, payload: JSONValue, timeLimit: Duration
    ) async -> MethodOutcome {
        let limits = DeviceHub.responseTimeouts
        do throws(HubError) {
            let result = try await devices.invokeMethod(
                HubIdentity(device: device), name: method, payload: payload,
                responseTimeout: min(max(timeLimit, limits.lowerBound), limits.upperBound))
            return .answered(status: result.status, payload: result.payload)
        } catch {
            switch error.code {
            case .deviceNotOnline: return .notOnline
            case .gatewayTimeout: return .unanswered
            default: return .failed(error.message)
            }
        }
    }

    // MARK: - Messages in a device's queue

    func enqueue(_ message: QueuedCommand, for device: DeviceID) async -> QueueAnswer {
        var bag = PropertyBag()
        bag.append(Self.commandProperty, message.command.method)
        bag.append("$.ct", "application/json")
        do throws(HubError) {
            try await devices.sendCloudToDevice(
                HubIdentity(device: device),
                message: C2DMessage(
                    id: message.id.description, properties: bag, payload: message.command.payload.serialized(),
                    expiresAt: message.expiresAt, wantsOutcome: true))
            return .queued
        } catch {
            return error.code == .serviceUnavailable ? .unsure(error.message) : .refused(error.message)
        }
    }

    func fate(of command: UniqueID, on device: DeviceID) async throws -> QueueFate {
        switch try await devices.cloudToDeviceFate(of: command.description, for: device) {
        case .waits: .waits
        case .ended: .ended
        case .unknown: .neverQueued
        }
    }

    func queueEnds() async throws -> [QueueEnd] {
        var ends: [QueueEnd] = []
        for outcome in try await devices.storedOutcomes() {
            guard let command = UniqueID(outcome.messageID) else {
                try await devices.outcomesHandled([outcome.token])
                continue
            }
            let how: QueueEnd.How =
                switch outcome.kind {
                case .completed: .delivered
                case .expired: .expired
                case .deliveryCountExceeded: .givenUp
                case .rejected: .rejected
                case .purged: .removed
                }
            ends.append(
                QueueEnd(command: command, how: how, deliveries: outcome.deliveries, receipt: outcome.token))
        }
        return ends
    }

    func taken(_ end: QueueEnd) async throws { try await devices.outcomesHandled([end.receipt]) }

    func onQueueEnd(_ wake: @escaping @Sendable () -> Void) { ended.withLock { $0 = wake } }
}
