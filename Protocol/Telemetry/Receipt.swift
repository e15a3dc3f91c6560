internal import JSON
public import Primitives

/// Why records were quarantined. A code that this program does not know reads as `other`.
public enum QuarantineCode: String, Sendable, CaseIterable {
    /// The PUBLISH is no batch that can be read.
    case malformedBatch
    /// The record's device is neither the gateway nor one of its children.
    case childNotInScope
    /// The device is disabled in the registry.
    case deviceDisabled
    /// The gateway left more holes in its sequence numbers than are remembered.
    case tooManyGaps
    case other
}

/// What the hub tells a gateway about records that it acknowledged but could not accept.
///
///     {"v":1,"epoch":"9f86d081884c7d65","entries":[{"run":["1002","1"],"code":"childNotInScope","reason":"…",
///      "first":{"device":"oven","metric":"temperature","time":"2026-11-21T08:53:00.250Z"}}]}
public struct Receipt: Hashable, Sendable {
    public struct Entry: Hashable, Sendable {
        /// `nil` when the PUBLISH could not be read, so that nobody knows its sequences.
        public let run: Run?
        public let code: QuarantineCode
        /// For the operator; at most `TelemetryLimits.reasonBytesMax` bytes are sent.
        public let reason: String
        /// What the first record of the run is; `nil` from a hub that does not say so.
        public let first: Subject?

        public init(run: Run?, code: QuarantineCode, reason: String, first: Subject? = nil) {
            self.run = run
            self.code = code
            self.reason = reason
            self.first = first
        }
    }

    /// Enough of a record for whoever looks for its sensor.
    public struct Subject: Hashable, Sendable {
        public let device: DeviceID
        /// The rule's name, of a fault.
        public let metric: String
        public let time: WallInstant

        public init(_ record: Record) {
            device = record.device
            switch record {
            case .reading(let reading): (metric, time) = (reading.metric, reading.time)
            case .fault(let transition): (metric, time) = (transition.rule, transition.time)
            }
        }

        fileprivate init?(_ value: JSONValue) {
            guard let device = value["device"]?.stringValue.flatMap({ DeviceID($0) }),
                let metric = value["metric"]?.stringValue, metric.utf8.count <= TelemetryLimits.metricBytesMax,
                let time = value["time"]?.stringValue.flatMap({ WallInstant($0) })
            else { return nil }
            (self.device, self.metric, self.time) = (device, metric, time)
        }

        fileprivate var json: JSONValue {
            ["device": .string(device.text), "metric": .string(metric), "time": .string(time.description)]
        }
    }

    /// Entries of one receipt: 1,000.
    public static let entriesMax = 1000
    /// Bytes of one receipt: 256 KiB.
    public static let bytesMax = 256 * 1024

    /// `nil` when the batch could not be read.
    public let epoch: Epoch?
    public let entries: [Entry]

    public init(epoch: Epoch?, entries: [Entry]) {
        self.epoch = epoch
        self.entries = entries
    }

    /// JSON. Entries beyond `entriesMax` or `bytesMax` are left out; reasons are cut to their limit, between characters.
    public func encoded() -> [UInt8] {
        var count = min(entries.count, Self.entriesMax)
        while true {
            let bytes = encoded(count)
            if bytes.count <= Self.bytesMax { return bytes }
            count = count * Self.bytesMax / (bytes.count + 1)
        }
    }

    private func encoded(_ count: Int) -> [UInt8] {
        var object: JSONObject = ["v": 1]
        if let epoch { object["epoch"] = .string(epoch.text) }
        object["entries"] = .array(
            entries.prefix(count).map { entry in
                var members: JSONObject = [:]
                if let run = entry.run {
                    members["run"] = .array([.string(String(run.start)), .string(String(run.count))])
                }
                members["code"] = .string(entry.code.rawValue)
                members["reason"] = .string(entry.reason.prefix(utf8: TelemetryLimits.reasonBytesMax))
                if let first = entry.first { members["first"] = first.json }
                return .object(members)
            })
        return JSONValue.object(object).serialized()
    }

    /// `nil` when the bytes are not a receipt of version 1 within its limits.
    public init?(parsing bytes: some Collection<UInt8>) {
        guard let value = try? JSONValue(parsing: bytes, limits: JSONLimits(bytesMax: Self.bytesMax, depthMax: 8)),
            value["v"]?.int64Value == 1, let array = value["entries"]?.arrayValue, array.count <= Self.entriesMax
        else { return nil }
        var epoch: Epoch?
        if let text = value["epoch"]?.stringValue {
            guard let read = Epoch(text) else { return nil }
            epoch = read
        }
        var entries: [Entry] = []
        for element in array {
            guard let entry = Entry(element) else { return nil }
            entries.append(entry)
        }
        self.init(epoch: epoch, entries: entries)
    }
}

extension Receipt.Entry {
    fileprivate init?(_ value: JSONValue) {
        guard let code = value["code"]?.stringValue, let reason = value["reason"]?.stringValue else { return nil }
        var run: Run?
        if let pair = value["run"]?.arrayValue {
            guard pair.count == 2, let start = pair[0].stringValue.flatMap(UInt64.init(_:)),
                let count = pair[1].stringValue.flatMap(UInt64.init(_:)), count > 0
            else { return nil }
            run = Run(start: start, count: count)
        }
        self.init(
            run: run, code: QuarantineCode(rawValue: code) ?? .other,
            reason: reason.prefix(utf8: TelemetryLimits.reasonBytesMax),
            first: value["first"].flatMap { Receipt.Subject($0) })
    }
}

extension String {
    /// The longest head of whole characters within so many bytes.
    func prefix(utf8 bytesMax: Int) -> String {
        guard utf8.count > bytesMax else { return self }
        var end = utf8.index(startIndex, offsetBy: bytesMax)
        while end.samePosition(in: unicodeScalars) == nil { end = utf8.index(before: end) }
        return String(self[..<end])
    }
}
