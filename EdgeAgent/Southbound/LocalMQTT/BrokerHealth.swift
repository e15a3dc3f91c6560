import Primitives

/// Which devices behind a broker are heard. A device whose messages cannot be read is heard all the same; one that
/// falls silent is a matter for a rule, not for the driver.
struct BrokerHealth {
    static let devicesMax = 4096

    private enum State { case unknown, heard, lost }

    private var states: [DeviceID: State] = [:]
    private var answering: [DeviceID] = []

    /// A device of the configuration.
    mutating func heardOf(_ device: DeviceID) {
        if states[device] == nil, states.count < Self.devicesMax { states[device] = .unknown }
    }

    /// A message of the device was read. True when it was not heard before, or not since the broker was lost.
    mutating func heard(_ device: DeviceID) -> Bool {
        if states[device] == .heard { return false }
        guard states[device] != nil || states.count < Self.devicesMax else { return false }
        states[device] = .heard
        answering.append(device)
        return true
    }

    /// Devices to be reported as answering; asked once a delivery.
    mutating func takeAnswering() -> [DeviceID] {
        defer { answering = [] }
        return answering
    }

    /// The broker is gone for longer than one try: the devices to be reported as silent.
    mutating func brokerLost() -> [DeviceID] {
        let newlyLost = states.filter { $0.value != .lost }.map(\.key).sorted()
        for device in newlyLost { states[device] = .lost }
        answering = []
        return newlyLost
    }

    /// The report could not be kept: it is due again.
    mutating func notReported(_ devices: [DeviceID]) {
        for device in devices { states[device] = .unknown }
    }
}
