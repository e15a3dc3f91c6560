internal import JSON
internal import Primitives

extension Batch {
    /// Reads an envelope. Members may stand in any order, unknown ones are ignored, and of one that stands twice the
    /// last counts.
    ///
    /// Cost: one pass, no tree; texts that repeat from record to record are made once.
    public init(parsing bytes: some Collection<UInt8>, limits: BatchLimits = .default) throws(BatchError) {
        self = try JSONCursor.reading(bytes) { cursor in
            Result { () throws(BatchError) in
                var reader = BatchReader(cursor: cursor, limits: limits)
                return try reader.batch()
            }
        }.get()
    }
}

/// The envelope's grammar on top of the JSON cursor. `RecordReader` has the records' part.
struct BatchReader {
    /// How deep a member that nobody knows may nest.
    private static let unknownDepthMax = 16

    var cursor: JSONCursor
    let limits: BatchLimits
    /// The record being read, for errors.
    var recordIndex: Int?
    var texts = RepeatedTexts()

    init(cursor: JSONCursor, limits: BatchLimits) {
        self.cursor = cursor
        self.limits = limits
    }

    mutating func batch() throws(BatchError) -> Batch {
        guard cursor.bytes.count <= limits.bytesMax else {
            throw failure(.brokenJSON(.tooLarge(bytesMax: limits.bytesMax)), at: limits.bytesMax)
        }
        var isVersionKnown = false
        var epoch: Epoch?
        var runs: [Run]?
        var records: [SequencedRecord]?
        var dropped: [Run] = []
        try object { reader, key throws(BatchError) in
            switch key {
            case "v": isVersionKnown = try reader.version()
            case "epoch": epoch = try reader.epoch()
            case "runs": runs = try reader.runs("runs", countMax: reader.limits.recordsMax)
            case "records": records = try reader.records()
            case "dropped": dropped = try reader.runs("dropped", countMax: reader.limits.droppedRunsMax)
            default: try reader.skipValue()
            }
        }
        do { try cursor.expectEnd() } catch { throw failure(error) }
        guard isVersionKnown else { throw failure(.missing("v"), at: 0) }
        guard let epoch else { throw failure(.missing("epoch"), at: 0) }
        guard let runs else { throw failure(.missing("runs"), at: 0) }
        guard let records else { throw failure(.missing("records"), at: 0) }
        guard Self.runs(runs, cover: records) else { throw failure(.runsDisagree, at: 0) }
        return Batch(epoch: epoch, records: records, dropped: dropped)
    }

    // MARK: - Members of the envelope

    private mutating func version() throws(BatchError) -> Bool {
        let start = try valueStart()
        guard let byte = cursor.peek, byte == UInt8(ascii: "-") || (UInt8(ascii: "0")...UInt8(ascii: "9")) ~= byte
        else {
            throw failure(.wrong(member: "v", needs: "the number 1"), at: start)
        }
        let text: String
        do { text = cursor.text(try cursor.number()) } catch { throw failure(error) }
        guard text == "1" else { throw failure(.unsupportedVersion(String(text.prefix(20))), at: start) }
        return true
    }

    private mutating func epoch() throws(BatchError) -> Epoch {
        let start = try valueStart()
        guard let text = try textIfString(), let epoch = Epoch(text) else {
            throw failure(.wrong(member: "epoch", needs: "a string of 16 hex digits"), at: start)
        }
        return epoch
    }

    private mutating func runs(_ member: String, countMax: Int) throws(BatchError) -> [Run] {
        var runs: [Run] = []
        try array(member) { reader throws(BatchError) in
            guard runs.count < countMax else { throw reader.failure(.tooMany(member: member, countMax: countMax)) }
            runs.append(try reader.run(member))
        }
        return runs
    }

    /// `["1001","2"]`; the count may be a bare number.
    private mutating func run(_ member: String) throws(BatchError) -> Run {
        let start = try valueStart()
        var numbers: [UInt64] = []
        try array(member) { reader throws(BatchError) in
            guard numbers.count < 2, let number = try reader.unsigned(isBareAllowed: numbers.count == 1) else {
                throw reader.failure(.wrong(member: member, needs: BatchReader.runNeeds), at: start)
            }
            numbers.append(number)
        }
        guard numbers.count == 2, numbers[1] > 0, !numbers[0].addingReportingOverflow(numbers[1] - 1).overflow else {
            throw failure(.wrong(member: member, needs: Self.runNeeds), at: start)
        }
        return Run(start: numbers[0], count: numbers[1])
    }

    private static let runNeeds = "pairs of start and count, 64-bit numbers as strings, count 1 or more"

    private mutating func records() throws(BatchError) -> [SequencedRecord] {
        var records: [SequencedRecord] = []
        try array("records") { reader throws(BatchError) in
            guard records.count < reader.limits.recordsMax else {
                throw reader.failure(.tooMany(member: "records", countMax: reader.limits.recordsMax))
            }
            reader.recordIndex = records.count
            let start = try reader.valueStart()
            let record = try reader.record()
            if let last = records.last, record.sequence <= last.sequence {
                throw reader.failure(.sequenceNotRising, at: start)
            }
            records.append(record)
            reader.recordIndex = nil
        }
        return records
    }

    private static func runs(_ runs: [Run], cover records: [SequencedRecord]) -> Bool {
        var index = 0
        for run in runs {
            guard run.count <= UInt64(records.count - index) else { return false }
            let end = index + Int(run.count)
            var sequence = run.start
            while index < end {
                guard records[index].sequence == sequence else { return false }
                sequence &+= 1
                index += 1
            }
        }
        return index == records.count
    }

