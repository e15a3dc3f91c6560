import HubContract
import NIOCore
import Sessions

/// The door through which other threads reach a connection.
final class ConnectionLink: DeviceLink {
    let identity: HubIdentity
    private let grant: ConnectGrant
    private let eventLoop: any EventLoop
    // Emptied when the socket is gone. Not a weak reference: those make every retain of the connection slower.
    private let connection: NIOLoopBoundBox<MQTTConnection?>

    /// Call it on the connection's loop.
    init(identity: HubIdentity, grant: ConnectGrant, connection: MQTTConnection, eventLoop: any EventLoop) {
        self.identity = identity
        self.grant = grant
        self.eventLoop = eventLoop
        self.connection = NIOLoopBoundBox(connection, eventLoop: eventLoop)
    }

    var objection: DisconnectReason? { grant.objection() }

    /// The socket is gone: what is sent to it from now on is dropped. Call it on the connection's loop.
    func cut() { connection.value = nil }

    func deliver(_ message: DeviceBound, to target: HubIdentity) {
        onLoop { [identity] in $0.deliver(message, to: target == identity ? nil : target) }
    }

    /// Runs on the connection's loop; not at all when the connection is gone.
    func onLoop(_ body: @escaping @Sendable (MQTTConnection) -> Void) {
        let connection = connection
        eventLoop.execute {
            if let connection = connection.value { body(connection) }
        }
    }
}
