public import Primitives

/// A call to the store failed: what, while doing what, with which object.
public struct S3Error: Error, Sendable, Hashable, CustomStringConvertible {
    public enum Problem: Sendable, Hashable {
        /// No connection, it broke, or no answer in time.
        case unreachable(String)
        /// The store's certificate is not one that the hub trusts.
        case certificate(String)
        case accessKeyUnknown
        /// The secret is not the access key's, or something between hub and store changes requests.
        case signatureRefused
        /// The two clocks are too far apart. `store` is the date of its answer, if it had one.
        case clocksDiffer(store: String?, own: WallInstant)
        case accessDenied(String)
        case bucketMissing
        /// `region` as the store gave it.
        case wrongRegion(String?)
        case objectMissing
        /// The multipart upload is gone: it was ended or swept away.
        case uploadMissing
        /// The store asks for fewer requests.
        case throttled
        /// The store has no room left.
        case full(String)
        /// 5xx.
        case server(status: Int, String)
        /// Any other refusal: this request will never be taken.
        case refused(status: Int, String)
        /// An answer that is not what the protocol promises.
        case unreadable(String)
        /// The hub is stopping, or the client has gone.
        case cancelled
    }

    public let problem: Problem
    /// The operation in words: "put an object".
    public let doing: String
    /// The object's key, or the bucket.
    public let which: String

    public init(_ problem: Problem, doing: String, which: String) {
        self.problem = problem
        self.doing = doing
        self.which = which
    }

    /// Whether the same request may succeed in a moment without anybody changing anything.
    public var isRetryable: Bool {
        switch problem {
        case .unreachable, .throttled, .server, .unreadable: true
        case .certificate, .accessKeyUnknown, .signatureRefused, .clocksDiffer, .accessDenied, .bucketMissing,
            .wrongRegion, .objectMissing, .uploadMissing, .full, .refused, .cancelled:
            false
        }
    }

    /// Whether the store or its configuration is to blame, and not this one object.
    public var isStoresFault: Bool {
        switch problem {
        case .objectMissing, .uploadMissing, .refused, .cancelled: false
        case .unreachable, .certificate, .accessKeyUnknown, .signatureRefused, .clocksDiffer, .accessDenied,
            .bucketMissing, .wrongRegion, .throttled, .full, .server, .unreadable:
            true
        }
    }

    /// Whether this says nothing that the other did not say.
    public func repeats(_ other: S3Error?) -> Bool {
        switch (problem, other?.problem) {
        case (.unreachable, .unreachable), (.clocksDiffer, .clocksDiffer), (.server, .server): true
        default: problem == other?.problem
        }
    }

    /// What is wrong and what to do, without the object that showed it.
    public var advice: String {
        switch problem {
        case .unreachable(let cause): "the store cannot be reached (\(cause)); check files.s3.endpoint and the network"
        case .certificate(let cause):
            "the store's certificate is not trusted (\(cause)); name its authority in files.s3.ca_file, and check that "
                + "files.s3.endpoint has the name in the certificate"
        case .accessKeyUnknown: "the store knows no such access key; check the first line of files.s3.key_file"
        case .signatureRefused:
            "the store does not accept the signature: the secret is not the access key's (check the second line of "
                + "files.s3.key_file), or a proxy changes the requests"
        case .clocksDiffer(let store, let own):
            "the clocks of hub and store differ too much: here it is \(own)"
                + (store.map { ", there \($0)" } ?? "") + "; set the clock that is wrong"
        case .accessDenied(let cause):
            "the access key may not do this (\(cause)); it needs to read, write and delete objects of the bucket"
        case .bucketMissing: "there is no such bucket; make it, or check files.s3.bucket and files.s3.addressing"
        case .wrongRegion(let region):
            "the bucket is in another region" + (region.map { ", \($0)" } ?? "")
                + "; check files.s3.region and endpoint"
        case .objectMissing: "the store has no such object; somebody removed it there"
        case .uploadMissing: "the store has dropped the parts of this upload; it has to be carried anew"
        case .throttled: "the store asks for fewer requests at a time"
        case .full(let cause): "the store has no room left (\(cause)); give the bucket more"
        case .server(let status, let cause): "the store failed with status \(status) (\(cause))"
        case .refused(let status, let cause): "the store refused this with status \(status) (\(cause))"
        case .unreadable(let cause):
            "the store's answer is none of S3's (\(cause)); check that files.s3.endpoint leads to the store"
        case .cancelled: "the hub stopped waiting for the store"
        }
    }

    public var description: String { "could not \(doing) (\(which)): \(advice)" }
}

extension S3Error {
    /// What a refusal means.
    ///
    /// - Parameters:
    ///   - now: the hub's time.
    /// Source: Amazon S3 API reference, "Error responses", and what compatible stores answer.
    static func problem(_ answer: S3Answer, at now: WallInstant) -> Problem {
        let code = answer.text("Code") ?? ""
        let detail = "\(code.isEmpty ? "no code" : code): \(answer.text("Message") ?? "no message")"
        if let problem = known(code, answer, detail, at: now) { return problem }
        switch answer.status {
        case 301, 302, 307, 308: return .wrongRegion(answer.header("x-amz-bucket-region"))
        case 403: return .accessDenied(detail)
        case 404 where code.isEmpty: return .unreadable("status 404 without a reason")
        case 408, 429: return .throttled
        case 507: return .full(detail)
        case 500...599: return .server(status: answer.status, detail)
        case 400...499: return .refused(status: answer.status, detail)
        default: return .unreadable("status \(answer.status)")
        }
    }

    private static func known(_ code: String, _ answer: S3Answer, _ detail: String, at now: WallInstant) -> Problem? {
        switch code {
        case "InvalidAccessKeyId": return .accessKeyUnknown
        case "SignatureDoesNotMatch": return .signatureRefused
        case "RequestTimeTooSkewed", "RequestExpired":
            return .clocksDiffer(store: answer.header("date"), own: now)
        case "NoSuchBucket": return .bucketMissing
        case "NoSuchKey": return .objectMissing
        case "NoSuchUpload": return .uploadMissing
        case "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed",
            "IllegalLocationConstraintException":
            return .wrongRegion(answer.text("Region") ?? answer.header("x-amz-bucket-region"))
        case "SlowDown", "ServiceUnavailable", "Throttling", "ThrottlingException", "RequestLimitExceeded",
            "TooManyRequests":
            return .throttled
        // The request was not what the store read: a broken connection, or a damaged body.
        case "RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch", "OperationAborted":
            return .server(status: answer.status, detail)
        case "QuotaExceeded", "XMinioStorageFull", "InsufficientCapacity":
            return .full(detail)
        default: return nil
        }
    }
}
