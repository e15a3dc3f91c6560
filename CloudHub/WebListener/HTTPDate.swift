import Primitives

/// The date that HTTP puts on every answer: `Sat, 21 Nov 2026 08:53:00 GMT`. Source: RFC 9110 section 5.6.7.
enum HTTPDate {
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]
    /// From day 0 on, which was a Thursday.
    private static let weekdays = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]

    static func text(_ instant: WallInstant) -> String {
        let civil = instant.description  // 2026-11-21T08:53:00Z
        let parts = civil.prefix(10).split(separator: "-")
        let days = Int(instant.unixSeconds / 86_400)
        guard parts.count == 3, let month = Int(parts[1]), months.indices.contains(month - 1), days >= 0 else {
            return "Thu, 01 Jan 1970 00:00:00 GMT"
        }
        let time = civil.dropFirst(11).prefix(8)
        return "\(weekdays[days % 7]), \(parts[2]) \(months[month - 1]) \(parts[0]) \(time) GMT"
    }
}
