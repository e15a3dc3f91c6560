public import Primitives

/// What speaks to the sensors: one driver a bus or a broker, each on a thread of its own.
///
/// A driver keeps trouble to itself: a unit that does not answer, a broker that is down or a message that cannot be
/// read never stalls another unit, another driver or the agent. It logs what is wrong and what to do, reports
/// `DeviceHealth`, and tries again with backoff until `stop()`.
public protocol SouthboundDriver: AnyObject, Sendable {
    /// The name from the configuration; unique in the agent, and the key of the driver's delivery mark.
    var name: String { get }

    /// Starts the driver's thread and returns at once. What is missing outside (broker, serial port) is not an error
    /// here: the driver retries. May be called once.
    ///
    /// - Throws: `.alreadyStarted`, or `.systemRefused` when no thread or no library handle is to be had.
    func start(into sink: any ReadingSink) throws(DriverError)

    /// Whether this driver is the way to `device`, for commands and writes. Any thread; does not block.
    func serves(_ device: DeviceID) -> Bool

    /// The devices that it serves now, in order. Any thread; does not block.
    var devices: [DeviceID] { get }

    /// Queues a local action; any thread, also from inside `ReadingSink.accept`; does not block. The queue is
    /// bounded; a later value for the same target replaces one that still waits, because only the last one counts.
    ///
    /// - Throws: `.notForThisDriver`, `.unknownTarget`, `.valueNotAllowed`, `.queueFull` (retryable) or `.stopped`;
    ///   nothing was queued.
    func perform(_ actuation: Actuation) throws(DriverError)

    /// Queues a command; any thread; does not block. `reply` is called exactly once, on any thread and perhaps before
    /// this returns, at the latest shortly after the deadline or in `stop()`. A command is never sent twice and never
    /// sent after its deadline. Actuations that wait when `stop` is called are still handed out, if that is quick.
    func command(_ command: DeviceCommand, reply: @escaping @Sendable (CommandOutcome) -> Void)

    /// What the command would write, so that it can be held against what must hold before an actuator moves; empty when
    /// the command is not the driver's or cannot be read, which `command` then says. Any thread; does not block.
    func writes(of command: DeviceCommand) -> [Actuation]

    /// Ends the thread and returns when it has ended; commands that wait end as failed. Nothing reaches the sink
    /// afterwards. Not to be called from inside `ReadingSink.accept`. A second call does nothing.
    func stop()
}
