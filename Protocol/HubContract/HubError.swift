public import JSON
public import Primitives

/// The error codes of IoT Hub that this hub uses. The raw value is the six-digit number; its first three digits are the
/// HTTP status. Source: Azure IoT Hub, error code reference.
public enum HubErrorCode: Int, CaseIterable, Sendable {
    case invalidProtocolVersion = 400_001
    case invalidOperation = 400_003
    case argumentInvalid = 400_004
    case argumentNull = 400_005
    case iotHubFormatError = 400_006
    case deviceDefinedMultipleTimes = 400_011
    case bulkRegistryOperationFailure = 400_013
    case invalidFileUploadCorrelationID = 400_015
    case expiredFileUploadCorrelationID = 400_016
    case invalidStorageEndpointOrBlob = 400_020
    case iotHubUnauthorizedAccess = 401_002
    case iotHubUnauthorized = 401_003
    case iotHubQuotaExceeded = 403_002
    case deviceMaximumQueueDepthExceeded = 403_004
    case deviceMaximumActiveFileUploadLimitExceeded = 403_006
    case deviceNotFound = 404_001
    case moduleNotFound = 404_010
    case deviceNotOnline = 404_103
    case deviceAlreadyExists = 409_001
    case moduleAlreadyExistsOnDevice = 409_301
    case preconditionFailed = 412_001
    case deviceMessageLockLost = 412_002
    case messageTooLarge = 413_001
    case tooManyDevices = 413_002
    case throttlingException = 429_001
    case serverError = 500_001
    case serviceUnavailable = 503_001
    case gatewayTimeout = 504_101

    public var httpStatus: Int { rawValue / 1000 }

    /// The name that the header `iothub-errorcode` and the body carry.
    public var name: String {
        switch self {
        case .invalidProtocolVersion: "InvalidProtocolVersion"
        case .invalidOperation: "InvalidOperation"
        case .argumentInvalid: "ArgumentInvalid"
        case .argumentNull: "ArgumentNull"
        case .iotHubFormatError: "IotHubFormatError"
        case .deviceDefinedMultipleTimes: "DeviceDefinedMultipleTimes"
        case .bulkRegistryOperationFailure: "BulkRegistryOperationFailure"
        case .invalidFileUploadCorrelationID: "InvalidFileUploadCorrelationId"
        case .expiredFileUploadCorrelationID: "ExpiredFileUploadCorrelationId"
        case .invalidStorageEndpointOrBlob: "InvalidStorageEndpointOrBlob"
        case .iotHubUnauthorizedAccess, .iotHubUnauthorized: "IotHubUnauthorizedAccess"
        case .iotHubQuotaExceeded: "IotHubQuotaExceeded"
        case .deviceMaximumQueueDepthExceeded: "DeviceMaximumQueueDepthExceeded"
        case .deviceMaximumActiveFileUploadLimitExceeded: "DeviceMaximumActiveFileUploadLimitExceeded"
        case .deviceNotFound: "DeviceNotFound"
        case .moduleNotFound: "ModuleNotFound"
        case .deviceNotOnline: "DeviceNotOnline"
        case .deviceAlreadyExists: "DeviceAlreadyExists"
        case .moduleAlreadyExistsOnDevice: "ModuleAlreadyExistsOnDevice"
        case .preconditionFailed: "PreconditionFailed"
        case .deviceMessageLockLost: "DeviceMessageLockLost"
        case .messageTooLarge: "MessageTooLarge"
        case .tooManyDevices: "TooManyDevices"
        case .throttlingException: "ThrottlingException"
        case .serverError: "ServerError"
        case .serviceUnavailable: "ServiceUnavailable"
        case .gatewayTimeout: "GatewayTimeout"
        }
    }

