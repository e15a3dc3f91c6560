import Logging
import Primitives
import SouthboundAPI

extension ModbusLine {
    func perform(_ job: WriteJob, _ handle: borrowing ModbusHandle) throws(LineGone) {
        if case .command(_, let deadline, let reply) = job.origin, clock.monotonic() >= deadline {
            reply(.expired(reason: "the line was busy until the time limit had passed; nothing was written"))
            return
        }
        let unitID = units[job.unit].config.unitID
        for (done, write) in job.writes.enumerated() {
            do {
                try handle.write(write, unitID: unitID)
            } catch {
                let before = done == 0 ? "" : " after \(done) of \(job.writes.count) writes"
                switch error {
                case .refused(let code): refused(job, exceptionText(code) + before)
                case .noAnswer(let text):
                    noAnswer(job.unit, text, now: clock.monotonic())
                    failed(job, "unit \(unitID) on \(config.line.address) did not confirm it: \(text)\(before)")
                case .lineGone(let text):
                    failed(job, "the line \(config.line.address) broke: \(text)\(before)")
                    throw LineGone(text: text)
                }
                return
            }
        }
        answered(job.unit)
        // What was written shall be seen at once.
        units[job.unit].nextPoll = clock.monotonic()
        if case .command(_, _, let reply) = job.origin { reply(.executed(answer: nil)) }
    }

    /// The unit answered no: trying again would not change its mind.
    private func refused(_ job: WriteJob, _ text: String) {
        answered(job.unit)
        switch job.origin {
        case .command(_, _, let reply): reply(.failed(reason: "the unit refuses to write: \(text)"))
        case .actuation(let register, _):
            var facts = metadata(job.unit)
            facts["register"] = "\(register)"
            facts["answer"] = "\(text)"
            facts["advice"] = "check the register map"
            logger.error("Modbus unit refuses a local action", metadata: facts)
        }
    }

    /// It may or may not have been done. Commands end here; actuations, which may be repeated without harm, wait for
    /// the unit's next poll.
    func failed(_ job: WriteJob, _ reason: String) {
        switch job.origin {
        case .command(_, _, let reply): reply(.failed(reason: reason))
        case .actuation(let register, let until) where clock.monotonic() >= until:
            var facts = metadata(job.unit)
            facts["register"] = "\(register)"
            facts["reason"] = "\(reason)"
            logger.error("a local action was given up: the unit did not take it in time", metadata: facts)
        case .actuation:
            units[job.unit].actuations.removeAll { $0.isReplaced(by: job) }
            units[job.unit].actuations.append(job)
        }
    }
}
