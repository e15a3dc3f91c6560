/// What the `Prefer` headers of a request ask for.
///
/// Source: RFC 7240; Dataverse "Compose HTTP requests and handle errors", "Prefer headers" and "Request annotations".
struct Preferences: Sendable, Equatable {
    /// Parts that are looked at.
    static let partsMax = 16

    /// `return=representation`
    private(set) var returnsRow = false
    /// `odata.maxpagesize=n`
    private(set) var pageRows: Int?
    /// `odata.include-annotations="…"`
    private(set) var annotations: AnnotationFilter?
    private var annotationsText = ""

    /// - Parameter text: the values of all `Prefer` headers, joined by commas.
    init(_ text: String) {
        for part in Self.parts(text).prefix(Self.partsMax) {
            let halves = part.split(separator: "=", maxSplits: 1)
            guard halves.count == 2 else { continue }
            let value = halves[1].trimmed
            let bare = String(value.filter { $0 != "\"" })
            switch halves[0].trimmed.lowercased() {
            case "return": returnsRow = bare == "representation"
            case "odata.maxpagesize": pageRows = Int(bare)
            case "odata.include-annotations":
                annotations = AnnotationFilter(bare)
                annotationsText = String(value)
            default: break
            }
        }
    }

    /// The `Preference-Applied` headers of an answer with rows.
    ///
    /// - Parameter isPage: whether the page size counted.
    func applied(isPage: Bool = false) -> [(name: String, value: String)] {
        var values: [String] = []
        if isPage, let pageRows { values.append("odata.maxpagesize=\(pageRows)") }
        if annotations != nil { values.append("odata.include-annotations=\(annotationsText)") }
        return values.map { (name: "Preference-Applied", value: $0) }
    }

    /// Split at commas that stand outside quotes.
    private static func parts(_ text: String) -> [Substring] {
        var parts: [Substring] = []
        var start = text.startIndex
        var isQuoted = false
        for index in text.indices {
            switch text[index] {
            case "\"": isQuoted.toggle()
            case "," where !isQuoted:
                parts.append(text[start..<index])
                start = text.index(after: index)
            default: break
            }
        }
        return parts + [text[start...]]
    }
}

/// Which annotations a client wants: names, with `*` at their ends.
struct AnnotationFilter: Sendable, Equatable {
    private let patterns: [Substring]

    /// - Parameter list: `OData.Community.Display.V1.FormattedValue,Microsoft.Dynamics.CRM.*`
    init(_ list: String) { patterns = list.split(separator: ",").prefix(16).map(\.trimmed) }

    func takes(_ name: String) -> Bool {
        patterns.contains { $0 == name || ($0.hasSuffix("*") && name.hasPrefix($0.dropLast())) }
    }
}
