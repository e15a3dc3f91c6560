internal import Connectivity
internal import DriverRuntime
internal import HubContract
internal import HubTransport
internal import Logging
internal import Outbox
internal import Primitives
internal import Telemetry
internal import Timekeeping

/// What the loop knows about the hub's time.
struct HubTiming {
    var exchange = TimeExchange()
    var doubt = ClockDoubt()
    /// The hub's web server is being asked for the date.
    var question: (link: any HubConnection, until: MonotonicInstant)?
    /// Corrections that the link has been told of.
    var correctionsSeen: Int
    /// Corrections at the beginning of the attempt: its token was made with that clock.
    private(set) var correctionsBefore: Int
    /// Mends what was stamped before the time was known.
    private(set) var restamper: Restamper
    /// What the next run is to know of the clock is kept then at the latest.
    private var keptUntil: MonotonicInstant
    private var isKeepingRefused = false
    private let clock: GatewayClock

    /// - Parameters:
    ///   - restamper: as the run began.
    ///   - isKept: whether the outbox has it.
    init(_ clock: GatewayClock, _ restamper: Restamper, isKept: Bool, now: MonotonicInstant) {
        self.clock = clock
        self.restamper = restamper
        keptUntil = now + (isKept ? ClockMemory.interval : .zero)
        correctionsSeen = clock.corrections(after: 0).count
        correctionsBefore = correctionsSeen
    }

    mutating func corrected(_ correction: Timekeeper.Correction, now: MonotonicInstant) {
        restamper.correction(correction)
        keptUntil = now
    }

    func isToBeKept(now: MonotonicInstant) -> Bool { now >= keptUntil }

    /// - Parameter isKept: whether that worked; otherwise soon again.
    /// - Returns: whether it is news that it did not.
    mutating func triedToKeep(isKept: Bool, now: MonotonicInstant) -> Bool {
        keptUntil = now + (isKept ? ClockMemory.interval : .seconds(10))
        defer { isKeepingRefused = !isKept }
        return !isKept && !isKeepingRefused
    }

    mutating func attemptStarted() { correctionsBefore = clock.corrections(after: 0).count }

    /// Whether the time was set by a second or more since the attempt began.
    var isCorrectedSince: Bool {
        clock.corrections(after: correctionsBefore).corrections.contains {
            $0.delta >= Timekeeper.stepMin || $0.delta <= .zero - Timekeeper.stepMin
        }
    }
}

/// The gateway learns the time from its hub, and finds its way back when its own clock keeps it out.
extension UplinkLoop {
    /// An answer that was on its way for longer says too little.
    private static var roundTripMax: Duration { .seconds(20) }

    // MARK: While the link stands

    func exchangeTime() {
        let now = world.now
        guard let transport, transport.hasRoom, let rid = timing.exchange.nextRequest(now: now) else { return }
        _ = transport.publish(HubTopics.timeGet(rid: rid), [], now: now)
    }

    func timeAnswered(_ payload: [UInt8], rid: String) {
        let now = world.now
        guard let roundTrip = timing.exchange.answered(rid: rid, now: now) else { return }
        guard let answer = HubTime(parsing: payload) else {
            logger.warning("the hub's answer about the time cannot be read")
            return
        }
        learnedEncodings(answer.batchEncodings)
        guard roundTrip <= Self.roundTripMax else { return }
        clock.learned(answer.time + roundTrip / 2, at: now, uncertainty: roundTrip / 2, from: .hub)
    }

    /// A WebSocket's first answer has a date of its own.
    func noteDate(of transport: any HubConnection) {
        guard let date = transport.date, !transport.isAccepted else { return }
        clock.learned(date.time, at: date.at, uncertainty: date.uncertainty, from: .hubDate)
    }

    /// A token that was made while the clock was behind ends earlier than was thought, and records have a wrong time.
    func noteCorrections() throws(LinkFailure) {
        let (count, corrections) = clock.corrections(after: timing.correctionsSeen)
        guard count > timing.correctionsSeen else { return }
        timing.correctionsSeen = count
        for correction in corrections {
            link.tokenShortened(by: correction.delta)
            timing.corrected(correction, now: world.now)
        }
        commands.mayWait = true
        try checkCertificate()
    }

