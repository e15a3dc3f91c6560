/// What a device can subscribe to. The raw value is what stores keep; never rename one.
public enum DeviceSubscription: String, CaseIterable, Codable, Sendable {
    case cloudToDevice
    case moduleInputs
    case methods
    case twinResponses
    case desiredChanges
    /// Fieldline's own: what of a gateway's batches was quarantined.
    case receipts
    /// Fieldline's own: what time it is.
    case timeResponses

    /// Whether a gateway may subscribe for its children as well.
    var isOfChildren: Bool { self != .receipts && self != .timeResponses }
}
