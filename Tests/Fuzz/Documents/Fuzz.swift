import HubContract
import JSON
import Primitives
import Telemetry

private let depthMax = limit(64, canary: 6)
private let twinDepthMax = 10

/// libFuzzer calls this with bytes of its own making, which are read as the documents that peers send: JSON, batches of
/// records, receipts, twin patches, bodies of the service API.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = fuzzed(start, count)
    checkBatch(bytes)
    checkReceipt(bytes)
    let value = try? JSONValue(parsing: bytes)
    checkScanner(bytes, isValue: value != nil)
    guard let value else { return 0 }
    hold(depth(value) <= depthMax, "the limit of nesting is passed")
    hold((try? JSONValue(parsing: value.serialized())) == value, "a written document is read as another")
    checkTwin(value)
    checkBodies(value)
    return 0
}

private func depth(_ value: JSONValue) -> Int {
    switch value {
    case .array(let elements): 1 + (elements.map(depth).max() ?? 0)
    case .object(let object): 1 + (object.members.map { depth($0.value) }.max() ?? 0)
    default: 0
    }
}

/// What looks for single values checks the whole text as the parser does.
private func checkScanner(_ bytes: [UInt8], isValue: Bool) {
    let numbers = isTaken { () throws(JSONError) in try JSONScanner.numbers(in: bytes) { _, _ in } }
    let scalar = isTaken { () throws(JSONError) in _ = try JSONScanner.scalar(at: "/a/0", in: bytes) }
    let shape = isTaken { () throws(JSONError) in _ = try JSONScanner.shape(of: bytes) }
    hold([numbers, scalar, shape].allSatisfy { $0 == isValue }, "a scanner and the parser disagree on what is JSON")
}

private func isTaken(_ body: () throws(JSONError) -> Void) -> Bool {
    do throws(JSONError) { try body() } catch { return false }
    return true
}

private func checkBatch(_ bytes: [UInt8]) {
    do throws(BatchError) {
        let batch = try Batch(parsing: bytes)
        guard let again = try? Batch(parsing: batch.encoded()) else { fatalError("a written batch cannot be read") }
        hold(again == batch, "a written batch is read as another")
    } catch {
        hold(!error.description.isEmpty, "an error without words")
    }
}

private func checkReceipt(_ bytes: [UInt8]) {
    guard let receipt = Receipt(parsing: bytes) else { return }
    hold(Receipt(parsing: receipt.encoded()) == receipt, "a written receipt is read as another")
}

private func checkTwin(_ value: JSONValue) {
    var twin = TwinDocument(at: .never)
    let now = WallInstant(milliseconds: 1_800_000_000_000)
    let before = twin
    do throws(HubError) {
        try twin.applyReported(value, at: now)
        hold(twin.reportedVersion == 2, "a patch did not count")
        // The section itself stands in the document, and so does what it nests.
        hold(depth(twin.deviceView()) <= twinDepthMax + 2, "a twin is deeper than the limit")
        let merged = twin.reported.properties
        try twin.applyReported(value, at: now)
        hold(twin.reported.properties == merged, "the same patch again changed something")
    } catch {
        hold(twin == before && error.httpStatus == 400, "a refused patch changed something")
    }
    if let change = try? twin.patch(["tags": value, "properties": ["desired": value]], at: now) {
        hold(change.version == twin.desiredVersion, "another version was told")
    }
    hold(TwinDocument(stored: twin.stored()) == twin, "a stored twin is read as another")
}

private func checkBodies(_ value: JSONValue) {
    guard let device = DeviceID("d") else { return }
    if let body = try? DeviceBody(parsing: value, for: HubIdentity(device)) { _ = body.json().serialized() }
    if let method = try? MethodBody(parsing: value) { hold(!method.name.isEmpty, "a method without a name") }
    if let list = try? BulkDeviceBody.list(parsing: value) {
        hold(list.count <= BulkDeviceBody.countMax, "more devices than the limit")
    }
}
