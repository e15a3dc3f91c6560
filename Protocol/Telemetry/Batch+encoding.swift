internal import JSON
internal import Primitives

/// Writing. The outbox stores fragments (one encoded record each) and the uplink wraps joined fragments in an envelope,
/// so a record is encoded once in its life.
///
///     {"v":1,"epoch":"9f86d081884c7d65","runs":[["1001","2"]],"records":[FRAGMENT,FRAGMENT],"dropped":[["900","5"]]}
extension Batch {
    /// The whole envelope.
    public func encoded() -> [UInt8] {
        var fragments: [UInt8] = []
        fragments.reserveCapacity(records.count * 160)
        for (index, record) in records.enumerated() {
            if index > 0 { fragments.append(UInt8(ascii: ",")) }
            Self.append(record, to: &fragments)
        }
        return Self.envelope(epoch: epoch, fragments: fragments, runs: runs, dropped: dropped)
    }

    /// One record as JSON.
    ///
    /// - Precondition: `record.problem` is `nil`, or the reader will refuse it.
    public static func encodeFragment(_ record: SequencedRecord) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(192)
        append(record, to: &out)
        return out
    }

    /// Wraps fragments that are joined with commas. `runs` must be the sequences of the fragments, in their order.
    public static func envelope(epoch: Epoch, fragments: [UInt8], runs: [Run], dropped: [Run]) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(fragments.count + 96 + 32 * (runs.count + dropped.count))
        out.append("{\"v\":1,\"epoch\":\"")
        out += epoch.text.utf8
        out.append("\",\"runs\":")
        append(runs, to: &out)
        out.append(",\"records\":[")
        out += fragments
        out.append("]")
        if !dropped.isEmpty {
            out.append(",\"dropped\":")
            append(dropped, to: &out)
        }
        out.append("}")
        return out
    }

    /// Appends one record as JSON. Cost: no allocation of its own.
    public static func append(_ record: SequencedRecord, to out: inout [UInt8]) {
        out.append("{\"seq\":\"")
        out.append(decimal: record.sequence)
        out.append("\",\"device\":\"")
        // A device id holds no character that JSON escapes.
        out += record.record.device.text.utf8
        out.append("\"")
        switch record.record {
        case .reading(let reading): append(reading, to: &out)
        case .fault(let fault): append(fault, to: &out)
        }
        out.append("}")
    }

    private static func append(_ reading: Reading, to out: inout [UInt8]) {
        out.append(",\"metric\":")
        out.append(quoted: reading.metric)
        append(reading.value, to: &out)
        if let unit = reading.unit {
            out.append(",\"unit\":")
            out.append(quoted: unit)
        }
        append(reading.time, to: &out)
        switch reading.quality {
        case .good: break
        case .uncertain: out.append(",\"quality\":\"uncertain\"")
        case .bad: out.append(",\"quality\":\"bad\"")
        }
        append(reading.clock, to: &out)
    }

    private static func append(_ fault: FaultTransition, to out: inout [UInt8]) {
        out.append(",\"fault\":{\"id\":\"")
        out += fault.faultID.description.utf8
        out.append(fault.state == .raised ? "\",\"state\":\"raised\",\"rule\":" : "\",\"state\":\"cleared\",\"rule\":")
        out.append(quoted: fault.rule)
        out.append(",\"severity\":\"")
        out += fault.severity.rawValue.utf8
        out.append("\",\"message\":")
        out.append(quoted: fault.message)
        if let metric = fault.metric {
            out.append(",\"metric\":")
            out.append(quoted: metric)
        }
        if let value = fault.value { append(value, to: &out) }
        if let limit = fault.limit {
            out.append(",\"limit\":")
            out.append(quoted: limit)
        }
        out.append("}")
        append(fault.time, to: &out)
        append(fault.clock, to: &out)
    }

    private static func append(_ value: ReadingValue, to out: inout [UInt8]) {
        switch value {
        case .number(let number):
            out.append(",\"value\":\"")
            out += number.text.utf8
            out.append("\"")
        case .text(let text):
            out.append(",\"value\":{\"text\":")
            out.append(quoted: text)
            out.append("}")
        case .boolean(let flag):
            out.append(flag ? ",\"value\":true" : ",\"value\":false")
        }
    }

    private static func append(_ time: WallInstant, to out: inout [UInt8]) {
        out.append(",\"time\":\"")
        time.write(to: &out)
        out.append("\"")
    }

    private static func append(_ clock: ClockQuality, to out: inout [UInt8]) {
        switch clock {
        case .synchronised: break
        case .guessed: out.append(",\"clock\":\"guessed\"")
        case .unset: out.append(",\"clock\":\"unset\"")
        }
    }

    private static func append(_ runs: [Run], to out: inout [UInt8]) {
        out.append("[")
        for (index, run) in runs.enumerated() {
            out.append(index > 0 ? ",[\"" : "[\"")
            out.append(decimal: run.start)
            out.append("\",\"")
            out.append(decimal: run.count)
            out.append("\"]")
        }
        out.append("]")
    }
}

extension [UInt8] {
    fileprivate mutating func append(_ text: StaticString) {
        append(contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    fileprivate mutating func append(decimal number: UInt64) {
        var weight: UInt64 = 1
        while number / weight >= 10 { weight *= 10 }
        while weight > 0 {
            append(UInt8(ascii: "0") + UInt8(number / weight % 10))
            weight /= 10
        }
    }

    /// A text in quotes; what JSON escapes is rare and takes the long way.
    fileprivate mutating func append(quoted text: String) {
        guard text.utf8.allSatisfy({ $0 >= 0x20 && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\") }) else {
            JSONWriter.write(string: text, to: &self)
            return
        }
        append(UInt8(ascii: "\""))
        self += text.utf8
        append(UInt8(ascii: "\""))
    }
}
