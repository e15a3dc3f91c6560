public import Primitives

/// A certificate authority as the hub keeps it.
public struct AuthorityRecord: Sendable, Hashable {
    /// What the operator calls it: 1 to 64 ASCII letters, digits and `- . _`.
    public let name: String
    /// In DER.
    public let certificate: [UInt8]
    /// Whether somebody showed that the authority's key is his.
    public var isProven: Bool
    /// The code that the next proof has to carry; `nil` until one is asked for and after it was used.
    public var code: String?
    /// In DER.
    public var revocationList: [UInt8]?
    public let addedAt: WallInstant

    public init(
        name: String, certificate: [UInt8], isProven: Bool = false, code: String? = nil, revocationList: [UInt8]? = nil,
        addedAt: WallInstant
    ) {
        self.name = name
        self.certificate = certificate
        self.isProven = isProven
        self.code = code
        self.revocationList = revocationList
        self.addedAt = addedAt
    }
}

/// Where the authorities outlive the process. Its errors are the store's own.
public protocol AuthorityStore: Sendable {
    /// Everything, in no order. Called once, at start; blocks.
    func loadAuthorities() throws -> [AuthorityRecord]

    /// Reads all, asks `decide` for what shall stand under the name instead (`nil` deletes it), writes that and makes it
    /// durable: one transaction, in one order with all other changes.
    ///
    /// - Parameter committed: called once after the change is durable, in the order of the commits, before the function
    ///   returns; not called when `decide` threw or the store failed.
    func changeAuthority(
        _ name: String,
        decide: @escaping @Sendable (_ all: [AuthorityRecord]) throws -> AuthorityRecord?,
        committed: @escaping @Sendable (AuthorityRecord?) -> Void
    ) async throws
}
