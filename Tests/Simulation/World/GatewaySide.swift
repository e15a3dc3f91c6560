package import EventLog
package import Primitives

/// What a gateway is like, drawn by the seed.
package struct GatewayTraits: Sendable {
    package var quotaBytes = 64 * 1024 * 1024
    package var timeToLive: Duration?
    package var hasClockChip = true
    package var isDisciplined = true
    /// Begins in 1970, and nobody has ever told it the time.
    package var isNew = false
    /// Readings of one delivery, at most.
    package var readingsMax = 4
    package var replayKeep = Duration.seconds(86_400)

    package init() {}
}

package struct GatewayOrder {
    package let name: DeviceID
    package let sensors: [DeviceID]
    package let folder: String
    package let hub: any HubSide
    package let key: [UInt8]
    package let traits: GatewayTraits

    package init(
        name: DeviceID, sensors: [DeviceID], folder: String, hub: any HubSide, key: [UInt8], traits: GatewayTraits
    ) {
        self.name = name
        self.sensors = sensors
        self.folder = folder
        self.hub = hub
        self.key = key
        self.traits = traits
    }
}

/// A gateway, seen from who makes trouble for it and looks at it in the end.
package protocol GatewaySide: AnyObject {
    var name: DeviceID { get }
    var network: SimNetwork { get }
    var disk: Int32 { get }
    var isQuiet: Bool { get set }
    var isUp: Bool { get }
    var isPowered: Bool { get }
    /// Nothing waits. `nil` while nobody can say.
    var isEmpty: Bool? { get }
    var summary: String { get }
    var acceptedCount: Int { get }
    func start()
    func stop()
    func kill()
    func cutPower()
    func restorePower()
    func jump(by duration: Duration)
    func synchroniseClock()
    func check(afterStartOf log: any EventLog)
    func check(atEndOf log: any EventLog)
}

/// The gateway's rooms use the system's OpenSSL and the hub's use BoringSSL, and no module can see the headers of both. So
/// who runs a simulation knows only these protocols, and the gateway's side is entered here when it is registered.
package enum GatewayFactory {
    nonisolated(unsafe) package static var make: ((World, GatewayOrder) -> any GatewaySide)?
}
