import Hummingbird
import HummingbirdTesting
import Testing

@testable import Health

@Suite struct HealthTests {
    @Test func metricsAreInTheExpositionFormat() {
        let metrics = [
            Metric("hub_connections", .gauge, "Open connections.", 3),
            Metric(
                "hub_closed_total", .counter, "Closed, by \"reason\"\nand more.",
                samples: [.init(2, labels: ["reason": "a\"b\\c", "kind": "x"]), .init(0.5)]),
        ]
        #expect(
            PrometheusText.render(metrics) == """
                # HELP hub_connections Open connections.
                # TYPE hub_connections gauge
                hub_connections 3
                # HELP hub_closed_total Closed, by "reason"\\nand more.
                # TYPE hub_closed_total counter
                hub_closed_total{kind="x",reason="a\\"b\\\\c"} 2
                hub_closed_total 0.5

                """)
    }

    @Test(arguments: [
        (HealthReport.Part("log"), 200, "ok log\n"),
        (.init("log", trouble: "the disk is full"), 503, "trouble log: the disk is full\n"),
        (.init("certificate", warning: "it ends soon"), 200, "warning certificate: it ends soon\n"),
    ])
    func healthSaysWhatIsWrong(part: HealthReport.Part, status: Int, text: String) async throws {
        let router = Router()
        HealthRoutes(report: { HealthReport([part]) }, metrics: { [] }).addRoutes(to: router)
        try await Application(router: router).test(.router) { client in
            let answer = try await client.executeRequest(uri: "/healthz", method: .get, headers: [:], body: nil)
            #expect(answer.status.code == status)
            #expect(String(buffer: answer.body) == text)
        }
    }
}
