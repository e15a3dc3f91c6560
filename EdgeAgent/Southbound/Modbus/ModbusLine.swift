import DriverRuntime
import Glibc
import Logging
import Primitives
import SouthboundAPI
import Telemetry

/// The line's thread. Confined to it.
final class ModbusLine {
    struct Surroundings: Sendable {
        let mailbox: LineMailbox
        let sink: any ReadingSink
        let clock: DriverClock
        let logger: Logger
    }

    /// One unit, and what we know of it.
    struct Unit {
        let config: ModbusUnit
        let plan: ModbusPlan
        var breaker: UnitBreaker
        var nextPoll: MonotonicInstant
        /// Empty when it answers, `nil` when nobody knows yet.
        var trouble: String?
        /// What the core was told last.
        var reported: String?
        /// Local actions that the unit did not take yet, one a register.
        var actuations: [WriteJob] = []
    }

    let config: ModbusConfig
    let mailbox: LineMailbox
    let sink: any ReadingSink
    let clock: DriverClock
    let logger: Logger
    var units: [Unit]
    var warnings = WarningLimiter()
    var random = SystemRandomNumberGenerator()
    private var lineBackoff: Backoff
    private var loggedTrouble: LineTrouble?
    private var sinkBackoff = Backoff(first: .milliseconds(200), most: .seconds(10))
    private var notBefore: MonotonicInstant?
    /// What the sink has not ended yet.
    private struct HandedOver {
        /// The units whose health it tells.
        let changed: [Int]
        /// All of one device.
        let readings: Int
        let device: DeviceID?
    }

    /// Oldest first. A line that is ahead of the disk by so many reads no further.
    private var handedOver: [HandedOver] = []
    /// Readings that were refused and not logged yet: nobody repeats them.
    private var lost: [DeviceID: Int] = [:]
    private static let handedOverMax = 64

    init(config: ModbusConfig, surroundings: Surroundings) {
        self.config = config
        mailbox = surroundings.mailbox
        sink = surroundings.sink
        clock = surroundings.clock
        logger = surroundings.logger
        let now = surroundings.clock.monotonic()
        units = config.units.map { unit in
            Unit(
                config: unit, plan: ModbusPlan(unit: unit),
                breaker: UnitBreaker(
                    failuresMax: config.failuresMax,
                    backoff: Backoff(first: min(unit.pollInterval, config.retryMost), most: config.retryMost)),
                nextPoll: now)
        }
        lineBackoff = Backoff(first: min(.milliseconds(250), config.retryMost), most: config.retryMost)
    }

    /// Returns when the driver is stopped.
    func run() {
        while !mailbox.isStopping {
            let trouble = session()
            guard !mailbox.isStopping, let trouble else { return }
            say(trouble)
            for index in units.indices { units[index].trouble = trouble.reason }
            lookAtEndings()
            hand([])
            rest(for: lineBackoff.next(using: &random), trouble)
        }
    }

    /// From opening the line to its end; `nil` when the driver is stopped.
    private func session() -> LineTrouble? {
        guard let handle = ModbusHandle(line: config.line, responseTimeout: config.responseTimeout) else {
            return LineTrouble(line: config.line, error: errno)
        }
        let error = handle.open()
        guard error == 0 else { return LineTrouble(line: config.line, error: error) }
        logger.info("Modbus line open")
        do {
            try serve(handle)
            return nil
        } catch {
            return LineTrouble(line: config.line, broken: error.text)
        }
    }

    /// For what is still to be written when the driver stops.
    private static let endTime = Duration.seconds(2)

    struct LineGone: Error {
        let text: String
    }

    private func serve(_ handle: borrowing ModbusHandle) throws(LineGone) {
        while !mailbox.isStopping {
            while let job = mailbox.takeFirst() { try perform(job, handle) }
            lookAtEndings()
            let now = clock.monotonic()
            guard let index = nextUnit(now: now) else {
                mailbox.wake.wait(until: nextTime(now: now))
                continue
            }
            try poll(index, handle)
        }
        try endActuations(handle)
    }

