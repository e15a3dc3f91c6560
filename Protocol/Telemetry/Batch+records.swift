internal import JSON
internal import Primitives

/// Reading one record.
extension BatchReader {
    private struct Members {
        var sequence: UInt64?
        var device: DeviceID?
        var metric: String?
        var value: ReadingValue?
        var unit: String?
        var time: WallInstant?
        var quality = ReadingQuality.good
        var clock = ClockQuality.synchronised
        var fault: FaultMembers?
    }

    private struct FaultMembers {
        var id: UniqueID?
        var state: FaultState?
        var rule: String?
        var severity: Severity?
        var message: String?
        var metric: String?
        var value: ReadingValue?
        var limit: String?
    }

    mutating func record() throws(BatchError) -> SequencedRecord {
        let start = try valueStart()
        guard cursor.peek == UInt8(ascii: "{") else {
            throw failure(.wrong(member: "records", needs: "objects"), at: start)
        }
        var members = Members()
        try object { reader, key throws(BatchError) in
            switch key {
            case "seq": members.sequence = try reader.sequence()
            case "device": members.device = try reader.device()
            case "metric": members.metric = try reader.metric()
            case "value": members.value = try reader.value()
            case "unit": members.unit = try reader.unit()
            case "time": members.time = try reader.time()
            case "quality":
                members.quality = try reader.word("quality", "good, uncertain or bad", ReadingQuality.init(rawValue:))
            case "clock":
                members.clock = try reader.word("clock", "unset, guessed or synchronised", ClockQuality.init(rawValue:))
            case "fault": members.fault = try reader.fault()
            default: try reader.skipValue()
            }
        }
        guard let sequence = members.sequence else { throw failure(.missing("seq"), at: start) }
        return SequencedRecord(sequence: sequence, record: try assemble(members, start))
    }

    private func assemble(_ members: Members, _ start: Int) throws(BatchError) -> Record {
        guard let device = members.device else { throw failure(.missing("device"), at: start) }
        guard let time = members.time else { throw failure(.missing("time"), at: start) }
        guard let fault = members.fault else {
            guard let metric = members.metric else { throw failure(.missing("metric"), at: start) }
            guard let value = members.value else { throw failure(.missing("value"), at: start) }
            return .reading(
                Reading(
                    device: device, metric: metric, value: value, unit: members.unit, time: time,
                    quality: members.quality, clock: members.clock))
        }
        guard members.metric == nil, members.value == nil else { throw failure(.readingAndFault, at: start) }
        guard let id = fault.id else { throw failure(.missing("fault.id"), at: start) }
        guard let state = fault.state else { throw failure(.missing("fault.state"), at: start) }
        guard let rule = fault.rule else { throw failure(.missing("fault.rule"), at: start) }
        guard let severity = fault.severity else { throw failure(.missing("fault.severity"), at: start) }
        guard let message = fault.message else { throw failure(.missing("fault.message"), at: start) }
        return .fault(
            FaultTransition(
                faultID: id, device: device, rule: rule, state: state, severity: severity, message: message,
                metric: fault.metric, value: fault.value, limit: fault.limit, time: time, clock: members.clock))
    }

    private mutating func fault() throws(BatchError) -> FaultMembers {
        let start = try valueStart()
        guard cursor.peek == UInt8(ascii: "{") else {
            throw failure(.wrong(member: "fault", needs: "an object"), at: start)
        }
        var members = FaultMembers()
        try object { reader, key throws(BatchError) in
            switch key {
            case "id": members.id = try reader.word("fault.id", "a UUID", { UniqueID($0) })
            case "state":
                members.state = try reader.word("fault.state", "raised or cleared", FaultState.init(rawValue:))
            case "rule": members.rule = try reader.text("fault.rule", 1...TelemetryLimits.ruleBytesMax)
            case "severity":
                members.severity = try reader.word(
                    "fault.severity", "info, warning or critical", Severity.init(rawValue:))
            case "message": members.message = try reader.text("fault.message", 0...TelemetryLimits.messageBytesMax)
            case "metric": members.metric = try reader.text("fault.metric", 1...TelemetryLimits.metricBytesMax)
            case "value": members.value = try reader.value()
            case "limit": members.limit = try reader.text("fault.limit", 0...TelemetryLimits.limitBytesMax)
            default: try reader.skipValue()
            }
        }
        return members
    }

    // MARK: - Members

    private mutating func sequence() throws(BatchError) -> UInt64 {
        let start = try valueStart()
        guard let sequence = try unsigned(), sequence > 0 else {
            throw failure(.wrong(member: "seq", needs: "a string of digits, 1 to 18446744073709551615"), at: start)
        }
        return sequence
    }

