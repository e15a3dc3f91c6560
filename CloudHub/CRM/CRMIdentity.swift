import Crypto
public import Primitives

/// Row ids that are the same whoever computes them and however often: name-based ids under the hub's own id.
public enum CRMIdentity {
    /// The id of a fault's `msdyn_iotalert`.
    public static func alert(hub: UniqueID, fault: UniqueID) -> UniqueID { named(fault.description, hub) }

    /// The id of a device's `msdyn_iotdevice`, when the hub creates it.
    public static func device(hub: UniqueID, device: DeviceID) -> UniqueID { named(device.text, hub) }

    private static func named(_ name: String, _ hub: UniqueID) -> UniqueID {
        UniqueID.named(name, in: hub) { Array(Insecure.SHA1.hash(data: $0)) }
    }
}