    /// What shall be at the end is still written, such as fail-safe positions; commands that wait end elsewhere.
    private func endActuations(_ handle: borrowing ModbusHandle) throws(LineGone) {
        let end = clock.monotonic() + Self.endTime
        for job in mailbox.takeActuations() where clock.monotonic() < end { try perform(job, handle) }
    }

    /// The unit that has been due for longest and may be asked; nobody while the sink recovers or is far behind.
    private func nextUnit(now: MonotonicInstant) -> Int? {
        if let notBefore, now < notBefore { return nil }
        if handedOver.count >= Self.handedOverMax { return nil }
        return units.indices
            .filter { units[$0].nextPoll <= now && units[$0].breaker.permission(now: now) == .ask }
            .min { units[$0].nextPoll < units[$1].nextPoll }
    }

    private func nextTime(now: MonotonicInstant) -> MonotonicInstant {
        // The next ending rings.
        if handedOver.count >= Self.handedOverMax { return now + .seconds(1) }
        let times = units.map { unit in
            switch unit.breaker.permission(now: now) {
            case .ask: unit.nextPoll
            case .leaveAlone(let until): max(until, unit.nextPoll)
            }
        }
        let next = times.min() ?? now + .seconds(1)
        return max(next, notBefore ?? next)
    }

    private func poll(_ index: Int, _ handle: borrowing ModbusHandle) throws(LineGone) {
        if try !retryActuations(index, handle) {
            schedule(index, now: clock.monotonic())
            hand([])
            return
        }
        var readings: [Reading] = []
        var failure: String?
        for block in units[index].plan.blocks {
            do {
                readings += try read(block, index, handle)
            } catch {
                switch error {
                case .lineGone(let text): throw LineGone(text: text)
                case .refused(let code): refused(block, index, code)
                case .noAnswer(let text): failure = text
                }
            }
            if failure != nil { break }
        }
        let now = clock.monotonic()
        schedule(index, now: now)
        if let failure { noAnswer(index, failure, now: now) } else { answered(index) }
        hand(readings)
    }

    /// False when the unit did not answer: then there is no use in reading it.
    private func retryActuations(_ index: Int, _ handle: borrowing ModbusHandle) throws(LineGone) -> Bool {
        for _ in units[index].actuations.indices {
            let before = units[index].actuations.count
            try perform(units[index].actuations.removeFirst(), handle)
            if units[index].actuations.count == before { return false }
        }
        return true
    }

    /// The next full interval from where it was due, without catching up on what was missed.
    private func schedule(_ index: Int, now: MonotonicInstant) {
        let next = units[index].nextPoll + units[index].config.pollInterval
        units[index].nextPoll = next > now ? next : now + units[index].config.pollInterval
    }

    private func read(
        _ block: ModbusPlan.Block, _ index: Int, _ handle: borrowing ModbusHandle
    ) throws(ModbusHandle.Failure) -> [Reading] {
        let unit = units[index].config
        var words: [UInt16] = []
        for attempt in 0...config.retries {
            do {
                words = try handle.read(block, unitID: unit.unitID)
                break
            } catch {
                guard case .noAnswer = error, attempt < config.retries, !mailbox.isStopping else { throw error }
            }
        }
        let (time, quality) = clock.wall()
        return block.entries.map { entry in
            let register = unit.registers[entry.register]
            let value = RegisterDecoding.reading(
                of: register, words: words[entry.offset..<(entry.offset + register.width)])
            return Reading(
                device: unit.device, metric: register.metric, value: value.value, unit: register.unit, time: time,
                quality: value.quality, clock: quality)
        }
    }

    func answered(_ index: Int) {
        lineBackoff.reset()
        loggedTrouble = nil
        units[index].trouble = ""
        if units[index].breaker.succeeded() == .answersAgain {
            logger.info("Modbus unit answers", metadata: metadata(index))
        }
    }

    func noAnswer(_ index: Int, _ text: String, now: MonotonicInstant) {
        let unit = units[index].config
        switch units[index].breaker.failed(now: now, using: &random) {
        case .none, .answersAgain: break
        case .stoppedAnswering:
            var facts = metadata(index)
            facts["reason"] = "\(text)"
            facts["advice"] = "check its power, its wiring and its unit id"
            logger.warning("Modbus unit does not answer; asking it less often until it does", metadata: facts)
        }
        if units[index].breaker.isOpen {
            units[index].trouble = "unit \(unit.unitID) on \(config.line.address) does not answer: \(text)"
        }
    }

