internal import Primitives

/// 64 random bits made with an outbox file: a re-flashed card starts a new epoch, so sequences never meet twice.
public struct Epoch: Hashable, Sendable, CustomStringConvertible {
    public let value: UInt64

    public init(value: UInt64) { self.value = value }

    /// Reads exactly 16 hex digits, either case.
    public init?(_ text: some StringProtocol) {
        guard text.utf8.count == 16 else { return nil }
        var value: UInt64 = 0
        for byte in text.utf8 {
            guard let digit = Hex.digit(byte) else { return nil }
            value = value << 4 | UInt64(digit)
        }
        self.value = value
    }

    /// 16 lower-case hex digits.
    public var text: String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    public var description: String { text }
}

/// Consecutive sequence numbers: `start`, `start + 1`, … `count` of them.
///
/// A run never traps, whatever it was made of: a count of 0 is empty, and what would pass the largest number ends there.
public struct Run: Hashable, Sendable, CustomStringConvertible {
    public let start: UInt64
    public let count: UInt64

    public init(start: UInt64, count: UInt64) {
        self.start = start
        self.count = count
    }

    public var isEmpty: Bool { count == 0 }

    /// The last number in it; `start` when it is empty.
    public var last: UInt64 {
        guard count > 0 else { return start }
        let (sum, overflow) = start.addingReportingOverflow(count - 1)
        return overflow ? .max : sum
    }

    public func contains(_ sequence: UInt64) -> Bool { count > 0 && sequence >= start && sequence <= last }

    public var description: String { count == 1 ? "\(start)" : "\(start)+\(count)" }
}

extension Run {
    /// The runs of rising numbers, neighbours joined.
    public static func joining(_ sequences: some Sequence<UInt64>) -> [Run] {
        var runs: [Run] = []
        for sequence in sequences {
            if let run = runs.last, sequence > run.start, sequence - run.start == run.count {
                runs[runs.count - 1] = Run(start: run.start, count: run.count + 1)
            } else {
                runs.append(Run(start: sequence, count: 1))
            }
        }
        return runs
    }
}
