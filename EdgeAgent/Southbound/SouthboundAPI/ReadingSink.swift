public import Primitives
public import Telemetry

/// Where drivers put what they read: the core of the agent.
public protocol ReadingSink: Sendable {
    /// Takes one delivery, all or nothing; called on the driver's own thread; several drivers may call at the same time.
    /// It does not wait for the disk, so the driver bounds what it hands over before it has heard of it.
    ///
    /// - Parameter ended: called exactly once, on any thread and perhaps before this returns: with `nil` when the
    ///   delivery is durable, and only then does the driver acknowledge to its sensors; or with the reason why nothing
    ///   of it was kept. The driver then withholds its acknowledgement, waits with backoff and asks its sensors again.
    ///   It must not block. Deliveries of one driver end in the order in which they were handed over.
    func accept(_ delivery: Delivery, ended: @escaping @Sendable (SinkError?) -> Void)

    /// Asks that what was handed over becomes durable as soon as the disk allows, because somebody cannot go on before:
    /// the commit interval does not hold it back. Any thread; does not block.
    func hurry()

    /// The mark of the last delivery of `driver` that was kept, also by an earlier run of the agent; `nil` when there
    /// is none. Asked once, when the driver starts.
    func lastMark(of driver: String) -> [UInt8]?
}

extension ReadingSink {
    /// A sink that keeps no marks: a delivery repeated after a crash is then a repeated reading.
    public func lastMark(of driver: String) -> [UInt8]? { nil }
}

/// What a driver hands over at once.
public struct Delivery: Sendable {
    /// The mark's size limit: 64 KiB.
    public static let markBytesMax = 65_536
    /// Learned devices of one driver: 1,024.
    public static let learnedMax = 1024

    /// The driver's name.
    public let driver: String
    /// In the order in which they were read; may be empty.
    public let readings: [Reading]
    /// Only devices whose health changed, or is known for the first time.
    public let health: [DeviceHealth]
    /// To be kept in the transaction that keeps the readings, in place of the driver's earlier mark. It lets the
    /// driver know what its sensors repeat after a crash between the commit and the acknowledgement. `nil` leaves the
    /// earlier mark.
    public let mark: [UInt8]?
    /// All devices that the driver knows only because it has heard them, when that list has changed. To be kept in the
    /// same transaction, in place of the earlier list, and given to the driver when it is made by the next run: a
    /// command for such a device must find its way before the device is heard again. `nil` leaves the earlier list.
    public let learned: [DeviceID]?
    /// Deliveries of one series are kept without a hole: when one is refused, so are all later ones of the series. A
    /// driver whose sensors repeat in order begins a new series, with a higher number, once it has dealt with the
    /// refusal. `nil` for a delivery that stands alone.
    public let series: UInt64?

    public init(
        driver: String, readings: [Reading], health: [DeviceHealth] = [], mark: [UInt8]? = nil,
        learned: [DeviceID]? = nil, series: UInt64? = nil
    ) {
        precondition((mark?.count ?? 0) <= Self.markBytesMax, "a delivery mark has at most \(Self.markBytesMax) bytes")
        precondition((learned?.count ?? 0) <= Self.learnedMax, "a driver learns at most \(Self.learnedMax) devices")
        self.driver = driver
        self.readings = readings
        self.health = health
        self.mark = mark
        self.learned = learned
        self.series = series
    }
}

/// Whether a device answers its driver.
public struct DeviceHealth: Sendable, Equatable {
    public let device: DeviceID
    public let answers: Bool
    /// For the operator: why it does not answer, naming address or port. Empty when it answers.
    public let reason: String
    public let time: WallInstant
    public let clock: ClockQuality

    public init(device: DeviceID, answers: Bool, reason: String, time: WallInstant, clock: ClockQuality) {
        self.device = device
        self.answers = answers
        self.reason = reason
        self.time = time
        self.clock = clock
    }
}

/// Why a delivery could not be kept.
public struct SinkError: Error, Equatable, CustomStringConvertible {
    public enum Problem: Sendable, Equatable {
        /// No room on disk, or the outbox reached its limit.
        case full
        /// The store is busy or failed to sync.
        case storeFailed
        /// The agent is shutting down.
        case stopping
    }

    public let problem: Problem
    /// For the operator: what is wrong and what to do.
    public let detail: String

    public init(_ problem: Problem, detail: String) {
        self.problem = problem
        self.detail = detail
    }

    /// Whether the same delivery may be kept later.
    public var isRetryable: Bool {
        switch problem {
        case .full, .storeFailed: true
        case .stopping: false
        }
    }

    public var description: String { detail }
}