    /// Whether the same request may succeed later.
    public var isRetryable: Bool {
        switch self {
        case .iotHubQuotaExceeded, .deviceMaximumQueueDepthExceeded, .deviceMaximumActiveFileUploadLimitExceeded,
            .deviceNotOnline, .throttlingException,
            .serverError, .serviceUnavailable, .gatewayTimeout:
            true
        case .invalidProtocolVersion, .invalidOperation, .argumentInvalid, .argumentNull, .iotHubFormatError,
            .deviceDefinedMultipleTimes, .bulkRegistryOperationFailure, .invalidFileUploadCorrelationID,
            .expiredFileUploadCorrelationID, .invalidStorageEndpointOrBlob, .iotHubUnauthorizedAccess,
            .iotHubUnauthorized, .deviceNotFound, .moduleNotFound, .deviceAlreadyExists,
            .moduleAlreadyExistsOnDevice, .preconditionFailed, .deviceMessageLockLost, .messageTooLarge,
            .tooManyDevices:
            false
        }
    }

    /// Errors that the real service's gateway reports carry a nested JSON text instead of `ErrorCode:…;…`.
    var isNested: Bool { self == .deviceNotOnline || self == .gatewayTimeout }
}

/// A refusal as the service API, the twin topics and the bulk results tell it.
public struct HubError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The header that names the code in a REST answer.
    public static let headerName = "iothub-errorcode"

    public let code: HubErrorCode
    /// What is wrong and what to do, for the caller's eyes.
    public let message: String
    /// When to try again, in whole seconds: the header `Retry-After`.
    public let retryAfterSeconds: Int64?

    public init(_ code: HubErrorCode, _ message: String, retryAfterSeconds: Int64? = nil) {
        self.code = code
        self.message = message
        self.retryAfterSeconds = retryAfterSeconds
    }

    public var httpStatus: Int { code.httpStatus }
    public var isRetryable: Bool { code.isRetryable }
    public var description: String { "\(code.name) (\(code.rawValue)): \(message)" }

    /// The REST answer's body. `trackingID` is 32 hex digits that also stand in the hub's log.
    public func body(trackingID: String, at now: WallInstant) -> JSONValue {
        if code.isNested {
            let nested: JSONValue = [
                "errorCode": .number(JSONNumber(code.rawValue)), "trackingId": .string(trackingID),
                "message": .string(message), "info": [:], "timestampUtc": .string(now.description),
            ]
            return ["Message": .string(nested.text), "ExceptionMessage": ""]
        }
        return [
            "Message": .string("ErrorCode:\(code.name);\(message)"),
            "ExceptionMessage": .string("Tracking ID:\(trackingID)-G:0-TimeStamp:\(Self.stamp(now))"),
        ]
    }

    /// `MM/dd/yyyy HH:mm:ss` in UTC.
    private static func stamp(_ now: WallInstant) -> String {
        let text = Array(now.description.utf8)
        guard text.count >= 19 else { return now.description }
        let part = { (range: Range<Int>) in String(decoding: text[range], as: UTF8.self) }
        return "\(part(5..<7))/\(part(8..<10))/\(part(0..<4)) \(part(11..<19))"
    }
}

/// An `If-Match` header: `"etag"` or `"*"`, quoted or bare, as SDKs send it.
public enum ETagCondition: Hashable, Sendable {
    case anything
    case exactly(String)

    /// `nil` when the header is absent or empty.
    public init?(header: String?) {
        guard var text = header.map({ Substring($0) }), !text.isEmpty else { return nil }
        if let strong = text.dropping("W/") { text = strong }
        if text.count >= 2, text.first == "\"", text.last == "\"" { text = text.dropFirst().dropLast() }
        self = text == "*" ? .anything : .exactly(String(text))
    }

    public func matches(_ etag: String) -> Bool {
        switch self {
        case .anything: true
        case .exactly(let wanted): wanted == etag
        }
    }

    /// The ETag that IoT Hub makes of a version: base64 of eight bytes, big end first (`AAAAAAAAAAI=` is 2).
    public static func text(ofVersion version: Int64) -> String {
        Base64.encode((0..<8).map { UInt8(truncatingIfNeeded: version >> (56 - 8 * $0)) })
    }
}
