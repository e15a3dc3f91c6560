public import HubTLS
public import NIOCore
import Primitives

/// Lets connections through to TLS: all are accepted at once, and a bounded number is in a handshake at a time. One for
/// all ports of the hub, because they share its processors.
public final class HandshakeAdmission: Sendable {
    /// What a port does with a connection. Each is called on the connection's loop, at most once.
    public struct Visit {
        let makeTLS: (TLSWire) throws -> TLSHandler
        let opened: (any Channel) throws -> Void
        let failed: (any Error, SocketAddress?) -> Void

        /// - Parameters:
        ///   - makeTLS: what the handshake begins with, made when its turn comes.
        ///   - opened: the handshake is done: adds what comes behind TLS, and sees the event of it go by.
        ///   - failed: a handshake, or a connection before it, has come to nothing; says so in the log.
        public init(
            makeTLS: @escaping (TLSWire) throws -> TLSHandler, opened: @escaping (any Channel) throws -> Void,
            failed: @escaping (any Error, SocketAddress?) -> Void
        ) {
            self.makeTLS = makeTLS
            self.opened = opened
            self.failed = failed
        }
    }

    private let limits: HandshakeLimits
    private let loops: [ObjectIdentifier: NIOLoopBoundBox<HandshakeLoop?>]
    private let ledger = HandshakeLedger()

    /// - Parameter group: all connections run on its loops.
    public init(limits: HandshakeLimits, group: any EventLoopGroup) {
        self.limits = limits
        loops = Dictionary(
            uniqueKeysWithValues: group.makeIterator().map {
                (ObjectIdentifier($0), NIOLoopBoundBox.makeEmptyBox(valueType: HandshakeLoop.self, eventLoop: $0))
            })
    }

    public var counts: HandshakeCounts { ledger.counts }

    /// A connection was accepted: TLS begins when its turn comes. Call it on the channel's loop with an empty pipeline.
    public func admit(_ channel: any Channel, _ visit: Visit) throws {
        guard let box = loops[ObjectIdentifier(channel.eventLoop)] else {
            preconditionFailure("a connection runs on a loop of the listeners' own group")
        }
        let loop: HandshakeLoop
        if let present = box.value {
            loop = present
        } else {
            loop = HandshakeLoop(limits: limits, eventLoop: channel.eventLoop, ledger: ledger)
            box.value = loop
        }
        try channel.pipeline.syncOperations.addHandler(HandshakeDoor(loop: loop, visit: visit))
    }

    /// Closes whoever is not through.
    public func stop() {
        for box in loops.values {
            box.eventLoop.execute { box.value?.closeAll() }
        }
    }
}

/// Why a connection came to nothing before or in its handshake, by the hub's own decision.
enum HandshakeRefusal: Error, Equatable {
    /// Too many waited that came later.
    case crowdedOut
    /// Too many were as slow that came later.
    case crowdedOutSlow
    case timedOut(HandshakeQueue.Expiry)
}
