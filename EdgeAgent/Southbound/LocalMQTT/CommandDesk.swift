import JSON
import Primitives

/// Follows the commands that were handed to the broker until each has ended.
///
///     handed ──broker confirmed──► (no answer wanted) executed
///        │                    └──► awaiting answer ──answer──► executed or failed
///        └── link lost, deadline ──► failed            └── deadline ──► failed
struct CommandDesk {
    static let countMax = 64

    struct Ended: Equatable {
        enum Outcome: Equatable {
            case executed(answer: [UInt8]?)
            case failed(String)
        }

        let id: UInt32
        let outcome: Outcome
    }

    private struct Entry {
        let id: UInt32
        let messageID: Int32
        let answerTopic: String?
        let deadline: MonotonicInstant
        /// The broker has it; only the answer is missing.
        var isConfirmed = false
    }

    /// In the order in which they were handed over; at most `countMax`.
    private var entries: [Entry] = []

    var isFull: Bool { entries.count >= Self.countMax }
    var nextDeadline: MonotonicInstant? { entries.map(\.deadline).min() }

    /// The command's publish was queued in the library as `messageID`. Not to be called when full.
    mutating func handed(_ publish: CommandPublish, messageID: Int32) {
        precondition(!isFull, "the shell asks isFull before it hands over")
        entries.append(
            Entry(
                id: publish.id, messageID: messageID, answerTopic: publish.answerTopic, deadline: publish.deadline))
    }

    mutating func brokerConfirmed(messageID: Int32) -> Ended? {
        guard let index = entries.firstIndex(where: { $0.messageID == messageID && !$0.isConfirmed }) else {
            return nil
        }
        guard entries[index].answerTopic == nil else {
            entries[index].isConfirmed = true
            return nil
        }
        return Ended(id: entries.remove(at: index).id, outcome: .executed(answer: nil))
    }

    /// Whether a message on that topic may be an answer, so that its payload is worth reading.
    func awaitsAnswer(on topic: String) -> Bool { entries.contains { $0.answerTopic == topic } }

    mutating func messageReceived(topic: String, payload: [UInt8]) -> Ended? {
        let answer = try? JSONValue(parsing: payload)
        let waiting = entries.indices.filter { entries[$0].answerTopic == topic }
        let index: Int?
        if let id = answer?["id"]?.int64Value {
            index = waiting.first { Int64(entries[$0].id) == id }
        } else {
            index = waiting.first
        }
        guard let index else { return nil }
        let id = entries.remove(at: index).id
        if let error = answer?["error"], !error.isNull {
            return Ended(
                id: id, outcome: .failed("the device answered with an error: \(error.stringValue ?? error.text)"))
        }
        let json = answer ?? .string(String(decoding: payload, as: UTF8.self))
        return Ended(id: id, outcome: .executed(answer: json.serialized()))
    }

    mutating func timeReached(_ now: MonotonicInstant) -> [Ended] {
        let late = entries.filter { $0.deadline <= now }
        entries.removeAll { $0.deadline <= now }
        return late.map { entry in
            let reason =
                switch (entry.isConfirmed, entry.answerTopic) {
                case (true, let topic?): "the broker took the command, but no answer came on \(topic) in time"
                case (false, _), (true, nil):
                    "the broker did not confirm the command in time; it is not known whether the device got it"
                }
            return Ended(id: entry.id, outcome: .failed(reason))
        }
    }

    /// What the broker had not confirmed may or may not have reached the device, and is not sent again.
    mutating func linkLost() -> [Ended] {
        let unknown = entries.filter { !$0.isConfirmed }
        entries.removeAll { !$0.isConfirmed }
        return unknown.map { entry in
            Ended(
                id: entry.id,
                outcome: .failed(
                    "the connection to the local broker broke before it confirmed the command; "
                        + "it is not known whether the device got it"))
        }
    }

    mutating func stopped() -> [Ended] {
        defer { entries = [] }
        return entries.map {
            Ended(id: $0.id, outcome: .failed("the gateway stopped before the command was confirmed"))
        }
    }
}

/// A command made ready to publish.
struct CommandPublish: Equatable, Sendable {
    let id: UInt32
    let topic: String
    let payload: [UInt8]
    let isRetained: Bool
    let answerTopic: String?
    let deadline: MonotonicInstant
}
