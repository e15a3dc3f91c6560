public import Logging
public import Primitives
import Synchronization
import SwiftASN1
import X509

/// One registered authority, read.
struct AuthorityEntry: Sendable {
    let record: AuthorityRecord
    let certificate: Certificate
    let signerID: SignerID
    let list: RevocationList?
    var name: String { record.name }

    /// - Throws: when what the store kept cannot be read.
    init(_ record: AuthorityRecord) throws(AuthorityError) {
        guard let certificate = Certificate(der: record.certificate) else {
            throw AuthorityError("the authority '\(record.name)' is damaged; delete and add it again")
        }
        self.record = record
        self.certificate = certificate
        signerID = certificate.signerID
        guard let der = record.revocationList else {
            list = nil
            return
        }
        list = try RevocationList(der: der)
    }
}

/// What a person sees of an authority.
public struct AuthoritySummary: Sendable, Hashable {
    public let name: String
    public let subject: String
    /// 64 upper-case digits, of the certificate's DER.
    public let thumbprint: String
    public let isProven: Bool
    public let endsAt: WallInstant
    /// Entries of its revocation list; `nil` when it has none.
    public let revokedCount: Int?
    /// When a newer list has to be there.
    public let listEndsAt: WallInstant?
}

/// The certificate authorities whose devices the hub lets in: registered by the operator, proven by a certificate that only
/// the holder of the authority's key can make, asked about every chain, with what they have revoked.
///
/// Checks run on the shared thread pool, everything else answers from memory. Thread-safe.
public final class CertificateAuthorities: Sendable {
    /// Authorities of one hub.
    public static let countMax = 100
    /// Chains that are remembered as good, by the client's own certificate.
    public static let chainsMax = 20_000
    /// Intermediates that are remembered as good.
    public static let intermediatesMax = 256
    /// How far an authority's clock may be ahead of the hub's.
    static let clockTolerance = Duration.seconds(300)

    struct State {
        var entries: [String: AuthorityEntry] = [:]
        /// Counts the changes, so that a check that began before one is not remembered after it.
        var version: UInt64 = 0
        var chains: [String: TrustedChain] = [:]
        var intermediates: [Certificate] = []
        var lastWarnings: [String: WallInstant] = [:]
    }

    let state: Mutex<State>
    let clock: @Sendable () -> WallInstant
    let logger: Logger
    private let store: any AuthorityStore
    private let observers = Mutex<[@Sendable () -> Void]>([])

    /// Loads everything; call it off the event loops.
    ///
    /// - Throws: what the store threw. An authority that cannot be read any more is left out with an error in the log.
    public init(
        store: any AuthorityStore, clock: @escaping @Sendable () -> WallInstant,
        logger: Logger = Logger(label: "authorities")
    ) throws {
        var loaded = State()
        for record in try store.loadAuthorities() {
            do throws(AuthorityError) {
                loaded.entries[record.name] = try AuthorityEntry(record)
            } catch {
                logger.error(
                    "an authority is left out; its devices are refused",
                    metadata: ["authority": "\(record.name)", "reason": "\(error)"])
            }
        }
        state = Mutex(loaded)
        self.store = store
        self.clock = clock
        self.logger = logger
    }

    /// Calls `observer` after every change that may cost a device its access, on the store's thread. Observers live as
    /// long as the authorities.
    public func onLoss(_ observer: @escaping @Sendable () -> Void) { observers.withLock { $0.append(observer) } }

    /// All, by name.
    public var summaries: [AuthoritySummary] {
        state.withLock { Array($0.entries.values) }.map(Self.summary).sorted { $0.name < $1.name }
    }

    // MARK: - Changes