    /// While the link stands: a hub that answers no question about the time has a web server that may say it.
    func learnTheDate() throws(LinkFailure) {
        let now = world.now
        if timing.question != nil { return workOnTheQuestion(until: now) }
        guard timing.exchange.isSilent(now: now), timing.doubt.isDue(now: now), clock.now().quality != .synchronised
        else { return }
        beginTheQuestion()
    }

    /// A certificate that was taken for good while the clock was behind is not good for as long as the link holds.
    private func checkCertificate() throws(LinkFailure) {
        let reading = clock.now()
        guard reading.quality == .synchronised, let end = transport?.certificateEnd, end < reading.time.unixSeconds
        else { return }
        throw LinkFailure(.certificateExpired(host: settings.hubHost))
    }

    /// What the next run is to know of the clock.
    func keepClock(now: MonotonicInstant) {
        guard timing.isToBeKept(now: now) else { return }
        do throws(OutboxError) {
            try store.keep(clock, timing.restamper)
            _ = timing.triedToKeep(isKept: true, now: now)
        } catch {
            guard timing.triedToKeep(isKept: false, now: now) else { return }
            logger.error(
                "what is known of the time could not be kept; trying again until the outbox takes it",
                metadata: ["reason": "\(error)"])
        }
    }

    // MARK: While the hub refuses

    /// Begins to ask the hub's web server for the date when our clock may be what keeps us out.
    func considerTheClock(_ problem: LinkProblem) {
        let now = world.now
        if problem.mayBeTheClock, timing.isCorrectedSince { return link.retryAtOnce(now: now) }
        let isSynchronised = clock.now().quality == .synchronised
        guard timing.doubt.isInDoubt(after: problem, isSynchronised: isSynchronised, now: now) else { return }
        logger.info(
            "this gateway's clock may be wrong; asking the hub's web server for the date",
            metadata: ["host": "\(settings.hubHost)", "port": "\(settings.httpsPort)"])
        beginTheQuestion()
    }

    private func beginTheQuestion() {
        let now = world.now
        do throws(LinkFailure) {
            let link = try wakeUp(asking: settings.dateEndpoint)
            timing.question = (link, now + ClockDoubt.askTimeMax)
        } catch {
            questionFailed(error.problem)
        }
    }

    /// One turn of the question.
    func askForTheDate() {
        workOnTheQuestion(until: world.now + .seconds(1))
        readMail()
    }

    private func workOnTheQuestion(until waited: MonotonicInstant) {
        guard let (question, until) = timing.question else { return }
        question.wait(until: min(until, waited))
        var problem: LinkProblem?
        do throws(LinkFailure) {
            _ = try question.read(now: world.now)
            try question.write(now: world.now)
        } catch {
            problem = error.problem
        }
        if let date = question.date {
            timing.question = nil
            clock.learned(date.time, at: date.at, uncertainty: date.uncertainty, from: .hubDate)
            guard !link.isConnected else { return }
            guard timing.isCorrectedSince else {
                logger.info("this gateway's clock is right; the hub's refusal has another reason")
                return
            }
            link.retryAtOnce(now: world.now)
        } else if let problem {
            questionFailed(problem)
        } else if world.now >= until {
            questionFailed(question.overdueProblem)
        }
    }

    private func questionFailed(_ problem: LinkProblem) {
        timing.question = nil
        logger.warning(
            "the hub's web server did not say what time it is; set the clock, or correct https_port in the configuration",
            metadata: ["reason": "\(problem.operatorText)"])
    }
}

extension OutboxStore {
    /// Keeps what the next run is to know of the clock.
    func keep(_ clock: GatewayClock, _ restamper: Restamper) throws(OutboxError) {
        let reading = clock.now()
        let state = KeptState(key: ClockMemory.key, bytes: clock.memory(of: restamper).bytes)
        _ = try append(OutboxCommit(records: [], kept: [state], wallTime: reading.time, clock: reading.quality))
    }
}
