/// What the program can be asked to do: `edge-agent NAME --option VALUE …`.
struct Verb: Sendable {
    /// One option, given as `--name VALUE` or `--name=VALUE`, at most once.
    struct Option: Sendable {
        let name: String
        /// What stands for the value in the help: `FILE`.
        let placeholder: String
        let help: String
        var isRequired = false
        /// Stands alone, without a value.
        var isFlag = false

        var usage: String { isFlag ? "--\(name)" : "--\(name) <\(placeholder)>" }
    }

    let name: String
    let abstract: String
    var discussion = ""
    /// What stands without a name before it; among the options for whoever runs the verb.
    var operand: Option?
    /// The word behind it.
    var secondOperand: Option?
    let options: [Option]
    /// Does it; ends early with the exit status that it throws.
    let run: @Sendable (OptionValues) throws(ExitStatus) -> Void

    var operands: [Option] { [operand, secondOperand].compactMap(\.self) }

    var usage: String {
        let options = options.map { $0.isRequired ? $0.usage : "[\($0.usage)]" }
        let operands = self.operands.map { $0.isRequired ? "<\($0.placeholder)>" : "[<\($0.placeholder)>]" }
        return (["edge-agent", name] + operands + options).joined(separator: " ")
    }
}

/// How the program ends early: 1 the thing failed, 2 the call was wrong.
struct ExitStatus: Error {
    let code: Int32

    static let failed = ExitStatus(code: 1)
    static let wrongCall = ExitStatus(code: 2)
}

/// The options of one call; every name is one that the verb declares.
struct OptionValues: Sendable {
    private let verb: Verb
    private let values: [String: String]

    init(_ verb: Verb, _ values: [String: String]) {
        self.verb = verb
        self.values = values
    }

    subscript(name: String) -> String? {
        precondition(
            (verb.options + verb.operands).contains { $0.name == name },
            "\(verb.name) declares no option \(name)")
        return values[name]
    }

    /// An option that the verb declares as required.
    func required(_ name: String) -> String {
        guard let value = self[name] else { preconditionFailure("reading the call checks that --\(name) is given") }
        return value
    }

    /// The value as something else; the call is wrong when it is none.
    func value<Value>(_ name: String, expected: String, _ read: (String) -> Value?) throws(ExitStatus) -> Value? {
        guard let text = self[name] else { return nil }
        guard let value = read(text) else { throw wrong("--\(name) \(text): expected \(expected)") }
        return value
    }

    /// Says why the call is wrong.
    func wrong(_ problem: String) -> ExitStatus {
        Terminal.error(CallProblem(problems: [problem], verb: verb).text)
        return .wrongCall
    }
}

/// Why a call cannot be understood: every problem that can be seen at once, and where to read on.
struct CallProblem: Error {
    let problems: [String]
    let verb: Verb?

    var text: String {
        let usage = verb?.usage ?? "edge-agent <verb>"
        let help = "edge-agent" + (verb.map { " " + $0.name } ?? "") + " --help"
        return problems.map { "edge-agent: \($0)\n" }.joined() + "usage: \(usage)\n'\(help)' says more"
    }
}

/// What the words of a call ask for.
enum Call {
    case help(String)
    case run(Verb, OptionValues)

    /// Pure: understands the words after the program's name, or says everything that is wrong with them.
    static func read(_ words: [String], verbs: [Verb]) throws(CallProblem) -> Call {
        let isHelp: (String) -> Bool = { $0 == "--help" || $0 == "-h" }
        guard let first = words.first, !isHelp(first) else { return .help(overview(of: verbs)) }
        if first == "help", words.count == 1 { return .help(overview(of: verbs)) }
        if first == "--version" { return .help("edge-agent \(AgentVersion.text)") }
        let rest = first == "help" ? words.dropFirst() : words[...]
        // A verb may have two words.
        let two = rest.prefix(2).joined(separator: " ")
        let name = verbs.contains { $0.name == two } ? two : rest.first ?? ""
        guard let verb = verbs.first(where: { $0.name == name }) else {
            if let inner = verbs.first(where: { $0.name.hasPrefix(name + " ") }), !isHelp(rest.dropFirst().first ?? "")
            {
                throw CallProblem(problems: ["\(name) needs a second word: \(inner.name)"], verb: inner)
            }
            let hint = nearest(name, among: verbs.map(\.name)).map { "; did you mean \($0)?" } ?? ""
            throw CallProblem(problems: ["there is no verb \(name)\(hint)"], verb: nil)
        }
        let given = rest.dropFirst(name.split(separator: " ").count)
        if first == "help" || given.contains(where: isHelp) { return .help(help(of: verb)) }
        return .run(verb, try options(given, of: verb))
    }

