public import AsyncHTTPClient
public import BlobStore
import Logging
import NIOCore
import NIOHTTP1
public import Primitives
import Synchronization

/// A container of an Azure storage account, as far as the hub looks into it: whether a file is there.
///
/// Devices put their files by themselves. Source: Azure Blob Storage REST API (Get Blob Properties, error codes).
public final class AzureAccount: Sendable {
    /// What the account said of a blob.
    public enum Finding: Sendable, Hashable {
        case there(bytes: Int64)
        case missing
        /// It could not be asked: what is wrong and what to do.
        case trouble(String)
    }

    private static let timeMax = TimeAmount.seconds(10)
    /// No device has this id.
    private static let probe = BlobName("$cloud-hub/check")

    private let host: String
    private let container: String
    private let access: SharedAccess
    private let http: HTTPClient
    private let clock: @Sendable () -> WallInstant
    private let logger = Logger(label: "files")
    private let state = Mutex("")

    public init(
        host: String, container: String, access: SharedAccess, http: HTTPClient,
        clock: @escaping @Sendable () -> WallInstant
    ) {
        self.host = host
        self.container = container
        self.access = access
        self.http = http
        self.clock = clock
    }

    /// Empty when the account answered as it should the last time; else what is wrong and what to do.
    public var trouble: String { state.withLock { $0 } }

    /// Asks for a blob's size.
    public func look(for blob: BlobName) async -> Finding {
        let finding = await ask(blob)
        var now = ""
        if case .trouble(let words) = finding { now = words }
        let before = state.withLock { state in
            defer { state = now }
            return state
        }
        if now != before {
            if now.isEmpty {
                logger.info("the store for files is well again")
            } else {
                logger.warning("the store for files is in trouble", metadata: ["error": "\(now)"])
            }
        }
        return finding
    }

    /// Tries the account at the start, and while it is in trouble, until the task is cancelled.
    public func run() async {
        guard let probe = Self.probe else { return }
        _ = await look(for: probe)
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(15))
            if !trouble.isEmpty { _ = await look(for: probe) }
        }
    }

    private func ask(_ blob: BlobName) async -> Finding {
        let path = blob.text.split(separator: "/").map { PercentEncoding.encode($0) }.joined(separator: "/")
        let token = access.token(for: blob, .read, until: clock() + .seconds(300))
        var request = HTTPClientRequest(url: "https://\(host)/\(container)/\(path)\(token)")
        request.method = .HEAD
        request.headers.add(name: "x-ms-version", value: SharedAccess.version)
        do {
            let response = try await http.execute(request, timeout: Self.timeMax)
            let code = response.headers.first(name: "x-ms-error-code") ?? ""
            return finding(Int(response.status.code), code, response.headers.first(name: "content-length"))
        } catch {
            return .trouble("the storage account cannot be reached (\(error)); check files.azure.host and the network")
        }
    }

    private func finding(_ status: Int, _ code: String, _ length: String?) -> Finding {
        switch (status, code) {
        case (200, _): .there(bytes: length.flatMap { Int64($0) } ?? 0)
        case (404, "BlobNotFound"): .missing
        case (404, _):
            .trouble("the storage account has no container '\(container)'; make it, or check files.azure.container")
        case (401, _), (403, "AuthenticationFailed"):
            .trouble(
                "the storage account does not accept the hub's signature; check the key in files.azure.key_file, that "
                    + "account keys are allowed there, and this machine's clock")
        case (403, _): .trouble("the storage account refuses to be read (\(code)); check its firewall and its rules")
        default: .trouble("the storage account answered with status \(status) \(code); it is tried again")
        }
    }
}