    private mutating func device() throws(BatchError) -> DeviceID {
        let start = try valueStart()
        guard let string = try string() else {
            throw failure(.wrong(member: "device", needs: Self.deviceNeeds), at: start)
        }
        if let known = texts.device.value(cursor, string) { return known }
        guard let device = DeviceID(cursor.unescaped(string)) else {
            throw failure(.wrong(member: "device", needs: Self.deviceNeeds), at: start)
        }
        texts.device.remember(device, string)
        return device
    }

    private static let deviceNeeds = "a device id of 1 to 128 characters"

    private mutating func metric() throws(BatchError) -> String {
        let start = try valueStart()
        guard let string = try string() else { throw failure(.wrong(member: "metric", needs: "a string"), at: start) }
        if let known = texts.metric.value(cursor, string) { return known }
        let metric = try checked("metric", cursor.unescaped(string), 1...TelemetryLimits.metricBytesMax, start)
        texts.metric.remember(metric, string)
        return metric
    }

    private mutating func unit() throws(BatchError) -> String {
        try text("unit", 1...TelemetryLimits.unitBytesMax)
    }

    private mutating func time() throws(BatchError) -> WallInstant {
        let start = try valueStart()
        guard let string = try string(),
            let time = WallInstant(ascii: UnsafeBufferPointer(rebasing: cursor.bytes[string.range]))
        else { throw failure(.wrong(member: "time", needs: "an RFC 3339 time in a string"), at: start) }
        return time
    }

    /// A string of decimal text, `{"text":…}`, or a boolean.
    private mutating func value() throws(BatchError) -> ReadingValue {
        let start = try valueStart()
        do {
            switch cursor.peek {
            case UInt8(ascii: "t"):
                try cursor.word("true")
                return .boolean(true)
            case UInt8(ascii: "f"):
                try cursor.word("false")
                return .boolean(false)
            default: break
            }
        } catch { throw failure(error) }
        if let string = try string() {
            let digits = UnsafeBufferPointer(rebasing: cursor.bytes[string.range])
            guard !string.hasEscapes, DecimalGrammar.accepts(digits) else {
                throw failure(.wrong(member: "value", needs: Self.valueNeeds), at: start)
            }
            return .number(DecimalText(checked: String(decoding: digits, as: UTF8.self)))
        }
        guard cursor.peek == UInt8(ascii: "{") else {
            throw failure(.wrong(member: "value", needs: Self.valueNeeds), at: start)
        }
        var text: String?
        try object { reader, key throws(BatchError) in
            switch key {
            case "text": text = try reader.text("value.text", 0...TelemetryLimits.valueTextBytesMax)
            default: try reader.skipValue()
            }
        }
        guard let text else { throw failure(.missing("value.text"), at: start) }
        return .text(text)
    }

    private static let valueNeeds = "a number as a string of at most 64 bytes, {\"text\":…}, true or false"

    private mutating func text(_ member: String, _ range: ClosedRange<Int>) throws(BatchError) -> String {
        let start = try valueStart()
        guard let text = try textIfString() else { throw failure(.wrong(member: member, needs: "a string"), at: start) }
        return try checked(member, text, range, start)
    }

    private func checked(
        _ member: String, _ text: String, _ range: ClosedRange<Int>, _ start: Int
    ) throws(BatchError) -> String {
        guard range.contains(text.utf8.count) else {
            throw failure(.wrong(member: member, needs: "\(range.lowerBound) to \(range.upperBound) bytes"), at: start)
        }
        return text
    }

    private mutating func word<Value>(
        _ member: String, _ needs: String, _ make: (String) -> Value?
    ) throws(BatchError) -> Value {
        let start = try valueStart()
        guard let text = try textIfString(), let value = make(text) else {
            throw failure(.wrong(member: member, needs: needs), at: start)
        }
        return value
    }
}

/// The last device and metric that were read: neighbours mostly share them, and a shared string costs nothing.
struct RepeatedTexts {
    struct Last<Value> {
        private var value: Value?
        private var range = 0..<0

        /// What the same bytes meant before; `nil` for other bytes.
        func value(_ cursor: JSONCursor, _ string: (range: Range<Int>, hasEscapes: Bool)) -> Value? {
            guard let value, !string.hasEscapes, string.range.count == range.count,
                cursor.bytes[string.range].elementsEqual(cursor.bytes[range])
            else { return nil }
            return value
        }

        mutating func remember(_ value: Value, _ string: (range: Range<Int>, hasEscapes: Bool)) {
            guard !string.hasEscapes else { return }
            self.value = value
            range = string.range
        }
    }

    var device = Last<DeviceID>()
    var metric = Last<String>()
}
