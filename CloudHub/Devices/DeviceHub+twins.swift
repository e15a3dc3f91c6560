public import HubContract
public import JSON
import Primitives
import Registry
public import Sessions
import Throttles

extension DeviceHub {
    // MARK: - From the device

    public func twinRequested(_ who: HubIdentity, reply: @escaping @Sendable (TwinAnswer) -> Void) {
        guard let created = createdAt(who) else { return reply(denied(who, "its twin", Self.unknown(who))) }
        if let refusal = throttle(.twinReads, who) { return reply(TwinAnswer(refusal)) }
        activity.active(who, at: clock())
        store.twin(of: who) { [self] result in
            switch result {
            case .success(let twin):
                let document = twin ?? TwinDocument(at: created)
                reply(TwinAnswer(status: 200, body: document.deviceView().serialized()))
            case .failure(let error):
                logFailure(error, doing: "read the twin", who)
                reply(denied(who, "its twin", Self.unavailable(error)))
            }
        }
    }

    public func reportedPatched(
        _ who: HubIdentity, patch: [UInt8], ifVersion: Int64?, reply: @escaping @Sendable (TwinAnswer) -> Void
    ) {
        guard let created = createdAt(who) else { return reply(denied(who, Self.patching, Self.unknown(who))) }
        if let refusal = throttle(.twinUpdates, who) { return reply(TwinAnswer(refusal)) }
        let value: JSONValue
        do throws(JSONError) { value = try JSONValue(parsing: patch) } catch {
            let refusal = HubError(.iotHubFormatError, "the reported patch is no JSON: \(error)")
            return reply(denied(who, Self.patching, refusal))
        }
        let now = clock()
        activity.active(who, at: now)
        store.changeTwin(
            of: who,
            decide: { twin in
                var document = twin ?? TwinDocument(at: created)
                try document.applyReported(value, ifVersion: ifVersion, at: now)
                return (document, document.reportedVersion)
            },
            completion: { [self] result in
                switch result {
                case .success(let version): reply(TwinAnswer(status: 204, version: version))
                case .failure(let error as HubError): reply(denied(who, Self.patching, error))
                case .failure(let error):
                    logFailure(error, doing: "write reported properties", who)
                    reply(denied(who, Self.patching, Self.unavailable(error)))
                }
            })
    }

    private static let patching = "a change of its reported properties"

    /// The answer to a device, which is told to the operator too.
    private func denied(_ who: HubIdentity, _ what: String, _ error: HubError) -> TwinAnswer {
        deny(who, "\(what) was refused with \(error.httpStatus): \(error.message)")
        return TwinAnswer(error)
    }

    // MARK: - From the service

    /// - Throws: 404 when the identity does not exist; 429 too often; 503 when the store failed.
    public func twin(_ who: HubIdentity) async throws(HubError) -> TwinDocument {
        guard let created = createdAt(who) else { throw Self.unknown(who) }
        if let refusal = throttle(.twinReads, who) { throw refusal }
        let result = await withCheckedContinuation { continuation in
            store.twin(of: who) { continuation.resume(returning: $0) }
        }
        switch result {
        case .success(let twin): return twin ?? TwinDocument(at: created)
        case .failure(let error): throw Self.unavailable(error)
        }
    }

    /// Merges `{"tags":…,"properties":{"desired":…}}` into the twin and tells the device what it is to do.
    ///
    /// - Throws: 404, 429, 400 when the patch breaks a limit, 412 when the condition does not hold, 503.
    @discardableResult
    public func patchTwin(
        _ who: HubIdentity, _ body: JSONValue, ifMatch: ETagCondition? = nil
    ) async throws(HubError) -> TwinDocument {
        try await changeTwin(who) { document, now in try document.patch(body, ifMatch: ifMatch, at: now) }
    }

    /// As `patchTwin`, but what the body does not name becomes empty.
    @discardableResult
    public func replaceTwin(
        _ who: HubIdentity, with body: JSONValue, ifMatch: ETagCondition? = nil
    ) async throws(HubError) -> TwinDocument {
        try await changeTwin(who) { document, now in try document.replace(body, ifMatch: ifMatch, at: now) }
    }

    /// The push goes out in the completion, so that pushes keep the order of their versions.
    private func changeTwin(
        _ who: HubIdentity,
        _ change: @escaping @Sendable (inout TwinDocument, WallInstant) throws -> TwinDocument.DesiredChange?
    ) async throws(HubError) -> TwinDocument {
        guard let created = createdAt(who) else { throw Self.unknown(who) }
        if let refusal = throttle(.twinUpdates, who) { throw refusal }
        let now = clock()
        let result: Result<TwinDocument, any Error> = await withCheckedContinuation { continuation in
            store.changeTwin(
                of: who,
                decide: { twin in
                    var document = twin ?? TwinDocument(at: created)
                    let told = try change(&document, now)
                    return (document, (document, told))
                },
                completion: { [self] (result: Result<(TwinDocument, TwinDocument.DesiredChange?), any Error>) in
                    if case .success((_, let told?)) = result { push(told, to: who) }
                    continuation.resume(returning: result.map(\.0))
                })
        }
        do {
            return try result.get()
        } catch let error as HubError {
            throw error
        } catch {
            throw Self.unavailable(error)
        }
    }

    private func push(_ change: TwinDocument.DesiredChange, to who: HubIdentity) {
        connected.link(for: who, subscribed: .desiredChanges)?
            .deliver(.desiredChanged(version: change.version, patch: change.body.serialized()), to: who)
    }

    /// When the identity was made; `nil` when it does not exist. A twin that was never written dates from then.
    private func createdAt(_ who: HubIdentity) -> WallInstant? {
        registry.exists(who) ? registry.device(who.device)?.createdAt : nil
    }

    static func unknown(_ who: HubIdentity) -> HubError {
        who.module == nil
            ? HubError(.deviceNotFound, "device \(who) is not registered")
            : HubError(.moduleNotFound, "module \(who) is not registered")
    }

    static func unavailable(_ error: any Error) -> HubError {
        HubError(.serviceUnavailable, "the hub's store does not take it: \(error)")
    }
}

extension TwinAnswer {
    init(_ error: HubError) {
        let body: JSONValue = [
            "errorCode": .number(JSONNumber(error.code.rawValue)), "message": .string(error.message),
        ]
        self.init(status: error.httpStatus, body: body.serialized())
    }
}
