import ConfigText
import Rules

private let entriesMax = limit(1000, canary: 3)

/// libFuzzer calls this with bytes of its own making, which are read as a configuration file and as a rule.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let text = String(decoding: fuzzed(start, count), as: UTF8.self)
    do throws(TOMLError) {
        let table = try TOMLParser.parse(text)
        hold(Set(table.keys).count == table.keys.count, "a key stands twice")
    } catch {
        hold(!error.message.isEmpty && error.line >= 1 && error.line <= text.utf8.count + 1, "an error of no line")
    }
    if let root = try? ConfigSection(toml: text) {
        let rules = root.sections("rules", countMax: 1000)
        hold(rules.count <= entriesMax, "the limit of rules is passed")
        for section in rules { _ = Rule.read(section, runs: .hub) }
        _ = root.duration("d", default: .seconds(1), in: .seconds(1) ... .seconds(2))
        _ = root.bytes("b", default: .kibibytes(1), in: .kibibytes(1) ... .kibibytes(2))
        _ = try? root.finish()
    }
    if let condition = try? Condition(parsing: text) {
        hold((try? Condition(parsing: condition.text)) == condition, "a written condition is read as another")
    }
    if let template = try? MessageTemplate(parsing: text) {
        hold((try? MessageTemplate(parsing: template.text)) == template, "a written template is read as another")
    }
    return 0
}
