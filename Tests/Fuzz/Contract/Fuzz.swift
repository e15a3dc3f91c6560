import HubContract
import Primitives

private let propertiesMax = limit(PropertyBag.entriesMax, canary: 14)

/// libFuzzer calls this with bytes of its own making, which are read as everything short that a peer may send: topics,
/// filters, property bags, tokens, user names, connection strings, paths. What one reader understood, its writer writes,
/// and it is read as the same again.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = fuzzed(start, count)
    let text = String(decoding: bytes, as: UTF8.self)
    for identity in identities {
        checkPublish(text, from: identity)
        checkTelemetry(Array(text.utf8), from: identity)
        checkDelivery(text, to: identity)
        checkFilter(text, from: identity)
    }
    checkBag(text)
    checkCredentials(text)
    checkWords(text, bytes)
    return 0
}

private let identities: [HubIdentity] = {
    guard let device = DeviceID("dev-1"), let module = HubIdentity(device, module: "m") else {
        fatalError("these are ids")
    }
    return [HubIdentity(device), module]
}()

private func checkPublish(_ text: String, from identity: HubIdentity) {
    do throws(TopicError) {
        let (child, asked) = try HubTopics.publish(text, from: identity)
        let topic: String
        switch asked {
        case .telemetry: return
        case .twinGet(let rid): topic = HubTopics.twinGet(rid: rid)
        case .reportedPatch(let rid, let version):
            hold(version ?? 0 >= 0, "a version below zero")
            topic = HubTopics.reportedPatch(rid: rid, ifVersion: version)
        case .methodResponse(let status, let rid): topic = HubTopics.methodResponse(status: status, rid: rid)
        case .timeGet(let rid): topic = HubTopics.timeGet(rid: rid)
        }
        guard let again = try? HubTopics.publish(child.map { HubTopics.child($0, topic) } ?? topic, from: identity)
        else { fatalError("a written topic cannot be read") }
        hold(again == (child, asked), "a written topic is read as another")
    } catch {
        hold(!error.description.isEmpty && error.topic.count <= 256, "an error without words, or with too many")
    }
}

/// The reader that every message passes and the one for all topics agree.
private func checkTelemetry(_ bytes: [UInt8], from identity: HubIdentity) {
    let range = bytes.withUnsafeBytes { TelemetryTopic(of: identity).bagRange(in: $0) }
    var bag: String?
    if let (child, asked) = try? HubTopics.publish(String(decoding: bytes, as: UTF8.self), from: identity),
        child == nil, case .telemetry(let bagText) = asked
    {
        bag = bagText
    }
    hold(range.map { String(decoding: bytes[$0], as: UTF8.self) } == bag, "two readers of telemetry topics disagree")
}

private func checkDelivery(_ text: String, to identity: HubIdentity) {
    guard let (child, publish) = try? HubTopics.delivery(text, to: identity) else { return }
    guard case .twinResponse(let status, let rid, let version) = publish else { return }
    let topic = HubTopics.twinResponse(rid: rid, status: status, version: version)
    guard let again = try? HubTopics.delivery(child.map { HubTopics.child($0, topic) } ?? topic, to: identity) else {
        fatalError("a written answer cannot be read")
    }
    hold(again == (child, publish), "a written answer is read as another")
}

private func checkFilter(_ text: String, from identity: HubIdentity) {
    guard let (scope, kind) = try? HubTopics.subscription(text, from: identity) else { return }
    hold(identity.module == nil || scope == .own, "a module subscribed for a child")
    hold(identity.module != nil || kind != .moduleInputs, "a device subscribed to a module's inputs")
}

private func checkBag(_ text: String) {
    let body = text.hasPrefix("?") ? String(text.dropFirst()) : text
    guard let bag = try? PropertyBag(parsing: body) else { return }
    hold(bag.entries.count <= propertiesMax, "the limit of properties is passed")
    hold((try? PropertyBag(parsing: bag.encoded())) == bag, "a written bag is read as another")
    guard !body.hasPrefix("?") else { return }
    let isThere = Array(body.utf8).withUnsafeBytes { PropertyBag.contains(name: "$.ct", value: "a/b", inRaw: $0) }
    hold(isThere == bag.entries.contains(.init("$.ct", "a/b")), "two readers of a bag disagree")
}

private func checkCredentials(_ text: String) {
    if let token = try? SASToken(parsing: text) {
        hold(token.expiry >= 0 && !token.resource.isEmpty && !token.signature.isEmpty, "a token that cannot be")
        _ = token.covers(host: "h", path: ["devices", "dev-1"])
        _ = token.isExpired(at: WallInstant(milliseconds: 0))
        _ = token.isSigned(by: [1]) { key, message in key + message.prefix(31) }
    }
    if let name = try? ConnectUserName(parsing: text) {
        guard let again = try? ConnectUserName(parsing: name.text) else { fatalError("a written name cannot be read") }
        hold(again.identity == name.identity && again.host == name.host, "a written user name is read as another")
    }
    if let string = try? ConnectionString(parsing: text) {
        let written = string.text(revealingKey: true)
        hold((try? ConnectionString(parsing: written))?.text(revealingKey: true) == written, "a string lost something")
        hold(string.sharedAccessKey == nil || string.text(revealingKey: false).contains("<secret>"), "a key is shown")
    }
}

private func checkWords(_ text: String, _ bytes: [UInt8]) {
    hold(Base64.decode(Base64.encode(bytes)) == bytes, "Base64 lost something")
    hold(PercentEncoding.decode(PercentEncoding.encode(text)) == text, "percent encoding lost something")
    _ = Base64.decode(text)
    _ = PercentEncoding.decode(text)
    if let segments = try? RequestPath.segments(text) {
        hold(segments.count <= RequestPath.segmentsMax, "more segments than the limit")
    }
    _ = RequestPath.hasParameter("api-version", inQuery: text)
    _ = ETagCondition(header: text)
    if let id = UniqueID(text) { hold(UniqueID(id.description) == id, "a written id is read as another") }
    if let instant = WallInstant(text) {
        hold(WallInstant(instant.description) == instant, "a written time is another")
    }
}
