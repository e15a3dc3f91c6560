import HubContract
import NIOCore
import Sessions

/// The door through which other threads reach a connection.
final class ConnectionLink: DeviceLink {
    let identity: HubIdentity
    private let eventLoop: any EventLoop
    private let connection: NIOLoopBound<WeakConnection>

    init(identity: HubIdentity, connection: MQTTConnection, eventLoop: any EventLoop) {
        self.identity = identity
        self.eventLoop = eventLoop
        self.connection = NIOLoopBound(WeakConnection(connection), eventLoop: eventLoop)
    }

    func deliver(_ message: DeviceBound, to target: HubIdentity) {
        onLoop { [identity] in $0.deliver(message, to: target == identity ? nil : target) }
    }

    /// Runs on the connection's loop; not at all when the connection is gone.
    func onLoop(_ body: @escaping @Sendable (MQTTConnection) -> Void) {
        let connection = connection
        eventLoop.execute {
            if let connection = connection.value.value { body(connection) }
        }
    }
}

/// A connection that is gone is nobody's business: what is sent to it is dropped.
struct WeakConnection {
    weak var value: MQTTConnection?

    init(_ value: MQTTConnection) { self.value = value }
}
