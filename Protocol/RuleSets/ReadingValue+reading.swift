public import ConfigText
public import Telemetry

extension ReadingValue {
    /// A value to write, as the file has it: a number, true or false, or a text. Anything else is noted as a problem.
    public static func read(_ key: String, in section: ConfigSection) -> ReadingValue? {
        guard let value = section.take(key) else {
            section.problem(key, expected: "is missing; expected a number, true, false or a text")
            return nil
        }
        switch value.content {
        case .integer(let number): return DecimalText(String(number)).map(ReadingValue.number)
        case .decimal(let number): return DecimalText(number).map(ReadingValue.number)
        case .flag(let flag): return .boolean(flag)
        case .text(let text): return .text(text)
        default:
            section.problem(key, expected: "expected a number, true, false or a text")
            return nil
        }
    }
}
