internal import CZstd

/// What telemetry batches have in common, known to both sides. Released ones never change.
public enum TelemetryDictionary: Int, CaseIterable, Sendable {
    case first = 1

    /// What stands in `$.ce` of a batch that was compressed with it.
    public var encoding: String { "zstd-fieldline-\(rawValue)" }

    public init?(encoding: String) {
        guard let found = Self.allCases.first(where: { $0.encoding == encoding }) else { return nil }
        self = found
    }

    /// Constant memory of the program.
    var bytes: UnsafeRawBufferPointer {
        switch self {
        case .first: UnsafeRawBufferPointer(start: telemetryDictionary1(), count: telemetryDictionary1Size())
        }
    }
}
