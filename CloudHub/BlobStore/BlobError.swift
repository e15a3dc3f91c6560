import Primitives

/// A refusal as Azure Blob Storage words it: status, code, and a sentence for whoever reads the client's log.
public struct BlobError: Error, Sendable, CustomStringConvertible {
    /// Raw value: the code as clients compare it. Source: Azure Blob Storage error codes; the quota's is our own.
    public enum Problem: String, Sendable, CaseIterable {
        case authenticationFailed = "AuthenticationFailed"
        case authorizationPermissionMismatch = "AuthorizationPermissionMismatch"
        case blobAlreadyExists = "BlobAlreadyExists"
        case blobNotFound = "BlobNotFound"
        case blockCountExceedsLimit = "BlockCountExceedsLimit"
        case conditionNotMet = "ConditionNotMet"
        case crc64Mismatch = "Crc64Mismatch"
        case incompleteBody = "IncompleteBody"
        case internalError = "InternalError"
        case invalidBlobType = "InvalidBlobType"
        case invalidBlockList = "InvalidBlockList"
        case invalidHeaderValue = "InvalidHeaderValue"
        case invalidQueryParameterValue = "InvalidQueryParameterValue"
        case invalidRange = "InvalidRange"
        case invalidURI = "InvalidUri"
        case invalidXMLDocument = "InvalidXmlDocument"
        case md5Mismatch = "Md5Mismatch"
        case metadataTooLarge = "MetadataTooLarge"
        case missingContentLengthHeader = "MissingContentLengthHeader"
        case noAuthenticationInformation = "NoAuthenticationInformation"
        case operationTimedOut = "OperationTimedOut"
        case quotaExceeded = "FileQuotaExceeded"
        case requestBodyTooLarge = "RequestBodyTooLarge"
        case serverBusy = "ServerBusy"
        case unsupportedHTTPVerb = "UnsupportedHttpVerb"
        case unsupportedHeader = "UnsupportedHeader"

        public var httpStatus: Int {
            switch self {
            case .noAuthenticationInformation: 401
            case .authenticationFailed, .authorizationPermissionMismatch, .quotaExceeded: 403
            case .blobNotFound: 404
            case .unsupportedHTTPVerb: 405
            case .blobAlreadyExists, .blockCountExceedsLimit, .invalidBlobType: 409
            case .missingContentLengthHeader: 411
            case .conditionNotMet: 412
            case .requestBodyTooLarge: 413
            case .invalidRange: 416
            case .internalError, .operationTimedOut: 500
            case .serverBusy: 503
            case .crc64Mismatch, .incompleteBody, .invalidBlockList, .invalidHeaderValue, .invalidQueryParameterValue,
                .invalidURI, .invalidXMLDocument, .md5Mismatch, .metadataTooLarge, .unsupportedHeader:
                400
            }
        }
    }

    public let problem: Problem
    /// What is wrong and what to do, for the caller's eyes.
    public let message: String
    /// What failed inside the hub, for its log alone.
    public let underlying: (any Error)?

    public init(_ problem: Problem, _ message: String, underlying: (any Error)? = nil) {
        self.problem = problem
        self.message = message
        self.underlying = underlying
    }

    /// Whether the same request may succeed later.
    public var isRetryable: Bool {
        switch problem {
        case .quotaExceeded, .incompleteBody, .internalError, .operationTimedOut, .serverBusy, .crc64Mismatch,
            .md5Mismatch:
            true
        case .authenticationFailed, .authorizationPermissionMismatch, .blobAlreadyExists, .blobNotFound,
            .blockCountExceedsLimit, .conditionNotMet, .invalidBlobType, .invalidBlockList, .invalidHeaderValue,
            .invalidQueryParameterValue, .invalidRange, .invalidURI, .invalidXMLDocument, .metadataTooLarge,
            .missingContentLengthHeader, .noAuthenticationInformation, .requestBodyTooLarge, .unsupportedHTTPVerb,
            .unsupportedHeader:
            false
        }
    }

    public var description: String {
        "\(problem.rawValue): \(message)" + (underlying.map { " (\($0))" } ?? "")
    }

    /// The answer's body. `requestID` also stands in the hub's log.
    func body(requestID: UniqueID, at now: WallInstant) -> String {
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>\(problem.rawValue)</Code><Message>"
            + XMLText.escape(message) + "\nRequestId:\(requestID)\nTime:\(now)</Message></Error>"
    }
}
