import ConfigText
import Primitives

enum HubSection {
    static func read(_ section: ConfigSection) -> HubConnection {
        if !section.isPresent { section.problem("is missing; the gateway needs a hub: [hub]") }
        let host = section.isPresent ? section.requiredText("host", expected: "the hub's name") : nil
        var hub = HubConnection(host: host ?? "hub.invalid", credentials: credentials(section))
        hub.port = section.integer("port", default: hub.port, in: 1...65_535)
        hub.caFile = section.optionalText("ca_file", expected: "the path of a PEM file")
        hub.keepAlive = section.duration("keep_alive", default: hub.keepAlive, in: .seconds(5) ... .seconds(1177))
        hub.tokenLifetime = section.duration(
            "token_lifetime", default: hub.tokenLifetime, in: .seconds(60) ... .seconds(86_400))
        hub.inflightBatches = section.integer("inflight_batches", default: hub.inflightBatches, in: 2...64)
        hub.reconnectMost = section.duration(
            "reconnect_most", default: hub.reconnectMost, in: .milliseconds(50) ... .seconds(3600))
        hub.reconnectFirst = section.duration(
            "reconnect_first", default: min(hub.reconnectFirst, hub.reconnectMost),
            in: .milliseconds(50)...hub.reconnectMost)
        return hub
    }

    private static func credentials(_ section: ConfigSection) -> HubConnection.Credentials {
        let string = section.optionalText("connection_string_file", expected: "the path of a file")
        let device = section.optional("device_id", expected: "a device id") { DeviceID($0) }
        let certificate = section.optionalText("certificate_file", expected: "the path of a PEM file")
        let key = section.optionalText("key_file", expected: "the path of a PEM file")
        if let string {
            if device != nil || certificate != nil || key != nil {
                section.problem(
                    "connection_string_file does not go together with device_id, certificate_file and key_file: "
                        + "the gateway signs in with a key or with a certificate")
            }
            return .connectionStringFile(string)
        }
        if let device, let certificate, let key {
            return .certificate(device: device, certificateFile: certificate, keyFile: key)
        }
        if section.isPresent {
            section.problem(
                "needs connection_string_file, or all three of device_id, certificate_file and key_file, so that the "
                    + "gateway can sign in")
        }
        return .connectionStringFile("")
    }
}
