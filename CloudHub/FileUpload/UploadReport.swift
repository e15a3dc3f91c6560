import HubContract
import JSON
public import Primitives

/// What a device says of how its upload ended.
public struct UploadReport: Sendable, Hashable {
    public let correlation: UniqueID
    public let isSuccess: Bool
    /// The storage's status and words, for the log.
    public let status: Int64?
    public let description: String

    public init(correlation: UniqueID, isSuccess: Bool, status: Int64? = nil, description: String = "") {
        self.correlation = correlation
        self.isSuccess = isSuccess
        self.status = status
        self.description = description
    }

    /// - Parameters:
    ///   - body: `{"correlationId", "isSuccess", "statusCode", "statusDescription"}`.
    ///   - pathID: the correlation id when it stands in the path, as older SDKs have it; it wins.
    /// - Throws: 400006 when a member is missing or of the wrong kind, 400015 when the id is none.
    init(parsing body: JSONValue, pathID: String?) throws(HubError) {
        guard let isSuccess = body["isSuccess"]?.boolValue else {
            throw HubError(.iotHubFormatError, "isSuccess has to be true or false")
        }
        guard let text = pathID ?? body["correlationId"]?.stringValue else {
            throw HubError(.argumentNull, "correlationId is missing")
        }
        guard let correlation = UniqueID(text) else {
            throw HubError(.invalidFileUploadCorrelationID, "correlationId is none that this hub gave")
        }
        self.init(
            correlation: correlation, isSuccess: isSuccess, status: body["statusCode"]?.int64Value,
            description: body["statusDescription"]?.stringValue ?? "")
    }
}
