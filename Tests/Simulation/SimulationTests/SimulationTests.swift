import Foundation
import Primitives
import SimulationWorld
import Testing

@Suite(.serialized) final class SimulationTests {
    let folder: String

    init() throws {
        let root = FileManager.default.fileExists(atPath: "/dev/shm") ? "/dev/shm" : NSTemporaryDirectory()
        folder = root + "/fieldline-simulation-\(getpid())"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    private static func number(_ name: String) -> UInt64? {
        ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) }
    }

    /// No one seed is asked about.
    private static let isForAll = number("SEED") == nil

    @Test func nothingIsLostOrDoubledWhateverTheSeed() {
        let count = Self.number("SEEDS") ?? 30
        if let wanted = Self.number("SEED") {
            #if DEBUG
                if let bug = ProcessInfo.processInfo.environment["BUG"] {
                    #expect(PlantedBug.plant(bug, of: Self.bugs) == nil)
                }
            #endif
            let outcome = Simulation.run(seed: wanted, below: folder, isLoud: true)
            #expect(outcome.violations == [])
            return
        }
        var coverage: [String: Int] = [:]
        let begun = ContinuousClock.now
        var accepted = 0
        let from = Self.number("FROM") ?? 1
        for seed in from..<(from + count) {
            let outcome = Simulation.run(seed: seed, below: folder)
            coverage.merge(outcome.coverage) { $0 + $1 }
            accepted += outcome.accepted
            if !outcome.violations.isEmpty {
                Issue.record("seed \(seed): \(outcome.violations); see it with: make sim SEED=\(seed)")
            }
        }
        let seconds = Double((ContinuousClock.now - begun) / .milliseconds(1)) / 1000
        print("\(count) seeds, \(accepted) records accepted, \((Double(count) / seconds * 10).rounded() / 10) seeds/s")
        print(coverage.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", "))
        let missing = Happening.allCases.filter { coverage[$0.rawValue] == nil }
        #expect(missing == [], "never happened in \(count) seeds")
    }

    #if DEBUG
        /// In the rooms that they break, and how many seeds they may hide from.
        private static let bugs: [PlantedBug] = [
            PlantedBug("hubAcknowledgesBeforeCommit"), PlantedBug("hubCommitsWithoutSync"),
            PlantedBug("hubKeepsRepeats"), PlantedBug("hubKeepsBooksApart"), PlantedBug("agentForgetsWhenSent"),
            PlantedBug("agentCommitsWithoutSync"), PlantedBug("agentCountsSequencesAnew"),
            PlantedBug("agentDeclaresTooMuch"), PlantedBug("agentExpiresByWallClock"),
        ]
        private static let bugSeeds: UInt64 = 60

        @Test(.enabled(if: isForAll), arguments: bugs.map(\.name)) func aPlantedBugIsFound(bug: String) {
            #expect(PlantedBug.plant(bug, of: Self.bugs) == nil)
            defer { PlantedBug.unplant() }
            for seed in 1...Self.bugSeeds {
                guard let violation = Simulation.run(seed: seed, below: folder).violations.first else { continue }
                print("\(bug): found by seed \(seed): \(violation); see it with: make sim SEED=\(seed) BUG=\(bug)")
                return
            }
            Issue.record("\(bug) was not found by \(Self.bugSeeds) seeds")
        }
    #endif

    @Test(.enabled(if: isForAll)) func aSeedIsOneRun() {
        for seed in UInt64(1)...3 {
            let first = Simulation.run(seed: seed, below: folder)
            #expect(Simulation.run(seed: seed, below: folder).hash == first.hash, "seed \(seed)")
        }
    }
}
