internal import Compression
internal import HubContract
internal import Outbox
internal import Telemetry
internal import Timekeeping

/// Makes the message of a batch: compressed when the hub has said that it takes that, and it saves something.
struct BatchEnvelope {
    private let plainTopic: String
    private let compressedTopic: String
    private let compresses: Bool
    /// Made when it is needed first, because it holds some memory; kept for the next connection.
    private var compressor: BatchCompressor?
    private var isTaken = false

    init(_ identity: HubIdentity, compresses: Bool) {
        plainTopic = Self.topic(of: identity, encoding: Batch.contentEncoding)
        compressedTopic = Self.topic(of: identity, encoding: TelemetryDictionary.first.encoding)
        self.compresses = compresses
    }

    private static func topic(of identity: HubIdentity, encoding: String) -> String {
        let bag = PropertyBag([PropertyBag.Entry("$.ct", Batch.contentType), PropertyBag.Entry("$.ce", encoding)])
        return HubTopics.events(from: identity, bag: bag)
    }

    /// The next connection may lead to another hub.
    mutating func linkLost() { isTaken = false }

    /// - Parameter encodings: what the hub takes.
    mutating func hubTakes(_ encodings: [String]) {
        isTaken = compresses && encodings.contains(TelemetryDictionary.first.encoding)
        if isTaken, compressor == nil { compressor = BatchCompressor() }
    }

    func message(
        of batch: OutboxBatch, epoch: Epoch, mendedBy restamper: Restamper
    ) -> (topic: String, payload: [UInt8]) {
        let fragments = restamper.restamped(batch.fragments, runs: batch.runs)
        let plain = Batch.envelope(epoch: epoch, fragments: fragments, runs: batch.runs, dropped: batch.dropped)
        guard isTaken, let compressed = compressor?.compress(plain) else { return (plainTopic, plain) }
        return (compressedTopic, compressed)
    }
}
