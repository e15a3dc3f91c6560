import JSON
public import Primitives

/// What the hub knows of one command row: durable, so that a command is never sent twice.
public struct CommandRecord: Sendable, Equatable {
    public enum State: Sendable, Equatable {
        /// A method call may have happened. Exits: `decided`, after a restart only with `CommandVerdict.interrupted`;
        /// `queued` when the device was not there.
        case attempting
        /// Under this method's name it is in the device's queue, or was about to go there: the queue knows. Exits:
        /// `decided`; `attempting` when it never got into the queue.
        case queued(String)
        /// How it ended is known and must be written to the row. Exits: `reported`.
        case decided(CommandVerdict)
        /// The row says how it ended. No exit.
        case reported(CommandVerdict)
    }

    public let command: UniqueID
    public let state: State
    /// When this state was entered; the oldest reported ones are forgotten first.
    public let changedAt: WallInstant

    public init(command: UniqueID, state: State, changedAt: WallInstant) {
        self.command = command
        self.state = state
        self.changedAt = changedAt
    }
}

/// How a command ended, and the sentence for its row.
public struct CommandVerdict: Sendable, Equatable {
    public enum Kind: String, Sendable { case sent, error }

    public let kind: Kind
    /// At most 2000 UTF-16 code units: the column's length.
    public let reason: String

    public init(_ kind: Kind, _ reason: String) {
        self.kind = kind
        self.reason = reason.cut(toUTF16: 2000)
    }

    public static let interrupted = CommandVerdict(
        .error,
        "unknown: the hub stopped while this command was on its way, so whether the device obeyed is not known; it was "
            + "not repeated")
    public static let expired = CommandVerdict(
        .error, "expired: the time limit passed before the command could be sent; the device did not get it")
    public static let forAllDevices = CommandVerdict(
        .error,
        "the command is for all connected devices, which this hub does not send; create one for each device")
}

/// A command row as the connector reads it.
public struct CommandRow: Sendable, Equatable {
    public let id: UniqueID
    /// The provider's device id; `nil` when the row names none that the registry could hold.
    public let device: DeviceID?
    /// `msdyn_message`.
    public let message: String
    public let createdAt: WallInstant
    public let parentAlert: UniqueID?
    /// `msdyn_sendtoallconnecteddevices`.
    public var isForAllDevices = false

    public init(id: UniqueID, device: DeviceID?, message: String, createdAt: WallInstant, parentAlert: UniqueID?) {
        self.id = id
        self.device = device
        self.message = message
        self.createdAt = createdAt
        self.parentAlert = parentAlert
    }
}

/// Decides what happens to a command row. Pure.
///
///     seen ──► attempting ──────────────► decided ──► reported
///       │        │ not there                 ▲
///       └────────┴──► queued ── how it ended ┘
///
/// A command is executed at most once: the attempt is durable before anything is sent, and a call that an earlier run of
/// the hub left behind ends as unknown, without being repeated. A queued command outlives the hub: its queue, and how it
/// ended there, are durable. None is executed late: past the time limit it ends as expired, unsent.
public enum CommandMachine {
    public enum RowAction: Sendable, Equatable {
        /// Store `.attempting`, then send.
        case attempt(DeviceCommand, DeviceID, within: Duration)
        /// Store the verdict, then report it.
        case decide(CommandVerdict)
        /// Write the stored verdict to the row.
        case report(CommandVerdict)
        /// Ask the queue what has become of it; one that never got there is decided on anew.
        case follow
        /// This run calls the device, or knows that the command waits in the queue.
        case wait
    }

    /// A row that is still in progress was read.
    ///
    /// - Parameters:
    ///   - record: what is stored of it.
    ///   - isUnderWay: whether this run of the hub is calling the device now, or follows the command in the queue.
    public static func rowSeen(
        _ row: CommandRow, record: CommandRecord?, isUnderWay: Bool, limits: CommandLimits, now: WallInstant
    ) -> RowAction {
        switch record?.state {
        case .attempting: return isUnderWay ? .wait : .decide(.interrupted)
        case .queued: return isUnderWay ? .wait : .follow
        case .decided(let verdict): return .report(verdict)
        // The row was set back, or the CRM restored from a backup: say again how it ended, and do nothing else.
        case .reported(let verdict): return .report(verdict)
        case nil: break
        }
        let age = now - row.createdAt
        guard age < limits.timeLimit else { return .decide(.expired) }
        guard !row.isForAllDevices else { return .decide(.forAllDevices) }
        guard let device = row.device else {
            return .decide(
                CommandVerdict(.error, "the command names no device, or one that cannot exist in the registry"))
        }
        switch limits.names.command(fromMessage: row.message) {
        case .success(let command):
            // A row from a clock ahead of ours gets its whole limit, never more.
            return .attempt(command, device, within: limits.timeLimit - max(age, .zero))
        case .failure(let problem): return .decide(CommandVerdict(.error, problem.sentence))
        }
    }

    /// The call is over; `nil` when nobody was there to call, and the queue is next.
    public static func verdict(on outcome: MethodOutcome, method: String) -> CommandVerdict? {
        switch outcome {
        case .answered(let status, let payload):
            let answer = "the device answered \(method) with status \(status): \(payload.text)"
            return CommandVerdict((200..<300).contains(status) ? .sent : .error, answer)
        case .unanswered:
            return CommandVerdict(
                .error,
                "unknown: the device was sent \(method) and did not answer in time; whether it obeyed is not known")
        case .notOnline: return nil
        case .failed(let reason): return failed(reason, method: method)
        }
    }

    /// What was queued is over.
    public static func verdict(on end: QueueEnd, method: String) -> CommandVerdict {
        switch (end.how, end.deliveries) {
        case (.delivered, _): CommandVerdict(.sent, "the device took the message \(method) from its queue")
        case (.expired, 0):
            CommandVerdict(
                .error, "expired: the device did not come for \(method) within its time limit and did not get it")
        case (.removed, 0):
            failed("it was taken out of the device's queue before the device got it", method: method)
        case (.rejected, _): failed("the device rejected the message", method: method)
        case (.expired, _), (.removed, _), (.givenUp, _):
            CommandVerdict(
                .error,
                "unknown: the device was handed the message \(method) \(end.deliveries) times and never acknowledged it; "
                    + "whether it obeyed is not known")
        }
    }

    /// It could not be sent.
    public static func failed(_ reason: String, method: String) -> CommandVerdict {
        CommandVerdict(.error, "\(method) failed: \(reason)")
    }
}

/// How long commands may take, and what they are called on the device.
public struct CommandLimits: Sendable, Equatable {
    /// From the row's creation on. Range 10 s … 2 days: no message waits longer in a device's queue. Default 5 min.
    public var timeLimit: Duration
    public var names: CommandNames

    public init(timeLimit: Duration = .seconds(300), names: CommandNames = .stock) {
        self.timeLimit = timeLimit
        self.names = names
    }
}

extension String {
    /// The longest prefix of whole characters within so many UTF-16 code units; `…` marks a cut.
    func cut(toUTF16 unitsMax: Int) -> String {
        guard utf16.count > unitsMax else { return self }
        var kept = ""
        var units = 1
        for character in self {
            units += character.utf16.count
            guard units <= unitsMax else { break }
            kept.append(character)
        }
        return kept + "…"
    }
}
