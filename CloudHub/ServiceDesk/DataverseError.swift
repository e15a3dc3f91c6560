/// An answer that refuses a request, in Dataverse's own terms.
///
/// Source: Dataverse developer documentation, "Web service error codes" and "Compose HTTP requests and handle errors".
struct DataverseError: Error, Sendable, Equatable {
    /// HTTP status.
    let status: Int
    /// Hexadecimal platform code.
    let code: String
    let message: String

    init(_ status: Int, _ code: String, _ message: String) {
        self.status = status
        self.code = code
        self.message = message
    }

    // MARK: - The body

    /// A body that does not fit the table's declared shape; the inner sentence is the OData reader's.
    static func payload(_ table: Table, _ inner: String) -> DataverseError {
        DataverseError(
            400, "0x80048d19",
            "Error identified in Payload provided by the user for Entity :'\(table.entitySet)'  ---->  "
                + "InnerException : Microsoft.OData.ODataException: \(inner)")
    }

    static func unknownProperty(_ name: String, in table: Table) -> DataverseError {
        payload(
            table,
            "The property '\(name)' does not exist on type 'Microsoft.Dynamics.CRM.\(table.logicalName)'. "
                + "Make sure to only use property names that are defined by the type.")
    }

    /// What a bind under a wrong name, or under the right name in the wrong case, is answered with.
    static func undeclaredNavigation(_ name: String, in table: Table) -> DataverseError {
        payload(
            table,
            "An undeclared property '\(name)' which only has property annotations in the payload but no property "
                + "value was found in the payload. In OData, only declared navigation properties and declared named "
                + "streams can be represented as properties without values.")
    }

    static func tooLong(_ column: String, lengthMax: Int, in table: Table) -> DataverseError {
        DataverseError(
            400, "0x80044331",
            "A validation error occurred.  The length of the '\(column)' attribute of the '\(table.logicalName)' entity "
                + "exceeded the maximum allowed length of '\(lengthMax)'.")
    }

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
            400, "0x80044330",
            "A validation error occurred.  The value of '\(column)' on record of type '\(table.logicalName)' is outside "
                + "the valid range.")
    }

    static func statusPair(_ status: Int64, state: State, in table: Table) -> DataverseError {
        let stateName = state.label.filter { $0 != " " }
        return DataverseError(
            400, "0x80048408",
            "\(status) is not a valid status code for state code \(table.logicalName)State.\(stateName) on "
                + "\(table.logicalName)")
    }

    // MARK: - The address

    static func unknownSegment(_ segment: some StringProtocol) -> DataverseError {
        DataverseError(404, "0x8006088a", "Resource not found for the segment '\(segment)'.")
    }

    static func noSuchRow(_ table: Table, _ id: String) -> DataverseError {
        DataverseError(404, "0x80040217", "Entity '\(table.logicalName)' With Id = \(id) Does Not Exist")
    }

    static func badKey(_ text: some StringProtocol) -> DataverseError {
        DataverseError(400, "0x80060888", "Bad Request - Error in query syntax: '\(text)' is not a key of this table.")
    }

    static func badQuery(_ sentence: String) -> DataverseError { DataverseError(400, "0x80060888", sentence) }

    static func unknownColumn(_ name: some StringProtocol, in table: Table) -> DataverseError {
        badQuery(
            "Could not find a property named '\(name)' on type 'Microsoft.Dynamics.CRM.\(table.logicalName)'.")
    }

    static let methodNotAllowed = DataverseError(
        405, "0x80060888", "The requested resource does not support this HTTP method.")
    static let bodyTooLarge = DataverseError(413, "0x80060888", "The request length is too large.")

    // MARK: - Preconditions and limits

    static let alreadyExists = DataverseError(412, "0x80040237", "A record with matching key values already exists.")
    static let versionMismatch = DataverseError(
        412, "0x80060882",
        "The version of the existing record doesn't match the RowVersion property provided.")
    static let unauthenticated = DataverseError(401, "0x80072560", "The requested resource requires authentication.")
}
