import Authorities
import BlobStore
import Control
import Devices
import EventLog
import Faults
import Gaps
import HubContract
import JSON
import Journal
import LiveState
import Primitives
import Registry
import RuleLibrary
import SQLiteHubStore
import Trace
import WebUI

/// What the command line may ask, answered by a running hub through its socket or by the command line itself on the
/// opened stores.
struct Verbs: Sendable {
    let directory: DataDirectory
    let address: HubAddress
    let registry: DeviceRegistry
    let authorities: CertificateAuthorities
    let database: HubDatabase
    /// What only a running hub has; `nil` on the command line.
    let running: RunningHub?

    /// What a verb needs of a running hub.
    struct RunningHub: Sendable {
        let devices: DeviceHub
        let journal: DeviceJournal
        let log: any EventLog
        let live: LiveState
        let faults: any FaultStore
        let gaps: GapKeeper
        let tracer: Tracer
        let pages: WebPages
        /// `nil` with a store elsewhere.
        let blobs: Blobs?
        let rules: JSONValue
        /// Sets for gateways.
        let ruleLibrary: RuleLibrary
        /// Target, and whether with uploaded files.
        let backup: @Sendable (String, Bool) async throws -> Void
        /// Where uploaded files are when they are not in the data directory: "the bucket uploads". Empty when they are.
        let filesElsewhere: String
    }

    func perform(
        _ request: ControlRequest, send: @Sendable (ControlAnswer) async -> Bool
    ) async throws -> ControlAnswer {
        do {
            switch request.verb {
            case "device.create": return .done(try await createDevice(request))
            case "device.list": return .done(listDevices(request))
            case "device.show": return .done(try showDevice(request))
            case "device.delete": return .done(try await deleteDevice(request))
            case "device.send": return .done(try await sendToDevice(request))
            case "module.create": return .done(try await createModule(request))
            case "module.list": return .done(try listModules(request))
            case "module.show": return .done(try showModule(request))
            case "module.delete": return .done(try await deleteModule(request))
            case "device.queue": return .done(try await showQueue(request))
            case "device.files": return .done(try await listFiles(request))
            case "device.file-link": return .done(try await makeFileLink(request))
            case "device.delete-file": return .done(try await deleteFile(request))
            case "device.events": return try await showEvents(request, send: send)
            case "device.feedback": return .done(try await showFeedback(request))
            case "certificate.add": return .done(try await addAuthority(request))
            case "certificate.code": return .done(try await makeAuthorityCode(request))
            case "certificate.verify": return .done(try await proveAuthority(request))
            case "certificate.list": return .done(listAuthorities())
            case "certificate.delete": return .done(try await deleteAuthority(request))
            case "certificate.revoke-list": return .done(try await setRevocationList(request))
            case "connection-string": return .done(try connectionString(request))
            case "monitor": return try await monitor(request, send: send)
            case "sign-in": return .done(try await signInLink(request))
            case "fault.list": return .done(try await listFaults(request))
            case "fault.dead-letters": return .done(try await listDeadLetters(request))
            case "fault.retry": return .done(try await retryDeadLetters(request))
            case "device.gaps": return .done(try listGaps(request))
            case "trace": return .done(try await traceRecord(request))
            case "ruleset.publish": return .done(try await publishRuleSet(request))
            case "ruleset.list": return .done(try await listRuleSets(request))
            case "ruleset.show": return .done(try await showRuleSet(request))
            case "ruleset.assign": return .done(try await assignRuleSet(request))
            case "ruleset.withdraw": return .done(try await withdrawRuleSet(request))
            case "rule.list": return .done(try hub(request).rules)
            case "backup": return .done(try await backup(request))
            default: throw ControlError("this hub has no verb '\(request.verb)'", .wrongCall)
            }
        } catch let error as HubError {
            throw ControlError(error.message)
        } catch let error as AuthorityError {
            throw ControlError(error.description)
        } catch let failure as CommandFailure {
            throw ControlError(failure.message, failure.status == 2 ? .wrongCall : .failure)
        }
    }

    /// The running hub, or the reason why the verb cannot be done without one.
    func hub(_ request: ControlRequest) throws(ControlError) -> RunningHub {
        guard let running else {
            let command = request.verb.replacing(".", with: " ")
            throw ControlError(
                "'\(command)' needs a running hub, and none holds \(directory.path); "
                    + "start it with: cloud-hub serve --data \(directory.path)")
        }
        return running
    }

    func deviceID(_ request: ControlRequest, _ argument: String = "id") throws(ControlError) -> DeviceID {
        let text = request.text(argument) ?? ""
        guard let id = DeviceID(text) else {
            throw ControlError(
                "'\(text)' is no device id: 1 to \(DeviceID.lengthMax) ASCII letters, digits and -:.+%_#*?!(),=@;$'",
                .wrongCall)
        }
        return id
    }

    private func signInLink(_ request: ControlRequest) async throws -> JSONValue {
        let hub = try hub(request)
        let path = await hub.pages.makeSignInPath(user: request.text("user") ?? "operator")
        return .string("http://127.0.0.1:\(address.httpPort)\(path)")
    }

    private func backup(_ request: ControlRequest) async throws -> JSONValue {
        let hub = try hub(request)
        guard let target = request.text("to"), target.hasPrefix("/") else {
            throw ControlError("the target of a backup must be an absolute path", .wrongCall)
        }
        let withFiles = request.text("files") != "no"
        try await hub.backup(target, withFiles)
        return ["to": .string(target), "elsewhere": .string(hub.filesElsewhere)]
    }
}
