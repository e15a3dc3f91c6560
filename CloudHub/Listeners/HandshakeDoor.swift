import HubTLS
import NIOCore
import NIOTLS

/// What a connection's pipeline is before TLS: holds the first bytes, reads no more until the handshake's turn, watches
/// over the handshake, and leaves.
///
/// While it waits, a connection costs its channel, this object and what one read brought. The selector tells of a peer that
/// goes away, so nothing is begun for it.
final class HandshakeDoor: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer

    private enum State {
        /// Nothing came yet. Exits: `waiting`, `over`.
        case silent
        /// Exits: `begun`, `over`.
        case waiting(ByteBuffer)
        /// Exit: `over`.
        case begun
        /// No exit.
        case over
    }

    private let loop: HandshakeLoop
    private var visit: HandshakeAdmission.Visit?
    private var ticket: HandshakeQueue.Ticket?
    private var state = State.silent
    private var context: ChannelHandlerContext?

    init(loop: HandshakeLoop, visit: HandshakeAdmission.Visit) {
        self.loop = loop
        self.visit = visit
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        ticket = loop.arrived(self)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        end(isDone: false)
        self.context = nil
    }

    func channelInactive(context: ChannelHandlerContext) {
        end(isDone: false)
        context.fireChannelInactive()
    }

    // MARK: - Before the handshake

    func read(context: ChannelHandlerContext) {
        if case .waiting = state { return }
        context.read()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .silent = state, let ticket else {
            // What comes besides is what the selector read to the end of a peer that goes away.
            if case .begun = state { context.fireChannelRead(data) }
            return
        }
        state = .waiting(Self.unwrapInboundIn(data))
        loop.helloReceived(ticket)
    }

    /// Its turn has come.
    func begin() {
        guard case .waiting(let hello) = state, let context, let makeTLS = visit?.makeTLS else { return }
        state = .begun
        let operations = context.pipeline.syncOperations
        do {
            try operations.addHandler(makeTLS(loop.wire), position: .before(self))
        } catch {
            context.close(promise: nil)  // the channel is being torn down, or there is no memory
            return
        }
        operations.fireChannelRead(NIOAny(hello))
        operations.fireChannelReadComplete()
        if case .begun = state { context.read() }
    }

    /// The hub does not want it any more; the ticket has ended.
    func refuse(_ why: HandshakeRefusal) {
        ticket = nil  // the number may be another's by now
        visit?.failed(why, context?.remoteAddress)
        close()
    }

    func close() {
        let context = context
        end(isDone: false)
        // Not through TLS, which would wait for an answer to its farewell.
        let tls = try? context?.pipeline.syncOperations.context(handlerType: TLSHandler.self)
        (tls ?? context)?.close(promise: nil)
    }

    // MARK: - The handshake

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case .begun = state, case .handshakeCompleted? = event as? TLSUserEvent else {
            context.fireUserInboundEventTriggered(event)
            return
        }
        let opened = visit?.opened
        end(isDone: true)
        do {
            try opened?(context.channel)
        } catch {
            context.close(promise: nil)  // the hub is stopping
            return
        }
        context.fireUserInboundEventTriggered(event)
        context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard case .begun = state else {
            context.close(promise: nil)
            return
        }
        let failed = visit?.failed
        end(isDone: false)
        failed?(error, context.remoteAddress)
        context.close(promise: nil)
    }

    private func end(isDone: Bool) {
        if case .over = state { return }
        state = .over
        visit = nil
        if let ticket { loop.ended(ticket, isDone: isDone) }
    }
}
