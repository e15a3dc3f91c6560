public import JSON

/// Why bytes are not a batch that the hub can take. The whole PUBLISH is then quarantined with this text.
public struct BatchError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Problem: Hashable, Sendable {
        /// Not JSON at all, or not within its limits.
        case brokenJSON(JSONError.Problem)
        /// `v` names another version than 1.
        case unsupportedVersion(String)
        /// A member that must be there is not.
        case missing(String)
        /// A member is there and cannot be used; `needs` says what is allowed.
        case wrong(member: String, needs: String)
        case tooMany(member: String, countMax: Int)
        /// A sequence is not greater than the one before it.
        case sequenceNotRising
        /// `runs` are not the sequences of the records.
        case runsDisagree
        /// A record has both a fault and a reading's members.
        case readingAndFault
    }

    public let problem: Problem
    /// Bytes from the start of the batch to where it was found.
    public let offset: Int
    /// Index in `records`, when it lies in one.
    public let record: Int?

    public init(_ problem: Problem, offset: Int, record: Int? = nil) {
        self.problem = problem
        self.offset = offset
        self.record = record
    }

    /// The same bytes will never do.
    public var isRetryable: Bool { false }

    public var description: String {
        let place = record.map { "records[\($0)], byte \(offset)" } ?? "byte \(offset)"
        return "the batch cannot be read at \(place): \(problem)"
    }
}

extension BatchError.Problem: CustomStringConvertible {
    public var description: String {
        switch self {
        case .brokenJSON(let problem): "\(problem)"
        case .unsupportedVersion(let version): "version \(version) is not supported, only version 1 is"
        case .missing(let member): "the member \"\(member)\" is missing"
        case .wrong(let member, let needs): "the member \"\(member)\" needs \(needs)"
        case .tooMany(let member, let countMax): "\"\(member)\" has more than \(countMax) entries"
        case .sequenceNotRising: "the sequence is not greater than the one before it"
        case .runsDisagree: "\"runs\" are not the sequences of the records"
        case .readingAndFault: "the record has a \"fault\" and also a \"metric\" or \"value\""
        }
    }
}
