import Foundation
import Testing

/// Tests about the source itself: the rules of CONTRIBUTING.md that a machine can hold.
@Suite struct TidyTests {
    private let tree = SourceTree()
    private static let houses = ["Protocol", "EdgeAgent", "CloudHub"]

    @Test func everyRoomHasARowAndEveryRowARoom() throws {
        let rooms = Set(try tree.rooms().map(\.name))
        let rows = Set(try tree.importTable().keys)
        #expect(rooms.count > 20, "the manifest could not be read")
        #expect(rows.subtracting(rooms) == [], "rows of ARCHITECTURE.md without a room")
        #expect(rooms.subtracting(rows) == [], "rooms without a row in ARCHITECTURE.md")
    }

    @Test func everyImportIsAllowedByTheTable() throws {
        let table = try tree.importTable()
        for room in try tree.rooms() {
            let allowed = table[room.name] ?? []
            for file in try tree.swiftFiles(below: [room.path]) {
                for module in imports(of: file) where !allowed.contains(module) {
                    Issue.record("\(file.path) imports \(module), which the row of \(room.name) does not allow")
                }
            }
        }
    }

    @Test func theTableAllowsNothingThatNobodyUses() throws {
        let table = try tree.importTable()
        for room in try tree.rooms() {
            let used = Set(try tree.swiftFiles(below: [room.path]).flatMap(imports(of:)))
            let unused = (table[room.name] ?? []).subtracting(used)
            #expect(unused == [], "the row of \(room.name) allows what it does not use")
        }
    }

    /// `<folder>/<Room>.docc/<Room>.md`; a system library without Swift files needs none.
    @Test func everyRoomHasAFrontPage() throws {
        for room in try tree.rooms() where !(try tree.swiftFiles(below: [room.path]).isEmpty) {
            let path = "\(room.path)/\(room.name).docc/\(room.name).md"
            let lines = (try? tree.text(path))?.components(separatedBy: "\n") ?? []
            let titles = ["# ``\(room.name)``", "# \(room.name)"]
            #expect(titles.contains(lines.first ?? ""), "\(path) is missing or does not begin with the room's name")
            #expect(lines.count <= 50, "\(path) is longer than a screen")
        }
    }

    @Test func theHousesDoNotImportEachOther() throws {
        let rooms = try tree.rooms()
        let owner = Dictionary(uniqueKeysWithValues: rooms.map { ($0.name, $0.path.split(separator: "/")[0]) })
        for room in rooms {
            let house = room.path.split(separator: "/")[0]
            for module in try tree.swiftFiles(below: [room.path]).flatMap(imports(of:)) {
                guard let other = owner[module] else { continue }
                #expect(other == house || other == "Protocol", "\(room.name) of \(house) imports \(module) of \(other)")
            }
        }
    }

    @Test func noFileIsTooLong() throws {
        for file in try tree.swiftFiles(below: Self.houses + ["Tests"]) {
            #expect(file.lines.count <= 600, "\(file.path) has \(file.lines.count) lines")
        }
    }

    @Test func callsThatWeDoNotUseAreNotUsed() throws {
        let banned: [(call: String, instead: String)] = [
            ("try!", "throw, or precondition with a sentence"),
            ("as!", "a typed pattern"),
            ("Task.detached", "a task with an owner"),
            ("Thread.sleep", "waiting for the thing"),
            ("FIXME", "mend it"),
            ("TODO", "an issue"),
            ("fatalError(", "preconditionFailure with a sentence"),
        ]
        for file in try tree.swiftFiles(below: Self.houses) {
            for (index, line) in file.lines.enumerated() {
                for rule in banned where code(of: line).contains(rule.call) {
                    Issue.record("\(file.path):\(index + 1) uses \(rule.call); instead: \(rule.instead)")
                }
            }
        }
    }

    /// Whether these compile beside SwiftNIO, which has a C module of its own around the same headers, depends on the
    /// order of the build. Two rooms without SwiftNIO keep them for all others.
    @Test func structuresOfTheSystemStayAwayFromSwiftNIO() throws {
        let homes = ["CloudHub/HubClock/SystemTime.swift", "CloudHub/Certificates/FolderSafety.swift"]
        let banned = [" stat()", "timespec()", "dirent"]
        for file in try tree.swiftFiles(below: ["CloudHub", "Tests/CloudHub"]) where !homes.contains(file.path) {
            for (index, line) in file.lines.enumerated() {
                for name in banned where code(of: line).contains(name) {
                    Issue.record("\(file.path):\(index + 1) uses \(name); see \(homes)")
                }
            }
        }
    }

    @Test func theProtocolHouseHasNoClockSocketOrFile() throws {
        let banned = [
            "Date()", "ContinuousClock", "SuspendingClock", "Task.sleep", "clock_gettime", "socket(", "open(",
        ]
        for file in try tree.swiftFiles(below: ["Protocol"]) {
            for (index, line) in file.lines.enumerated() {
                for call in banned where code(of: line).contains(call) {
                    Issue.record("\(file.path):\(index + 1) uses \(call)")
                }
            }
        }
    }

    /// The list of failures and their tests names no test that is not there.
    @Test func everyTestThatTheListOfFailuresNamesExists() throws {
        let named = try tree.text("Tests/FAILURES.md").matches(of: #/`([a-z]\w+)`/#).map { String($0.1) }
        #expect(named.count > 30, "the list could not be read")
        let sources = try tree.files(below: ["Tests"], endingIn: [".swift", ".py"]).map {
            $0.lines.joined(separator: "\n")
        }
        let words = #/(?:func|def) (\w+)/#
        let tests = Set(sources.flatMap { $0.matches(of: words).map { String($0.1) } })
        let tools: Set<String> = ["pytest", "fsync"]
        #expect(Set(named).subtracting(tests).subtracting(tools) == [])
    }

    @Test func theRootHoldsOnlyWhatIsListed() throws {
        let expected: Set<String> = [
            ".ci", ".git", ".gitignore", ".swift-format", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md",
            "CloudHub", "Deploy", "EdgeAgent", "LICENSE", "Makefile", "Package.swift", "Protocol", "README.md", "Tests",
        ]
        let made: Set<String> = [".build", ".venv", ".pytest_cache", "Package.resolved", ".swiftpm", "docs-out"]
        let entries = try FileManager.default.contentsOfDirectory(atPath: tree.root.path)
        let strangers = Set(entries).subtracting(expected).subtracting(made).filter { !$0.hasPrefix(".build") }
        #expect(strangers == [])
    }

    /// The checks above can fail: a planted import and a planted call are both found by the same functions.
    @Test func aPlantedImportIsSeen() {
        let planted = SourceTree.SourceFile(
            path: "planted.swift",
            lines: ["public import Alpha", "@preconcurrency import Beta", "import struct Gamma.T"])
        #expect(imports(of: planted) == ["Alpha", "Beta", "Gamma"])
        #expect(code(of: "let x = try! y()  // fine?").contains("try!"))
        #expect(!code(of: "/// never try! this").contains("try!"))
    }

    private func imports(of file: SourceTree.SourceFile) -> [String] {
        let pattern =
            #/^(?:@\w+(?:\([^)]*\))?\s+)*(?:public |internal |package |private |fileprivate )?import\s+(?:struct |class |enum |func |protocol |typealias |let |var )?(\w+)/#
        return file.lines.compactMap { line in line.firstMatch(of: pattern).map { String($0.1) } }
    }

    /// The line without its comment.
    private func code(of line: String) -> String {
        line.range(of: "//").map { String(line[..<$0.lowerBound]) } ?? line
    }
}
