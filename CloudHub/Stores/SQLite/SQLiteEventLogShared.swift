import EventLog
import Foundation
import Synchronization

/// What the log's thread and everybody else share: the mailbox, the figures and who wants to be told.
final class LogShared: Sendable {
    struct Waiting: Sendable {
        let group: AppendGroup
        let completion: @Sendable (Result<AppendOutcome, EventLogError>) -> Void
    }

    private struct Mailbox {
        var waiting: [Waiting] = []
        var isClosing = false
        var isClosed = false
    }

    private struct Figures {
        var statuses: [PartitionStatus]
        var counters = SQLiteEventLog.Counters()
        var condition = LogCondition.storing
        var atRisk: Set<String> = []
    }

    private struct Observers {
        var lastToken = 0
        var wakes: [Int: @Sendable () -> Void] = [:]
        var conditions: [Int: @Sendable (LogCondition) -> Void] = [:]
        var checkpoints: (@Sendable () -> [String: [Int64]])?
    }

    // The condition guards nothing by itself: the mailbox has its own lock, and the condition is only slept on.
    private let condition = NSCondition()
    private let mailbox = Mutex(Mailbox())
    private let figures: Mutex<Figures>
    private let observers = Mutex(Observers())

    init(statuses: [PartitionStatus]) { figures = Mutex(Figures(statuses: statuses)) }

    // MARK: - The mailbox

    func add(_ waiting: Waiting) {
        let (isFirst, isClosing) = mailbox.withLock { box in
            guard !box.isClosing else { return (false, true) }
            box.waiting.append(waiting)
            return (box.waiting.count == 1, false)
        }
        if isClosing {
            let doing = "append \(waiting.group.eventCount) events"
            waiting.completion(.failure(EventLogError(.closed, doing: doing, detail: "the log was closed")))
        } else if isFirst {
            signal()
        }
    }

    /// Everything that waits; empty after `limit` without anything, `nil` once closing and empty.
    func take(until limit: Date) -> [Waiting]? {
        condition.lock()
        defer { condition.unlock() }
        while true {
            let (taken, isClosing) = mailbox.withLock { box in
                defer { box.waiting = [] }
                return (box.waiting, box.isClosing)
            }
            if !taken.isEmpty { return taken }
            if isClosing { return nil }
            if !condition.wait(until: limit) { return [] }
        }
    }

    /// Sleeps until `limit`, or until the log is closed.
    /// - Returns: whether it is closing.
    func sleep(until limit: Date) -> Bool {
        condition.lock()
        defer { condition.unlock() }
        while !mailbox.withLock({ $0.isClosing }) {
            if !condition.wait(until: limit) { return false }
        }
        return true
    }

    func close() {
        mailbox.withLock { $0.isClosing = true }
        signal()
    }

    func closed() {
        mailbox.withLock { $0.isClosed = true }
        signal()
    }

    func waitUntilClosed() {
        condition.lock()
        defer { condition.unlock() }
        while !mailbox.withLock({ $0.isClosed }) { condition.wait() }
    }

    private func signal() {
        condition.lock()
        condition.broadcast()
        condition.unlock()
    }

    // MARK: - Figures

    var statuses: [PartitionStatus] { figures.withLock { $0.statuses } }
    var counters: SQLiteEventLog.Counters { figures.withLock { $0.counters } }

    func status(of partition: Int) -> PartitionStatus { figures.withLock { $0.statuses[partition] } }
    func publish(_ statuses: [PartitionStatus]) { figures.withLock { $0.statuses = statuses } }
    func publish(_ statuses: [PartitionStatus], atRisk: Set<String>) {
        figures.withLock {
            $0.statuses = statuses
            $0.atRisk = atRisk
        }
    }
    var consumersAtRisk: Set<String> { figures.withLock { $0.atRisk } }
    func count(_ change: (inout SQLiteEventLog.Counters) -> Void) { figures.withLock { change(&$0.counters) } }

    // MARK: - Observers

    func onAppend(_ wake: @escaping @Sendable () -> Void) -> WakeToken {
        let token = observers.withLock { list in
            list.lastToken += 1
            list.wakes[list.lastToken] = wake
            return list.lastToken
        }
        return WakeToken { [weak self] in self?.observers.withLock { $0.wakes[token] = nil } }
    }

    func onCondition(_ changed: @escaping @Sendable (LogCondition) -> Void) -> WakeToken {
        let token = observers.withLock { list in
            list.lastToken += 1
            list.conditions[list.lastToken] = changed
            return list.lastToken
        }
        changed(figures.withLock { $0.condition })
        return WakeToken { [weak self] in self?.observers.withLock { $0.conditions[token] = nil } }
    }

    func watchConsumers(_ checkpoints: @escaping @Sendable () -> [String: [Int64]]) {
        observers.withLock { $0.checkpoints = checkpoints }
    }

    var consumers: [String: [Int64]] { observers.withLock { $0.checkpoints }?() ?? [:] }

    func wakeAll() {
        for wake in observers.withLock({ Array($0.wakes.values) }) { wake() }
    }

    func tell(_ condition: LogCondition) {
        figures.withLock { $0.condition = condition }
        for changed in observers.withLock({ Array($0.conditions.values) }) { changed(condition) }
    }
}
