public import Hummingbird
import NIOCore

/// What is well and what is not, in words for whoever looks after the hub.
public struct HealthReport: Sendable, Equatable {
    public struct Part: Sendable, Equatable {
        public let name: String
        /// Empty when the part is well; else what is wrong and what to do.
        public let trouble: String
        /// What will become trouble unless somebody does something; the part still does its work.
        public let warning: String

        public init(_ name: String, trouble: String = "", warning: String = "") {
            self.name = name
            self.trouble = trouble
            self.warning = warning
        }

        var line: String {
            if !trouble.isEmpty { return "trouble \(name): \(trouble)" }
            return warning.isEmpty ? "ok \(name)" : "warning \(name): \(warning)"
        }
    }

    public let parts: [Part]

    public init(_ parts: [Part]) { self.parts = parts }

    var isWell: Bool { parts.allSatisfy(\.trouble.isEmpty) }

    /// One line a part.
    public var text: String { parts.map(\.line).joined(separator: "\n") + "\n" }
}

/// `/healthz` and `/metrics`, without signing in: they name no device and carry nothing that a device sent.
public struct HealthRoutes: Sendable {
    private let report: @Sendable () async -> HealthReport
    private let metrics: @Sendable () async -> [Metric]

    public init(
        report: @escaping @Sendable () async -> HealthReport, metrics: @escaping @Sendable () async -> [Metric]
    ) {
        self.report = report
        self.metrics = metrics
    }

    /// 200 when everything is well, else 503; the body says which part is not.
    public func addRoutes(to router: Router<some RequestContext>) {
        router.get("/healthz") { _, _ in
            let report = await report()
            return respond(report.isWell ? .ok : .serviceUnavailable, "text/plain; charset=utf-8", report.text)
        }
        router.get("/metrics") { _, _ in
            respond(.ok, PrometheusText.contentType, PrometheusText.render(await metrics()))
        }
    }

    private func respond(_ status: HTTPResponse.Status, _ type: String, _ text: String) -> Response {
        Response(
            status: status, headers: [.contentType: type, .cacheControl: "no-store"],
            body: .init(byteBuffer: ByteBuffer(string: text)))
    }
}
