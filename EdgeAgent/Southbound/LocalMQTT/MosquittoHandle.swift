import CMosquitto
import Glibc
import Primitives

/// One libmosquitto client, from `mosquitto_new` to `mosquitto_destroy`; one a connection.
///
/// The library is told that others drive its loop (`mosquitto_threaded_set`), so that nothing is written but in
/// `write()`. Destroying it closes the socket without a DISCONNECT and without writing what is queued.
struct MosquittoHandle: ~Copyable {
    private let client: OpaquePointer

    /// `mosquitto_lib_init` once a process; a static is made by whoever comes first.
    private static let library: Int32 = mosquitto_lib_init()

    /// - Parameter context: given to the callbacks; must outlive the handle.
    init?(clientID: String, cleanSession: Bool, context: UnsafeMutableRawPointer) {
        guard Self.library == MOSQ_ERR_SUCCESS.rawValue,
            let client = mosquitto_new(clientID, cleanSession, context)
        else { return nil }
        self.client = client
        mosquitto_threaded_set(client, true)
    }

    deinit { mosquitto_destroy(client) }

    struct Callbacks {
        let connected: @convention(c) (OpaquePointer?, UnsafeMutableRawPointer?, Int32, Int32) -> Void
        let received:
            @convention(c) (OpaquePointer?, UnsafeMutableRawPointer?, UnsafePointer<mosquitto_message>?) -> Void
        let confirmed: @convention(c) (OpaquePointer?, UnsafeMutableRawPointer?, Int32) -> Void
    }

    func set(_ callbacks: Callbacks) {
        mosquitto_connect_with_flags_callback_set(client, callbacks.connected)
        mosquitto_message_callback_set(client, callbacks.received)
        mosquitto_publish_callback_set(client, callbacks.confirmed)
    }

    func setCredentials(userName: String, password: Secret?) {
        let text = password.map { String(decoding: $0.bytes, as: UTF8.self) }
        mosquitto_username_pw_set(client, userName, text)
    }

    /// Begins a connection to a numeric address; the socket becomes writable when it stands.
    func connect(address: String, port: UInt16, keepAlive: Duration) -> Int32 {
        mosquitto_connect_async(client, address, Int32(port), Int32(keepAlive.components.seconds))
    }

    /// -1 when there is none.
    var socket: Int32 { mosquitto_socket(client) }
    var wantsWrite: Bool { mosquitto_want_write(client) }

    /// One packet or so; callbacks run inside.
    func read() -> Int32 { mosquitto_loop_read(client, 1) }
    /// Everything that is queued, as far as the socket takes it.
    func write() -> Int32 { mosquitto_loop_write(client, 1) }
    /// Keep-alive; about once a second.
    func tick() -> Int32 { mosquitto_loop_misc(client) }
    /// Queues a DISCONNECT.
    func disconnect() { mosquitto_disconnect(client) }

    /// Queues a QoS 1 publish and gives its message id.
    func publish(topic: String, payload: [UInt8], isRetained: Bool) -> (status: Int32, messageID: Int32) {
        var messageID: Int32 = 0
        let status = payload.withUnsafeBytes { bytes in
            mosquitto_publish(
                client, &messageID, topic, Int32(bytes.count), bytes.baseAddress, 1, isRetained)
        }
        return (status, messageID)
    }

    /// The library's words for a status, with the system's when that is where it comes from.
    static func text(of status: Int32) -> String {
        if status == MOSQ_ERR_ERRNO.rawValue { return String(cString: strerror(errno)) }
        return String(cString: mosquitto_strerror(status))
    }
}
