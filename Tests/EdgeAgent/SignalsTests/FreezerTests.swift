import Foundation
import Primitives
import Signals
import Telemetry
import Testing

/// The worked example of the room's page, with its figures.
@Suite("Signals: the freezer")
struct FreezerTests {
    /// A day of a freezer, a reading a second in hundredths of a degree: the compressor runs 12 of 40 minutes, the door is
    /// opened five times, and the sensor's own noise is 0.02 degrees.
    private static func day() -> [Double] {
        var random = SeededRandom(seed: 1)
        var air = -18.0
        return (0..<86_400).map { second in
            let isRunning = second % 2400 < 720
            let isDoorOpen = [30_000, 31_000, 45_000, 46_200, 60_000].contains { ($0..<$0 + 45).contains(second) }
            air += isRunning ? -0.0052 : 0.0022
            if isDoorOpen { air += 0.09 }
            air += (-18.4 - air) * 0.0006
            let noise = (0..<4).map { _ in Double.random(in: -0.02...0.02, using: &random) }.reduce(0, +) / 2
            return ((air + noise) * 100).rounded() / 100
        }
    }

    @Test func aDayShrinksAsThePageSays() throws {
        var settings = SignalSettings(device: Bench.device("freezer-1"), metric: "temperature")
        settings.reduction = .swingingDoor(errorMax: 0.1)
        settings.windows = [WindowSettings(length: .seconds(300), aggregates: [.mean, .max])]
        var bench = Bench([settings])
        let day = Self.day()
        for (second, value) in day.enumerated() {
            bench.advance(to: Int64(second) * 1000)
            bench.take(number: value, "freezer-1", "temperature", unit: "Cel")
            if second == 60_050 { bench.raiseFault("freezer-1") }
        }
        bench.advance(to: 86_400_000)
        let figures = try #require(bench.signals.figures.first)
        #expect(figures.readings == 86_400)
        #expect(figures.results == 576, "288 means and 288 maxima")
        let page = try page()
        #expect(page.contains("\(figures.kept) kept"), "\(figures)")
        #expect(page.contains("\(figures.context) for faults"), "\(figures)")
        #expect(page.contains("\(figures.bytesIn) -> \(figures.bytesOut) bytes"), "\(figures)")
        #expect(page.contains("saved \(Int(figures.savingPercent.rounded())) %"), "\(figures)")
        // And what was left out is told by straight lines within the bound.
        let kept = bench.points("temperature", "freezer-1").sorted { $0.time < $1.time }
        var next = 1
        var worst = 0.0
        for (second, value) in day.enumerated() {
            let time = Int64(second) * 1000
            while next < kept.count - 1, kept[next].time < time { next += 1 }
            guard kept[next].time >= time else { continue }
            let (left, right) = (kept[next - 1], kept[next])
            let share = Double(time - left.time) / Double(right.time - left.time)
            worst = max(worst, (left.value + share * (right.value - left.value) - value).magnitude)
        }
        #expect(worst <= 0.1 + 1e-9 && worst > 0.05, "\(worst)")
    }

    private func page(testFile: StaticString = #filePath) throws -> String {
        let url = URL(fileURLWithPath: "\(testFile)").deletingLastPathComponent()
            .appending(path: "../../../EdgeAgent/Signals/Signals.docc/Freezer.md")
        return try String(contentsOf: url, encoding: .utf8)
    }
}
