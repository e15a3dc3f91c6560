extension WallInstant {
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]
    /// From day 0 on, which was a Thursday.
    private static let weekdays = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]

    /// The date of HTTP's headers, whole seconds: `Sat, 21 Nov 2026 08:53:00 GMT`. Source: RFC 9110 section 5.6.7.
    public var httpDate: String {
        let text = WallInstant(milliseconds: unixSeconds * 1000).description  // 2026-11-21T08:53:00Z
        let parts = text.prefix(10).split(separator: "-")
        guard unixSeconds >= 0, parts.count == 3, let month = Int(parts[1]), (1...12).contains(month) else {
            return "Thu, 01 Jan 1970 00:00:00 GMT"
        }
        let weekday = Self.weekdays[Int(unixSeconds / 86_400 % 7)]
        return "\(weekday), \(parts[2]) \(Self.months[month - 1]) \(parts[0]) \(text.dropFirst(11).prefix(8)) GMT"
    }
}
