/// The text form as bytes, without a string between: a gateway writes and a hub reads one for every record.
extension WallInstant {
    /// Appends what `description` says. Cost: no allocation of its own for years 0 to 9999.
    public func write(to out: inout [UInt8]) {
        let seconds = unixSeconds
        let days = seconds >= 0 ? seconds / 86_400 : (seconds - 86_399) / 86_400
        let (year, month, day) = CivilDate.fromDays(days)
        guard (0...9999).contains(year) else {
            out += description.utf8
            return
        }
        let ofDay = Int(seconds - days * 86_400)
        Self.append(Int(year) / 100, to: &out)
        Self.append(Int(year) % 100, to: &out)
        out.append(UInt8(ascii: "-"))
        Self.append(Int(month), to: &out)
        out.append(UInt8(ascii: "-"))
        Self.append(Int(day), to: &out)
        out.append(UInt8(ascii: "T"))
        Self.append(ofDay / 3600, to: &out)
        out.append(UInt8(ascii: ":"))
        Self.append(ofDay / 60 % 60, to: &out)
        out.append(UInt8(ascii: ":"))
        Self.append(ofDay % 60, to: &out)
        let fraction = Int(milliseconds - seconds * 1000)
        if fraction != 0 {
            out.append(UInt8(ascii: "."))
            out.append(UInt8(ascii: "0") + UInt8(fraction / 100))
            Self.append(fraction % 100, to: &out)
        }
        out.append(UInt8(ascii: "Z"))
    }

    /// Reads what `init(_:)` reads; the form that `write` writes takes a short way.
    public init?(ascii bytes: UnsafeBufferPointer<UInt8>) {
        if let short = Self.canonical(bytes) {
            self = short
        } else {
            self.init(String(decoding: bytes, as: UTF8.self))
        }
    }

    /// `YYYY-MM-DDTHH:MM:SSZ` or `YYYY-MM-DDTHH:MM:SS.mmmZ`; `nil` for every other form, valid or not.
    private static func canonical(_ bytes: UnsafeBufferPointer<UInt8>) -> WallInstant? {
        guard bytes.count == 20 || bytes.count == 24, bytes[bytes.count - 1] == UInt8(ascii: "Z"),
            bytes[4] == UInt8(ascii: "-"), bytes[7] == UInt8(ascii: "-"), bytes[10] == UInt8(ascii: "T"),
            bytes[13] == UInt8(ascii: ":"), bytes[16] == UInt8(ascii: ":"),
            let century = pair(bytes, 0), let ofCentury = pair(bytes, 2), let month = pair(bytes, 5),
            let day = pair(bytes, 8), let hour = pair(bytes, 11), let minute = pair(bytes, 14),
            let second = pair(bytes, 17), hour < 24, minute < 60, second < 60,
            let days = CivilDate.days(year: century * 100 + ofCentury, month: month, day: day)
        else { return nil }
        var fraction: Int64 = 0
        if bytes.count == 24 {
            guard bytes[19] == UInt8(ascii: "."), let tens = pair(bytes, 20), let last = pair(bytes, 21) else {
                return nil
            }
            fraction = tens * 10 + last % 10
        }
        return WallInstant(
            milliseconds: (days * 86_400 + hour * 3600 + minute * 60 + second) * 1000 + fraction)
    }

    private static func pair(_ bytes: UnsafeBufferPointer<UInt8>, _ offset: Int) -> Int64? {
        let high = bytes[offset] &- UInt8(ascii: "0")
        let low = bytes[offset + 1] &- UInt8(ascii: "0")
        guard high < 10, low < 10 else { return nil }
        return Int64(high) * 10 + Int64(low)
    }

    private static func append(_ number: Int, to out: inout [UInt8]) {
        out.append(UInt8(ascii: "0") + UInt8(number / 10))
        out.append(UInt8(ascii: "0") + UInt8(number % 10))
    }
}
