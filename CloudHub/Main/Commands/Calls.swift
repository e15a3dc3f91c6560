import Control
import Devices
import JSON
import Primitives
import Registry
import SQLiteHubStore

/// Carries a command line's call to the hub that holds the data directory, or answers it on the opened stores.
struct HubCall: Sendable {
    let directory: DataDirectory

    /// One answer.
    func result(_ verb: String, _ arguments: JSONObject = [:]) async throws -> JSONValue {
        var result = JSONValue.null
        try await stream(verb, arguments) { _ in
            true
        } done: {
            result = $0
        }
        return result
    }

    /// Every item of a streaming verb, until `receive` returns `false` or the hub ends it.
    func stream(
        _ verb: String, _ arguments: JSONObject, receive: (JSONValue) -> Bool, done: (JSONValue) -> Void = { _ in }
    ) async throws {
        try directory.demandAccess()
        guard directory.isSetUp else {
            throw CommandFailure.failed(
                "\(directory.path) holds no hub data; start a hub there first: cloud-hub serve --data \(directory.path)"
            )
        }
        let request = ControlRequest(verb: verb, arguments: arguments)
        do {
            if let lock = try directory.tryLock() {
                defer { withExtendedLifetime(lock) {} }
                done(try await offline(request))
            } else {
                try ControlClient(path: directory.socket).call(request) { answer in
                    switch answer {
                    case .item(let item): return receive(item)
                    case .done(let result):
                        done(result)
                        return false
                    case .failed(let error): throw error
                    }
                }
            }
        } catch let error as ControlError {
            throw CommandFailure(message: error.message, status: error.kind == .wrongCall ? 2 : 1)
        }
    }

    private func offline(_ request: ControlRequest) async throws -> JSONValue {
        let stores = try await HubStores.open(directory)
        defer { stores.close() }
        let verbs = Verbs(
            directory: directory, address: stores.address, registry: stores.registry,
            authorities: stores.authorities, database: stores.database,
            running: nil)
        let answer = try await verbs.perform(request) { _ in true }
        switch answer {
        case .done(let value), .item(let value): return value
        case .failed(let error): throw error
        }
    }
}
