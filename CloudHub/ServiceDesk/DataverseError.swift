/// An answer that refuses a request, in Dataverse's own terms.
///
/// Where a documentation page shows the answer, it is that one; its code is empty there more often than in the service, and
/// is then the one that "Web service error codes" gives for the error's name. The golden cases name each page, and say
/// which answers no page shows.
///
/// Source: Dataverse developer documentation, "Web service error codes", "Compose HTTP requests and handle errors",
/// "Perform conditional operations"; "Troubleshoot Dataverse Web API client errors".
struct DataverseError: Error, Sendable, Equatable {
    /// HTTP status.
    let status: Int
    /// Hexadecimal platform code; `0x0` and empty ones exist.
    let code: String
    let message: String

    init(_ status: Int, _ code: String, _ message: String) {
        self.status = status
        self.code = code
        self.message = message
    }

    // MARK: - The body

    /// ODataClientPayloadError: a body that does not fit the table's declared shape; the inner sentence is the OData
    /// reader's.
    static func payload(_ table: Table, _ inner: String) -> DataverseError {
        DataverseError(
            400, "0x80048d19",
            "Error identified in Payload provided by the user for Entity :'\(table.entitySet)'  ---->  "
                + "InnerException : Microsoft.OData.ODataException: \(inner)")
    }

    static func unknownProperty(_ name: String, in table: Table) -> DataverseError {
        DataverseError(
            400, "0x0",
            "An error occurred while validating input parameters: Microsoft.Crm.CrmException: Invalid property '\(name)' was "
                + "found in entity 'Microsoft.Dynamics.CRM.\(table.logicalName)'. ---> Microsoft.OData.ODataException: Does "
                + "not support untyped value in non-open type.")
    }

    /// What a bind under a wrong name, or under the right name in the wrong case, is answered with.
    static func undeclaredNavigation(_ name: String, in table: Table) -> DataverseError {
        payload(
            table,
            "An undeclared property '\(name)' which only has property annotations in the payload but no property "
                + "value was found in the payload. In OData, only declared navigation properties and declared named "
                + "streams can be represented as properties without values.")
    }

    /// StringLengthTooLong.
    static func tooLong(_ column: String, lengthMax: Int, in table: Table) -> DataverseError {
        DataverseError(
            400, "0x80044331",
            "A validation error occurred.  The length of the '\(column)' attribute of the '\(table.logicalName)' entity "
                + "exceeded the maximum allowed length of '\(lengthMax)'.")
    }

    /// PicklistValueOutOfRange.
    static func outsideChoices(_ value: Int64, _ column: String, _ choices: [Choice], in table: Table)
        -> DataverseError
    {
        let accepted = choices.map { String($0.value) }.joined(separator: ",")
        return DataverseError(
            400, "0x8004431a",
            "A validation error occurred. The value \(value) of '\(column)' on record of type '\(table.logicalName)' is "
                + "outside the valid range. Accepted Values: \(accepted)")
    }

    static func outsideRange(_ value: Int64, _ column: String, in table: Table) -> DataverseError {
        DataverseError(
            400, "0x8004432f",
            "A validation error occurred.  The value of '\(column)' on record of type '\(table.logicalName)' is outside "
                + "the valid range.")
    }

    /// InvalidStateCodeStatusCode.
    static func statusPair(_ status: Int64, state: State, in table: Table) -> DataverseError {
        let stateName = state.label.filter { $0 != " " }
        return DataverseError(
            400, "0x80048408",
            "\(status) is not a valid status code for state code \(table.logicalName)State.\(stateName) on "
                + "\(table.logicalName)")
    }

    // MARK: - The address

    /// CrmHttpError.
    static func unknownSegment(_ segment: some StringProtocol) -> DataverseError {
        DataverseError(404, "0x8006088a", "Resource not found for the segment '\(segment)'.")
    }

    /// ObjectDoesNotExist.
    static func noSuchRow(_ table: Table, _ id: String) -> DataverseError {
        DataverseError(404, "0x80040217", "\(table.logicalName) With Id = \(id) Does Not Exist")
    }

    static func badKey(_ text: some StringProtocol) -> DataverseError {
        DataverseError(400, "0x80060888", "Bad Request - Error in query syntax: '\(text)' is not a key of this table.")
    }

    static func badQuery(_ sentence: String) -> DataverseError { DataverseError(400, "0x80060888", sentence) }

    static func unknownColumn(_ name: some StringProtocol, in table: Table) -> DataverseError {
        DataverseError(
            400, "0x0",
            "Could not find a property named '\(name)' on type 'Microsoft.Dynamics.CRM.\(table.logicalName)'.")
    }

    /// NotSupported: for example DELETE or PATCH on a whole collection.
    static let methodNotAllowed = DataverseError(405, "0x80040315", "This action is not supported.")
    /// RequestLengthTooLarge.
    static let bodyTooLarge = DataverseError(413, "0x8004418a", "Request message length is too large.")

    /// NotImplemented: what Dataverse does and this desk does not.
    static func notBuilt(_ what: String) -> DataverseError {
        DataverseError(
            501, "0x80040219", "The requested functionality is not yet implemented: this service desk has no \(what).")
    }

    // MARK: - Preconditions and limits

    /// DuplicateRecord.
    static let alreadyExists = DataverseError(412, "0x80040237", "A record with matching key values already exists.")
    /// ConcurrencyVersionMismatch.
    static let versionMismatch = DataverseError(
        412, "0x80060882",
        "The version of the existing record doesn't match the RowVersion property provided.")
}
