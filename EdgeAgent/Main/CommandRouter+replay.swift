import JSON
import Outbox
import Telemetry
import Uplink

/// The hub asks for what it has not got.
extension CommandRouter {
    /// Looks into the outbox for one request; what is left is answered as neither sent nor gone, and the hub asks again.
    private static let partsMax = 200

    /// `ReplayRange`: sends records again, as far as they are kept.
    func replay(_ payload: [UInt8]) -> CommandAnswer {
        guard let request = (try? JSONValue(parsing: payload)).flatMap({ ReplayRange($0) }) else {
            return .failed(400, #"ReplayRange needs {"epoch": epoch, "runs": [[first, count], …]}, rising"#)
        }
        guard request.epoch == store.epoch else {
            return .failed(404, "this outbox has epoch \(store.epoch); records of another are not here")
        }
        var (replayed, gone, parts): (UInt64, [Run], Int) = (0, [], 0)
        do throws(OutboxError) {
            for run in request.runs {
                var rest: Run? = run
                while let asked = rest, parts < Self.partsMax {
                    let outcome = try store.replay(asked)
                    replayed += outcome.restored.reduce(0) { $0 + $1.count }
                    gone += outcome.gone
                    rest = outcome.rest
                    parts += 1
                }
            }
        } catch {
            return .failed(500, error.description)
        }
        let answer = ReplayRange.Answer(replayedCount: replayed, gone: Array(gone.prefix(10 * ReplayRange.runsMax)))
        return CommandAnswer(status: 200, payload: answer.json.serialized())
    }
}