    // MARK: - Values

    func failure(_ problem: BatchError.Problem, at offset: Int? = nil) -> BatchError {
        BatchError(problem, offset: offset ?? cursor.index, record: recordIndex)
    }

    func failure(_ error: JSONError) -> BatchError {
        BatchError(.brokenJSON(error.problem), offset: error.offset, record: recordIndex)
    }

    /// Where the next value begins.
    mutating func valueStart() throws(BatchError) -> Int {
        do { _ = try cursor.peekToken() } catch { throw failure(error) }
        return cursor.index
    }

    /// Calls `member` with the cursor at each value. Keys of known members hold no escapes worth resolving: one that is
    /// escaped is looked at in its resolved form all the same.
    mutating func object(
        _ member: (inout BatchReader, MemberKey) throws(BatchError) -> Void
    ) throws(BatchError) {
        do {
            try cursor.expect(UInt8(ascii: "{"))
            if try cursor.take(UInt8(ascii: "}")) { return }
        } catch { throw failure(error) }
        while true {
            let key: MemberKey
            do {
                cursor.skipSpace()
                let string = try cursor.string()
                key = MemberKey(cursor: cursor, string: string)
                try cursor.expect(UInt8(ascii: ":"))
            } catch { throw failure(error) }
            try member(&self, key)
            do {
                if try cursor.take(UInt8(ascii: ",")) { continue }
                try cursor.expect(UInt8(ascii: "}"))
                return
            } catch { throw failure(error) }
        }
    }

    private mutating func array(
        _ member: String, _ element: (inout BatchReader) throws(BatchError) -> Void
    ) throws(BatchError) {
        let start = try valueStart()
        guard cursor.peek == UInt8(ascii: "[") else {
            throw failure(.wrong(member: member, needs: "an array"), at: start)
        }
        do {
            try cursor.expect(UInt8(ascii: "["))
            if try cursor.take(UInt8(ascii: "]")) { return }
        } catch { throw failure(error) }
        while true {
            try element(&self)
            do {
                if try cursor.take(UInt8(ascii: ",")) { continue }
                try cursor.expect(UInt8(ascii: "]"))
                return
            } catch { throw failure(error) }
        }
    }

    /// The string here as its bytes; `nil`, and nothing read, when the value is none.
    mutating func string() throws(BatchError) -> (range: Range<Int>, hasEscapes: Bool)? {
        guard cursor.peek == UInt8(ascii: "\"") else { return nil }
        do { return try cursor.string() } catch { throw failure(error) }
    }

    mutating func textIfString() throws(BatchError) -> String? { try string().map { cursor.unescaped($0) } }

    /// A 64-bit number as a string of digits without leading zeros, or bare where that is allowed.
    mutating func unsigned(isBareAllowed: Bool = false) throws(BatchError) -> UInt64? {
        _ = try valueStart()
        var range = 0..<0
        if let string = try string() {
            guard !string.hasEscapes else { return nil }
            range = string.range
        } else {
            guard isBareAllowed, let byte = cursor.peek, (UInt8(ascii: "0")...UInt8(ascii: "9")) ~= byte else {
                return nil
            }
            do { range = try cursor.number() } catch { throw failure(error) }
        }
        guard !range.isEmpty, range.count == 1 || cursor.bytes[range.lowerBound] != UInt8(ascii: "0") else {
            return nil
        }
        var value: UInt64 = 0
        for index in range {
            let digit = cursor.bytes[index] &- UInt8(ascii: "0")
            let (shifted, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = shifted.addingReportingOverflow(UInt64(digit))
            guard digit < 10, !overflow, !carry else { return nil }
            value = sum
        }
        return value
    }

    /// Steps over a value that nobody here knows; it must be JSON all the same.
    mutating func skipValue(depth: Int = 0) throws(BatchError) {
        guard depth <= Self.unknownDepthMax else {
            throw failure(.brokenJSON(.tooDeep(depthMax: Self.unknownDepthMax)))
        }
        let start = try valueStart()
        do throws(JSONError) {
            switch cursor.bytes[start] {
            case UInt8(ascii: "\""): _ = try cursor.string()
            case UInt8(ascii: "t"): try cursor.word("true")
            case UInt8(ascii: "f"): try cursor.word("false")
            case UInt8(ascii: "n"): try cursor.word("null")
            case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): _ = try cursor.number()
            case UInt8(ascii: "{"), UInt8(ascii: "["): break
            default: throw cursor.failure(.unexpectedByte(cursor.bytes[start]))
            }
        } catch { throw failure(error) }
        switch cursor.bytes[start] {
        case UInt8(ascii: "{"): try object { reader, _ throws(BatchError) in try reader.skipValue(depth: depth + 1) }
        case UInt8(ascii: "["): try array("") { reader throws(BatchError) in try reader.skipValue(depth: depth + 1) }
        default: break
        }
    }
}

/// A member's name in place, compared without making a string.
struct MemberKey {
    private let cursor: JSONCursor
    private let string: (range: Range<Int>, hasEscapes: Bool)

    init(cursor: JSONCursor, string: (range: Range<Int>, hasEscapes: Bool)) {
        self.cursor = cursor
        self.string = string
    }

    static func ~= (name: StaticString, key: MemberKey) -> Bool {
        if key.string.hasEscapes { return key.cursor.unescaped(key.string) == name.description }
        guard key.string.range.count == name.utf8CodeUnitCount else { return false }
        var at = key.string.range.lowerBound
        for position in 0..<name.utf8CodeUnitCount {
            guard key.cursor.bytes[at] == name.utf8Start[position] else { return false }
            at += 1
        }
        return true
    }
}
