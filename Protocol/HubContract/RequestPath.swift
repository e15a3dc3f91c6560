import Primitives

/// The path of a REST request, and what stands in its query.
public enum RequestPath {
    /// Segments that are looked at; no resource of IoT Hub has more.
    public static let segmentsMax = 8

    /// Ids are percent-encoded segments, so the path is cut before it is decoded.
    /// - Throws: 400004 when a segment is not percent-encoded UTF-8.
    public static func segments(_ path: some StringProtocol) throws(HubError) -> [String] {
        var segments: [String] = []
        for part in path.split(separator: "/").prefix(segmentsMax) {
            guard let text = PercentEncoding.decode(part) else {
                throw HubError(.argumentInvalid, "the path is not percent-encoded UTF-8")
            }
            segments.append(text)
        }
        return segments
    }

    /// Whether the query has a parameter of this name, with a value or without.
    public static func hasParameter(_ name: String, inQuery query: some StringProtocol) -> Bool {
        query.split(separator: "&").contains { $0.prefix { $0 != "=" } == name }
    }
}
