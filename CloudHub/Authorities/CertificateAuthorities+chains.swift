import Logging
public import Primitives
import Synchronization
import X509

/// What a check of a chain came to.
public enum ChainOutcome: Sendable, Hashable {
    case trusted(TrustedChain)
    /// What is wrong and what to do; it follows "the certificate of {device}".
    case refused(String)
}

/// Why a chain that was good is so no more.
public enum ChainObjection: Sendable, Hashable { case authorityRemoved, revoked }

extension CertificateAuthorities {
    /// What is remembered of this client certificate; `nil` when its chain has to be checked.
    ///
    /// - Parameter leafSHA256: of its DER, in any case.
    public func remembered(leafSHA256: String, now: WallInstant) -> TrustedChain? {
        let chain = state.withLock { $0.chains[leafSHA256.uppercased()] }
        guard let chain, chain.startsAt <= now, now < chain.endsAt else { return nil }
        return chain
    }

    /// Checks a chain. Takes a few signature checks on the calling task's thread; remembers what is good.
    ///
    /// - Parameter chain: in DER, the client's own certificate first; in the order in which it was sent.
    public func check(_ chain: [[UInt8]], now: WallInstant) async -> ChainOutcome {
        let (entries, known, version) = state.withLock { (Array($0.entries.values), $0.intermediates, $0.version) }
        let check = ChainCheck(
            trusted: entries.filter(\.record.isProven), unproven: entries.filter { !$0.record.isProven }, known: known,
            now: now)
        switch await check.perform(chain) {
        case .failure(let problem): return .refused(problem.sentence)
        case .success(let (found, above)):
            remember(found, of: chain[0], above: above, version: version)
            return .trusted(found)
        }
    }

    /// Why a chain that was good is so no more; `nil` while it is. From memory; time does not count here.
    public func objection(to chain: TrustedChain) -> ChainObjection? {
        state.withLock { state in
            let trusted = state.entries.values.filter(\.record.isProven)
            guard trusted.contains(where: { $0.signerID == chain.top }) else { return .authorityRemoved }
            return ChainCheck.revocation(of: chain, by: trusted).map { _ in .revoked }
        }
    }

    private func remember(_ chain: TrustedChain, of leaf: [UInt8], above: [Certificate], version: UInt64) {
        let key = Thumbprinting.sha256(leaf)
        state.withLock { state in
            guard state.version == version else { return }
            if state.chains.count >= Self.chainsMax { state.chains = [:] }
            state.chains[key] = chain
            for certificate in above where !state.intermediates.contains(certificate) {
                if state.intermediates.count >= Self.intermediatesMax { state.intermediates.removeFirst() }
                state.intermediates.append(certificate)
            }
        }
    }

    // MARK: - Looking after them

    /// Days before an authority's end at which the log begins to speak of it.
    static let warningDays = 30

    /// Looks once an hour for what the operator has to do, and says so once a day, until the task is cancelled.
    public func watch() async {
        while true {
            look()
            do { try await Task.sleep(for: .seconds(3600)) } catch { return }
        }
    }

    func look() {
        let now = clock()
        for entry in state.withLock({ Array($0.entries.values) }) {
            if let next = entry.list?.nextUpdate, next <= now, mayWarn("list " + entry.name, now) {
                logger.warning(
                    "a revocation list is out of date; what was revoked since is not known. Give the hub the newest with 'cloud-hub certificate revoke-list'",
                    metadata: ["authority": "\(entry.name)", "ended": "\(next)"])
            }
            let end = entry.certificate.endsAt
            if end - now < .seconds(86_400 * Self.warningDays), mayWarn("end " + entry.name, now) {
                logger.warning(
                    "an authority's certificate ends; register its successor with 'cloud-hub certificate add' and give devices new ones",
                    metadata: ["authority": "\(entry.name)", "ends": "\(end)"])
            }
        }
    }

    private func mayWarn(_ subject: String, _ now: WallInstant) -> Bool {
        state.withLock { state in
            if let last = state.lastWarnings[subject], now - last < .seconds(86_400) { return false }
            state.lastWarnings[subject] = now
            return true
        }
    }
}
