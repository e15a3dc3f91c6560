internal import Primitives

/// The packets that a client sends, as bytes. Source: MQTT 3.1.1 section 3.
extension ByteQueue {
    /// Section 3.1. Clean session is off: the server keeps what it has for us while we are away.
    mutating func appendConnect(_ login: ClientLogin) {
        let password = login.password?.bytes
        let userBytes = login.userName.map { 2 + $0.utf8.count } ?? 0
        appendHeader(
            0x10, bodyBytes: 10 + 2 + login.clientID.utf8.count + userBytes + (password.map { 2 + $0.count } ?? 0))
        appendText("MQTT")
        append(4)
        append((login.userName == nil ? 0 : 0x80) | (password == nil ? 0 : 0x40))
        appendInteger(login.keepAliveSeconds)
        appendText(login.clientID)
        if let userName = login.userName { appendText(userName) }
        if let password {
            appendInteger(UInt16(password.count))
            append(contentsOf: password)
        }
    }

    /// Section 3.3, at QoS 1.
    mutating func appendPublish(_ topic: String, _ payload: [UInt8], id: UInt16, isRetained: Bool) {
        appendHeader(isRetained ? 0x33 : 0x32, bodyBytes: 2 + topic.utf8.count + 2 + payload.count)
        appendText(topic)
        appendInteger(id)
        append(contentsOf: payload)
    }

    /// Section 3.4.
    mutating func appendPubAck(_ id: UInt16) {
        appendHeader(0x40, bodyBytes: 2)
        appendInteger(id)
    }

    /// Section 3.8.
    mutating func appendSubscribe(_ filters: [ClientFilter], id: UInt16) {
        appendHeader(0x82, bodyBytes: filters.reduce(2) { $0 + 2 + $1.text.utf8.count + 1 })
        appendInteger(id)
        for filter in filters {
            appendText(filter.text)
            append(filter.qualityOfService)
        }
    }

    mutating func appendPing() { appendHeader(0xC0, bodyBytes: 0) }
    mutating func appendDisconnect() { appendHeader(0xE0, bodyBytes: 0) }

    /// First byte and remaining length, seven bits a byte, the lowest first. Source: section 2.2.3.
    private mutating func appendHeader(_ firstByte: UInt8, bodyBytes: Int) {
        append(firstByte)
        var left = bodyBytes
        while left > 127 {
            append(UInt8(left & 127) | 0x80)
            left >>= 7
        }
        append(UInt8(left))
    }

    private mutating func appendInteger(_ value: UInt16) {
        append(UInt8(value >> 8))
        append(UInt8(value & 0xFF))
    }

    /// The caller holds it under 64 KiB.
    private mutating func appendText(_ text: String) {
        appendInteger(UInt16(text.utf8.count))
        append(utf8: text)
    }
}
