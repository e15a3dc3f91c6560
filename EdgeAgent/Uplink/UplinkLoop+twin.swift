internal import Connectivity
internal import DriverRuntime
internal import HubContract
internal import HubTransport
internal import JSON
internal import Logging

/// The gateway's own twin: fetched with every connection, and told what the gateway is.
extension UplinkLoop {
    func exchangeTwin() {
        guard let transport, transport.hasRoom else { return }
        let now = world.now
        let request = twin.nextRequest(now: now) { fullReport() }
        switch request {
        case .get(let rid): _ = transport.publish(HubTopics.twinGet(rid: rid), [], now: now)
        case .report(let rid, let bytes): _ = transport.publish(HubTopics.reportedPatch(rid: rid), bytes, now: now)
        case nil: break
        }
    }

    func twinAnswered(_ status: Int, rid: String, payload: [UInt8]) {
        switch twin.answered(rid: rid, status: status, now: world.now) {
        case .ignore: break
        case .reported: logger.debug("the hub keeps what this gateway reported")
        case .refused(let status):
            logger.warning("the hub refused a request about this gateway's twin", metadata: ["status": "\(status)"])
        case .twin:
            let wanted = (try? JSONValue(parsing: payload))?["desired"]
            let version = wanted?["$version"]?.int64Value
            logger.debug("the twin arrived", metadata: ["desiredVersion": "\(version.map(String.init) ?? "none")"])
            desiredVersion = version
            if let wanted { desired(wanted) }
        }
    }

    /// Seen, and told so once the whole twin has come.
    func desiredChanged(_ version: Int64) {
        desiredVersion = version
        twin.desiredChanged(now: world.now)
    }
}