    private static func options(_ words: ArraySlice<String>, of verb: Verb) throws(CallProblem) -> OptionValues {
        var values: [String: String] = [:]
        var problems: [String] = []
        var rest = words
        while let word = rest.popFirst() {
            guard word.hasPrefix("--") else {
                if let operand = verb.operands.first(where: { values[$0.name] == nil }) {
                    values[operand.name] = word
                    continue
                }
                problems.append("\(word) stands alone; every value follows its option")
                continue
            }
            let parts = word.dropFirst(2).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = String(parts[0])
            if parts.count == 1, verb.options.contains(where: { $0.name == name && $0.isFlag }) {
                values[name] = "yes"
                continue
            }
            let isValueNext = rest.first.map { !$0.hasPrefix("--") } ?? false
            let value = parts.count == 2 ? String(parts[1]) : isValueNext ? rest.popFirst() : nil
            guard let option = verb.options.first(where: { $0.name == name }) else {
                let hint = nearest(name, among: verb.options.map(\.name)).map { "; did you mean --\($0)?" } ?? ""
                problems.append("\(verb.name) has no option --\(name)\(hint)")
                continue
            }
            guard let value else {
                problems.append("--\(name) needs a value: \(option.usage)")
                continue
            }
            if values.updateValue(value, forKey: name) != nil { problems.append("--\(name) is given twice") }
        }
        for operand in verb.operands where operand.isRequired && values[operand.name] == nil {
            problems.append("<\(operand.placeholder)> is missing: \(operand.help)")
        }
        for option in verb.options where option.isRequired && !words.contains(where: { names($0, option) }) {
            problems.append("\(option.usage) is missing: \(option.help)")
        }
        guard problems.isEmpty else { throw CallProblem(problems: problems, verb: verb) }
        return OptionValues(verb, values)
    }

    private static func names(_ word: String, _ option: Verb.Option) -> Bool {
        word == "--\(option.name)" || word.hasPrefix("--\(option.name)=")
    }

    /// The name that was probably meant: at most two letters away.
    private static func nearest(_ word: String, among names: [String]) -> String? {
        let distances = names.map { (name: $0, distance: letterDistance(Array(word.utf8.prefix(64)), Array($0.utf8))) }
        return distances.filter { $0.distance <= 2 }.min { $0.distance < $1.distance }?.name
    }

    /// Letters to insert, delete or replace (Levenshtein).
    private static func letterDistance(_ one: [UInt8], _ other: [UInt8]) -> Int {
        var row = Array(0...other.count)
        for (index, letter) in one.enumerated() {
            var diagonal = row[0]
            row[0] = index + 1
            for column in other.indices {
                let replaced = diagonal + (letter == other[column] ? 0 : 1)
                diagonal = row[column + 1]
                row[column + 1] = min(replaced, diagonal + 1, row[column] + 1)
            }
        }
        return row[other.count]
    }

    // MARK: Help

    private static func overview(of verbs: [Verb]) -> String {
        let width = verbs.map(\.name.count).max() ?? 0
        return """
            A field gateway: reads local sensors, acts locally, keeps everything until the hub has it.

            usage: edge-agent <verb>

            \(verbs.map { entry($0.name, $0.abstract, width: width) }.joined(separator: "\n"))

            'edge-agent <verb> --help' says more, --version tells the version. Exit status: 0 done, 1 it failed, 2 the call was wrong.
            """
    }

    private static func help(of verb: Verb) -> String {
        let width = verb.options.map(\.usage.count).max() ?? 0
        let options = verb.options.map { entry($0.usage, $0.help, width: width) }.joined(separator: "\n")
        return ([verb.abstract, verb.discussion, "usage: \(verb.usage)", options].filter { !$0.isEmpty })
            .joined(separator: "\n\n")
    }

    private static func entry(_ name: String, _ text: String, width: Int) -> String {
        "  " + name + String(repeating: " ", count: width - name.count + 2) + text
    }
}
