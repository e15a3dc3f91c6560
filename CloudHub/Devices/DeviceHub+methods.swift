public import HubContract
public import JSON
import Logging
import Primitives
import Registry
import Sessions
import Throttles

/// What a device answered to a direct method.
public struct MethodResult: Sendable, Equatable {
    /// The device's own status; any integer.
    public let status: Int
    public let payload: JSONValue

    public init(status: Int, payload: JSONValue) {
        self.status = status
        self.payload = payload
    }
}

extension DeviceHub {
    /// Bytes of a method's payload, each way. Source: IoT Hub quotas.
    public static let methodPayloadMax = 128 * 1024
    /// Bytes of a method's name: what the hub lets into a topic.
    public static let methodNameMax = 128
    /// Source: IoT Hub, direct methods, method lifetime.
    public static let responseTimeouts = Duration.seconds(5)...Duration.seconds(300)

    /// Calls a method on a device or module and waits for its answer.
    ///
    /// - Parameters:
    ///   - connectTimeout: how long to wait for it to come online; zero asks only who is there now.
    ///   - responseTimeout: how long to wait for its answer.
    /// - Throws: 404001/404010 unknown; 404103 not connected or not subscribed to methods in time; 504101 no answer;
    ///   413001 payload over `methodPayloadMax`; 400004 bad name; 429001 too many calls are waiting, or too often.
    public func invokeMethod(
        _ target: HubIdentity, name: String, payload: JSONValue, connectTimeout: Duration = .zero,
        responseTimeout: Duration = .seconds(30)
    ) async throws(HubError) -> MethodResult {
        guard registry.exists(target) else { throw Self.unknown(target) }
        if let refusal = throttle(.methods, target) { throw refusal }
        try Self.checkMethod(name)
        let body = payload.serialized()
        guard body.count <= Self.methodPayloadMax else {
            throw HubError(
                .messageTooLarge, "the payload has \(body.count) bytes; a method takes \(Self.methodPayloadMax)")
        }
        let connected = connected
        let isThere = await waiters.wait(atMost: connectTimeout) { connected.isSubscribed(target, .methods) }
        guard isThere, let link = connected.link(for: target, subscribed: .methods) else {
            throw HubError(.deviceNotOnline, "Timed out waiting for device to connect.")
        }
        let answer = await methods.call(target, timeLimit: responseTimeout) { rid in
            link.deliver(.methodRequest(name: name, rid: rid, payload: body), to: target)
        }
        return try answer.get()
    }

    public func methodAnswered(_ who: HubIdentity, rid: String, status: Int, payload: [UInt8]) {
        activity.active(who, at: clock())
        let result = Self.result(status, payload, of: who)
        if !methods.answered(rid, by: who, with: result) {
            deny(who, "its answer to a method was dropped, because nobody waits for it; let it answer sooner")
        } else if case .failure(let error) = result {
            deny(who, "its answer to a method was refused: \(error.message)")
        }
    }

    private static func result(
        _ status: Int, _ payload: [UInt8], of who: HubIdentity
    ) -> Result<MethodResult, HubError> {
        guard payload.count <= methodPayloadMax else {
            return .failure(
                HubError(
                    .messageTooLarge,
                    "\(who) answered with \(payload.count) bytes; at most \(methodPayloadMax) are taken"))
        }
        guard !payload.isEmpty else { return .success(MethodResult(status: status, payload: .null)) }
        do throws(JSONError) {
            return .success(MethodResult(status: status, payload: try JSONValue(parsing: payload)))
        } catch {
            return .failure(HubError(.iotHubFormatError, "\(who) answered with status \(status) and no JSON: \(error)"))
        }
    }

    /// The name becomes one segment of a topic.
    private static func checkMethod(_ name: String) throws(HubError) {
        let isSegment = name.unicodeScalars.allSatisfy {
            $0.value > 0x20 && $0.value != 0x7F && !"/#+?".unicodeScalars.contains($0)
        }
        guard isSegment, (1...methodNameMax).contains(name.utf8.count) else {
            throw HubError(
                .argumentInvalid,
                "a method name has 1 to \(methodNameMax) bytes, no space and none of the characters / # + ?")
        }
    }
}
