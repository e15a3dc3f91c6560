/// What every harness needs; compiled together with each.

/// As a precondition, but it keeps its message in an optimised build.
func hold(_ claim: Bool, _ message: StaticString) {
    if !claim { fatalError("\(message)") }
}

/// A limit that a harness holds. With `run.sh SECONDS canary` it is wrong on purpose: a fuzzer that cannot reach it finds
/// nothing. Messages about it begin with "the limit of".
func limit(_ real: Int, canary: Int) -> Int {
    #if CANARY
        canary
    #else
        real
    #endif
}

/// The bytes that libFuzzer made.
func fuzzed(_ start: UnsafePointer<UInt8>?, _ count: Int) -> [UInt8] {
    Array(UnsafeBufferPointer(start: start, count: count))
}

/// The same bytes in pieces, some dozens at the most; their first byte chooses how long those are.
func pieces(of bytes: [UInt8]) -> [ArraySlice<UInt8>] {
    let length = 1 + Int(bytes.first ?? 0) % 7 + bytes.count / 32
    return stride(from: 0, to: bytes.count, by: length).map { bytes[$0..<min($0 + length, bytes.count)] }
}
