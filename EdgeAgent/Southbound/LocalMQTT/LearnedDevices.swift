import Primitives
import SouthboundAPI

/// The devices that are known only because a message of theirs was read, so that a later run knows them from the start.
struct LearnedDevices {
    /// In the order in which they were learned; over the limit the oldest goes, and is learned again when it is heard.
    private(set) var devices: [DeviceID]
    /// What no delivery has yet.
    private(set) var isChanged = false
    private let configured: Set<DeviceID>
    private let countMax: Int

    init(kept: [DeviceID], configured: Set<DeviceID>, countMax: Int = Delivery.learnedMax) {
        devices = kept.suffix(countMax).filter { !configured.contains($0) }
        self.configured = configured
        self.countMax = countMax
    }

    /// Cost: O(devices); to be asked when a device is heard for the first time, not for every message.
    mutating func heard(_ device: DeviceID) {
        guard !configured.contains(device), !devices.contains(device) else { return }
        if devices.count >= countMax { devices.removeFirst() }
        devices.append(device)
        isChanged = true
    }

    /// A delivery has them.
    mutating func wereHandedOver() { isChanged = false }

    /// The delivery that had them was refused.
    mutating func wereRefused() { isChanged = true }
}
