import NIOCore
import Primitives
import Tunnels
import WebSocketCodec

private let frameBytesMax = 512
private let pingBytesMax = limit(125, canary: 12)
private let documentBytesMax = 512

/// libFuzzer calls this with bytes of its own making: what a client sends to the hub, what a server or proxy sends to the
/// gateway, and data for both ends to frame. The two ends share no code, so each is held against the other.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = fuzzed(start, count)
    fuzzServer(bytes)
    fuzzClient(bytes)
    fuzzHeads(bytes)
    checkBothWays(bytes)
    return 0
}

// MARK: - The hub's decoder

private struct Served: Equatable {
    var data: [UInt8] = []
    var events: [WebSocketDecoder.Event] = []
    var error: WebSocketError?
}

private func fuzzServer(_ bytes: [UInt8]) {
    let whole = serve([bytes[...]])
    hold(whole == serve(pieces(of: bytes)), "the cut of the stream changed what a server reads")
    hold(whole.data.count <= bytes.count, "more came out than went in")
    let closes = whole.events.count { if case .close = $0 { true } else { false } }
    hold(closes <= 1 && (closes == 0 || whole.error == nil), "something was read behind the end")
}

private func serve(_ stream: [ArraySlice<UInt8>]) -> Served {
    var decoder = WebSocketDecoder(frameBytesMax: frameBytesMax)
    var served = Served()
    var output = ByteBuffer()
    do throws(WebSocketError) {
        for piece in stream {
            var input = ByteBuffer(bytes: piece)
            while let event = try decoder.next(from: &input, into: &output) {
                if case .ping(let payload) = event {
                    hold(payload.readableBytes <= pingBytesMax, "the limit of pings is passed")
                }
                served.events.append(event)
            }
            hold(input.readableBytes == 0, "bytes were left without an event")
        }
    } catch {
        hold(!error.description.isEmpty && (1002...1009).contains(error.closeCode), "an error without words or code")
        served.error = error
    }
    served.data = Array(output.readableBytesView)
    return served
}

// MARK: - The gateway's decoder

private struct Heard: Equatable {
    var data: [UInt8] = []
    var answers: [UInt8] = []
    var error: TunnelError?
}

private func fuzzClient(_ bytes: [UInt8]) {
    let whole = hear([bytes[...]])
    hold(whole == hear(pieces(of: bytes)), "the cut of the stream changed what a client reads")
    hold(whole.data.count <= bytes.count, "more came out than went in")
}

private func hear(_ stream: [ArraySlice<UInt8>]) -> Heard {
    var frames = WebSocketFrames()
    var (input, answers) = (ByteQueue(), ByteQueue())
    var heard = Heard()
    do throws(TunnelError) {
        for piece in stream {
            input.append(contentsOf: Array(piece))
            while let data = try frames.next(from: &input, mask: 0x0102_0304, answersInto: &answers) {
                hold(!data.isEmpty, "a piece of data without data")
                heard.data += data
            }
            hold(input.count < 10 + 126, "more is kept than a header and a control frame")
        }
    } catch {
        heard.error = error
    }
    heard.answers = answers.withBytes { Array($0) }
    return heard
}

private func fuzzHeads(_ bytes: [UInt8]) {
    bytes.withUnsafeBytes { bytes in
        if let (head, count) = try? ResponseHead.read(bytes) {
            hold((100...999).contains(head.status) && count <= bytes.count, "a head that cannot be")
        }
    }
    var input = ByteQueue()
    input.append(contentsOf: bytes)
    _ = try? ProxyTunnel.opened(&input)
    let upgrade = WebSocketUpgrade(host: "hub", port: 443, nonce: Array(repeating: 7, count: 16))
    _ = try? upgrade.opened(&input) { _ in Array(repeating: 0, count: 20) }
    fuzzDocument(bytes)
}

private func fuzzDocument(_ bytes: [UInt8]) {
    let whole = fetch([bytes[...]])
    // What is too long may be told before or after what is malformed.
    let cut = fetch(pieces(of: bytes))
    hold(whole?.body == cut?.body, "the cut of the stream changed the document")
    hold((whole?.body?.count ?? 0) <= documentBytesMax, "the limit of documents is passed")
}

/// `nil` when it is refused.
private func fetch(_ stream: [ArraySlice<UInt8>]) -> WebDocument? {
    var document = WebDocument(bytesMax: 512)
    do throws(TunnelError) {
        for piece in stream { try document.received(piece) }
        try document.ended()
    } catch { return nil }
    return document
}

// MARK: - Each end against the other

private func checkBothWays(_ bytes: [UInt8]) {
    let mask = bytes.prefix(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
    let data = Array(bytes.prefix(frameBytesMax))
    var (plain, framed) = (ByteQueue(), ByteQueue())
    plain.append(contentsOf: data)
    WebSocketFrames().wrap(&plain, mask: mask, into: &framed)
    let up = serve(pieces(of: framed.withBytes { Array($0) }))
    hold(up.data == data && up.error == nil && up.events.isEmpty, "the hub reads other data than the gateway sent")
    var buffer = ByteBuffer()
    WebSocketFrame.writeHeader(.binary, length: bytes.count, into: &buffer)
    buffer.writeBytes(bytes)
    WebSocketFrame.writeClose(1000, into: &buffer)
    let down = hear(pieces(of: Array(buffer.readableBytesView)))
    hold(down.data == bytes && down.error == .closed(code: 1000), "the gateway reads other data than the hub sent")
}