    /// The unit lives but does not have these registers: the rest of its map is read all the same.
    private func refused(_ block: ModbusPlan.Block, _ index: Int, _ code: Int32) {
        let last = Int(block.address) + block.count - 1
        let subject = "\(units[index].config.device) \(block.table.rawValue) \(block.address)"
        guard case .log = warnings.occurred(subject, now: clock.monotonic()) else { return }
        var facts = metadata(index)
        facts["registers"] = "\(block.table.rawValue) \(block.address)-\(last)"
        facts["answer"] = "\(exceptionText(code))"
        facts["advice"] = "check the register map; a unit that refuses holes needs gap_max = 0"
        logger.warning("Modbus unit refuses to read registers", metadata: facts)
    }

    func metadata(_ index: Int) -> Logger.Metadata {
        ["device": "\(units[index].config.device)", "unit": "\(units[index].config.unitID)"]
    }

    /// Gives readings and changed health to the core. What the core cannot keep is read again later.
    private func hand(_ readings: [Reading]) {
        let (time, quality) = clock.wall()
        let changed = units.indices.filter { units[$0].trouble != nil && units[$0].trouble != units[$0].reported }
        guard !readings.isEmpty || !changed.isEmpty else { return }
        let health = changed.map { index in
            let trouble = units[index].trouble ?? ""
            return DeviceHealth(
                device: units[index].config.device, answers: trouble.isEmpty, reason: trouble, time: time,
                clock: quality)
        }
        handedOver.append(HandedOver(changed: changed, readings: readings.count, device: readings.first?.device))
        for index in changed { units[index].reported = units[index].trouble }
        let mailbox = mailbox
        sink.accept(Delivery(driver: config.name, readings: readings, health: health)) { mailbox.leave(ending: $0) }
        if handedOver.count >= Self.handedOverMax { sink.hurry() }
    }

    /// What became of the deliveries that were handed over. Health that was not kept is told again; readings are lost, and
    /// counted in the log: the registers are read again, but their values of that time are gone.
    private func lookAtEndings() {
        var refusal: SinkError?
        for ending in mailbox.takeEndings() where !handedOver.isEmpty {
            let delivery = handedOver.removeFirst()
            guard let ending else {
                sinkBackoff.reset()
                notBefore = nil
                if refusal == nil { keepsAgain() }
                continue
            }
            refusal = ending
            for index in delivery.changed { units[index].reported = nil }
            if let device = delivery.device { lost[device, default: 0] += delivery.readings }
            let now = clock.monotonic()
            // Several that are refused together are one refusal.
            if notBefore.map({ $0 <= now }) ?? true { notBefore = now + sinkBackoff.next(using: &random) }
        }
        guard let refusal, case .log = warnings.occurred("sink", now: clock.monotonic()) else { return }
        var facts = takeLost()
        facts["reason"] = "\(refusal)"
        logger.warning("readings cannot be kept; reading stops until they can", metadata: facts)
    }

    /// Says what was lost since the last warning.
    private func keepsAgain() {
        guard !lost.isEmpty else { return }
        logger.warning("readings are kept again; others were lost until then", metadata: takeLost())
    }

    private func takeLost() -> Logger.Metadata {
        defer { lost = [:] }
        return [
            "lost_readings": "\(lost.values.reduce(0, +))",
            "devices": "\(lost.keys.map(\.text).sorted().joined(separator: " "))",
        ]
    }

    private func say(_ trouble: LineTrouble) {
        guard trouble != loggedTrouble else { return }
        loggedTrouble = trouble
        logger.error(
            "no Modbus line; will keep trying",
            metadata: ["reason": "\(trouble.reason)", "advice": "\(trouble.advice)"])
    }

    /// Waits for the next try at the line; commands fail at once, because there is nothing to send them on.
    private func rest(for duration: Duration, _ trouble: LineTrouble) {
        let end = clock.monotonic() + duration
        while !mailbox.isStopping, clock.monotonic() < end {
            while let job = mailbox.takeFirst() { failed(job, trouble.reason) }
            mailbox.wake.wait(until: end)
        }
    }
}