    /// Registers an authority; it counts once it is proven.
    public func add(_ name: String, file: [UInt8]) async throws(AuthorityError) -> AuthoritySummary {
        try Self.check(name)
        let (certificate, der) = try GivenFile.certificate(file, what: "the file")
        let now = clock()
        try Self.check(certificate, now: now)
        let record = AuthorityRecord(name: name, certificate: der, addedAt: now)
        return try await change(name) { all in
            guard all.count < Self.countMax else {
                throw AuthorityError("the hub has \(Self.countMax) authorities, which is the limit; delete one")
            }
            guard !all.contains(where: { $0.name == name }) else {
                throw AuthorityError("there is an authority '\(name)' already; choose another name, or delete that one")
            }
            if let same = all.first(where: { $0.certificate == der }) {
                throw AuthorityError("this certificate is registered already, as '\(same.name)'")
            }
            return record
        }
    }

    /// Makes the code that the proof of possession has to carry; the one before is no longer good.
    /// - Returns: 48 digits.
    public func makeCode(for name: String) async throws(AuthorityError) -> String {
        let code = Hex.encode((0..<24).map { _ in UInt8.random(in: 0...255) }).uppercased()
        _ = try await change(name) { all in
            var record = try Self.record(name, in: all)
            record.code = code
            return record
        }
        return code
    }

    /// Takes the proof: a certificate that the authority signed, whose common name is the code.
    public func prove(_ name: String, file: [UInt8]) async throws(AuthorityError) -> AuthoritySummary {
        let (proof, _) = try GivenFile.certificate(file, what: "the file")
        let now = clock()
        return try await change(name) { all in
            var record = try Self.record(name, in: all)
            try Self.check(proof, of: record, now: now)
            record.isProven = true
            record.code = nil
            return record
        }
    }

    /// Replaces the authority's revocation list.
    public func setRevocationList(_ name: String, file: [UInt8]) async throws(AuthorityError) -> AuthoritySummary {
        let der = try GivenFile.only("X509 CRL", in: file, what: "the file")
        let list = try RevocationList(der: der)
        let now = clock()
        return try await change(name) { all in
            var record = try Self.record(name, in: all)
            try Self.check(list, of: AuthorityEntry(record), now: now)
            record.revocationList = der
            return record
        }
    }

    /// Takes an authority away; who was let in by it is cut off.
    public func delete(_ name: String) async throws(AuthorityError) {
        try await commit(name) { all in
            _ = try Self.record(name, in: all)
            return nil
        }
    }

    private func change(
        _ name: String, _ decide: @escaping @Sendable ([AuthorityRecord]) throws -> AuthorityRecord
    ) async throws(AuthorityError) -> AuthoritySummary {
        try await commit(name) { try decide($0) }
        guard let entry = state.withLock({ $0.entries[name] }) else {
            throw AuthorityError("the authority '\(name)' was deleted meanwhile; add it again")
        }
        return Self.summary(entry)
    }

    private func commit(
        _ name: String, _ decide: @escaping @Sendable ([AuthorityRecord]) throws -> AuthorityRecord?
    ) async throws(AuthorityError) {
        do {
            try await store.changeAuthority(name, decide: decide) { [self] record in
                // It was read before it was written.
                let entry = record.flatMap { try? AuthorityEntry($0) }
                state.withLock { state in
                    state.entries[name] = entry
                    state.version += 1
                    state.chains = [:]
                    if entry == nil { state.lastWarnings[name] = nil }
                }
                for observer in observers.withLock({ $0 }) { observer() }
            }
        } catch let error as AuthorityError {
            throw error
        } catch {
            throw AuthorityError("the authorities could not be changed: \(error)", isRetryable: true)
        }
    }

    private static func record(_ name: String, in all: [AuthorityRecord]) throws(AuthorityError) -> AuthorityRecord {
        guard let record = all.first(where: { $0.name == name }) else {
            throw AuthorityError("there is no authority '\(name)'; 'cloud-hub certificate list' shows which there are")
        }
        return record
    }

    private static func summary(_ entry: AuthorityEntry) -> AuthoritySummary {
        AuthoritySummary(
            name: entry.name, subject: "\(entry.certificate.subject)",
            thumbprint: Thumbprinting.sha256(entry.record.certificate), isProven: entry.record.isProven,
            endsAt: entry.certificate.endsAt, revokedCount: entry.list?.serials.count,
            listEndsAt: entry.list?.nextUpdate)
    }
}
