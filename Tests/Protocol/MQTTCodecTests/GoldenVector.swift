import Foundation
import MQTTCodec
import NIOCore
import Primitives
import Testing

/// One folder below Tests/Golden/mqtt: bytes in commented hex, and beside them what they have to give.
struct GoldenVector: Sendable, CustomTestStringConvertible {
    let folder: URL
    let wire: [UInt8]

    var name: String { folder.lastPathComponent }
    var testDescription: String { name }

    static func all(in area: String) -> [GoldenVector] {
        let root = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "../../Golden/mqtt/\(area)").standardizedFileURL
        let names = (try? FileManager.default.contentsOfDirectory(atPath: root.path())) ?? []
        return names.sorted().map { GoldenVector(folder: root.appending(path: $0)) }
    }

    private init(folder: URL) {
        self.folder = folder
        let text = (try? String(contentsOf: folder.appending(path: "wire.hex"), encoding: .utf8)) ?? ""
        let digits = text.split(separator: "\n")
            .map { $0.prefix { $0 != "#" } }.joined().filter { !$0.isWhitespace }
        wire = Hex.decode(digits) ?? []
    }

    /// The expectation; a missing one is written from `actual`, to be read and committed, and reported as missing.
    func expectation(_ file: String, actual: String) throws -> String? {
        let url = folder.appending(path: file)
        guard FileManager.default.fileExists(atPath: url.path()) else {
            try (actual + "\n").write(to: url, atomically: true, encoding: .utf8)
            return nil
        }
        return try String(contentsOf: url, encoding: .utf8).trimmingCharacters(in: .newlines)
    }
}

/// A packet as lines of text, one field a line.
func lines(of packet: Packet) -> String {
    var lines = ["\(packet.type)"]
    switch packet {
    case .connect(let connect):
        lines.append("client identifier: \(quoted(connect.clientID))")
        lines.append("clean session: \(connect.isCleanSession)")
        lines.append("keep alive: \(connect.keepAliveSeconds) s")
        if let will = connect.will {
            lines.append("will topic: \(quoted(will.topicName))")
            lines.append("will message: \(Hex.encode(will.payload))")
            lines.append("will QoS: \(will.qos.rawValue), retained: \(will.isRetained)")
        }
        if let userName = connect.userName { lines.append("user name: \(quoted(userName))") }
        if let password = connect.password { lines.append("password: \(Hex.encode(password.bytes))") }
    case .connAck(let connAck):
        lines.append("session present: \(connAck.isSessionPresent)")
        lines.append("return code: \(connAck.code)")
    case .publish(let publish):
        lines.append("topic: \(quoted(publish.topicName))")
        lines.append("QoS: \(publish.qos.rawValue)")
        lines.append("duplicate: \(publish.isDuplicate), retained: \(publish.isRetained)")
        if let id = publish.packetID { lines.append("packet identifier: \(id)") }
        let payload = Hex.encode(publish.payload.readableBytesView)
        lines.append("payload: \(payload.isEmpty ? "empty" : payload)")
    case .pubAck(let id), .pubRec(let id), .pubRel(let id), .pubComp(let id), .unsubAck(let id):
        lines.append("packet identifier: \(id)")
    case .subscribe(let subscribe):
        lines.append("packet identifier: \(subscribe.packetID)")
        for request in subscribe.requests {
            lines.append("topic filter: \(quoted(request.topicFilter)) at QoS \(request.qosMax.rawValue)")
        }
    case .subAck(let subAck):
        lines.append("packet identifier: \(subAck.packetID)")
        for code in subAck.codes { lines.append("return code: \(code)") }
    case .unsubscribe(let unsubscribe):
        lines.append("packet identifier: \(unsubscribe.packetID)")
        for filter in unsubscribe.topicFilters { lines.append("topic filter: \(quoted(filter))") }
    case .pingReq, .pingResp, .disconnect:
        break
    }
    return lines.joined(separator: "\n")
}

private func quoted(_ text: String) -> String {
    "\"" + text.unicodeScalars.map { $0.value < 0x7F ? String($0) : $0.escaped(asASCII: true) }.joined() + "\""
}
