import Devices
import Gaps
import HubContract
import Primitives
import Telemetry

/// Asks gateways by direct method to send records again.
struct GatewayReplay: ReplayCaller {
    let devices: DeviceHub

    func isOnline(_ gateway: DeviceID) -> Bool { devices.takesMethods(HubIdentity(device: gateway)) }

    func replay(_ request: ReplayRange, of gateway: DeviceID) async -> GapMachine.Outcome {
        do throws(HubError) {
            let result = try await devices.invokeMethod(
                HubIdentity(device: gateway), name: ReplayRange.methodName, payload: request.json)
            switch result.status {
            case 200:
                guard let answer = ReplayRange.Answer(result.payload) else {
                    return .failed("its answer is none that this hub knows")
                }
                return .replayed(
                    count: answer.replayedCount, gone: answer.gone.reduce(0) { $0 &+ $1.count }, rest: answer.rest)
            case 404: return .lost
            default: return .failed("it answered with status \(result.status); see the gateway's log")
            }
        } catch {
            return .failed(error.message)
        }
    }
}
