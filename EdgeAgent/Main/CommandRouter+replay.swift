import DriverRuntime
import JSON
import Outbox
import Primitives
import Telemetry
import Uplink

/// The hub asks for what it has not got.
extension CommandRouter {
    /// Nothing else travels meanwhile; what is left then is named in the answer, and the hub asks for it again.
    private static let timeMax = Duration.milliseconds(250)

    /// `ReplayRange`: sends records again, as far as they are kept, and declares what is gone.
    func replay(_ payload: [UInt8]) -> CommandAnswer {
        guard let request = (try? JSONValue(parsing: payload)).flatMap({ ReplayRange($0) }) else {
            return .failed(400, #"ReplayRange needs {"epoch": epoch, "runs": [[first, count], …]}, rising"#)
        }
        guard request.epoch == store.epoch else {
            return .failed(404, "this outbox has epoch \(store.epoch); records of another are not here")
        }
        let end = SystemTime.monotonic + Self.timeMax
        var (replayed, gone, left): (UInt64, [Run], [Run]) = (0, [], request.runs)
        do throws(OutboxError) {
            repeat {
                guard let asked = left.first else { break }
                let outcome = try store.replay(asked)
                replayed += outcome.restored.reduce(0) { $0 + $1.count }
                gone += outcome.gone
                left.replaceSubrange(0..<1, with: outcome.rest.map { [$0] } ?? [])
            } while SystemTime.monotonic < end && gone.count <= ReplayRange.Answer.goneMax - OutboxLimits.goneRunsMax
        } catch {
            return .failed(500, error.description)
        }
        let answer = ReplayRange.Answer(replayedCount: replayed, gone: gone, rest: left)
        return CommandAnswer(status: 200, payload: answer.json.serialized())
    }
}
