public import Primitives

/// How much back-fill may be on its way at once: as much as the link takes without keeping live readings waiting. Pure.
///
/// What is on its way stands before every live reading in the same connection. So the window grows while batches come
/// back quickly, and is halved when one took long beyond what the link needs anyway.
public struct BackfillPace: Sendable, Equatable {
    /// A batch that waits for longer than this, beyond the quickest one seen, halves the window.
    public static let delayMax = Duration.milliseconds(400)
    /// One that waits for less lets it grow.
    public static let delayGood = Duration.milliseconds(150)
    /// Always allowed, so that the back-fill ends on the slowest link, too.
    public static let bytesMin = 16 * 1024

    /// After this the quickest batch is looked for anew, with as little as possible on its way: the link may have changed.
    public static let lookAgain = Duration.seconds(60)

    private let bytesMax: Int
    public private(set) var windowBytes: Int
    private var quickest: Duration?
    private var quickestAt: MonotonicInstant?
    private var lastCut: MonotonicInstant?

    /// - Parameter bytesMax: what the window may grow to.
    public init(bytesMax: Int) {
        self.bytesMax = max(bytesMax, Self.bytesMin)
        // From below: a full link would hide how quick it is.
        windowBytes = Self.bytesMin
    }

    /// A batch of back-fill came back.
    public mutating func acknowledged(bytes: Int, sent: MonotonicInstant, now: MonotonicInstant) {
        let took = max(now - sent, .zero)
        if let quickestAt, now - quickestAt > Self.lookAgain, windowBytes > Self.bytesMin {
            windowBytes = Self.bytesMin
            quickest = nil
            self.quickestAt = nil
            lastCut = now
            return
        }
        if let lastCut, quickest == nil, sent < lastCut { return }
        if quickest.map({ took < $0 }) ?? true {
            quickest = took
            quickestAt = now
        } else if quickestAt == nil {
            quickestAt = now
        }
        let base = quickest ?? took
        if took > base + Self.delayMax {
            // Batches that were sent before the last cut say nothing about the window since then.
            if let lastCut, sent < lastCut { return }
            lastCut = now
            windowBytes = max(windowBytes / 2, Self.bytesMin)
        } else if took <= base + Self.delayGood {
            windowBytes = min(windowBytes + bytes, bytesMax)
        }
    }
}
