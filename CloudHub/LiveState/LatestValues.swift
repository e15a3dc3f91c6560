import JSON
public import Primitives
public import Telemetry

/// The newest value of each metric of each device. Pure; bounded in devices and in metrics of one device.
///
/// Plain telemetry is kept as it came and read only when somebody looks: of messages of one shape the newest says all.
struct LatestValues {
    /// A device that reports more metrics than this keeps the ones that came first.
    static let metricsMax = 64
    /// Devices beyond this are not shown live; their events are in the log all the same.
    static let devicesMax = 100_000
    /// Messages of a device that wait to be read; one more, and they are.
    static let unreadMax = 8
    /// Longer messages are read at once. Bounds what a device holds.
    static let unreadBytesMax = 1024

    struct Device {
        var lastHeard: WallInstant
        var metrics: [String: LatestValue] = [:]
        /// Plain messages of different shapes, oldest first.
        fileprivate var unread: [Message] = []
    }

    fileprivate struct Message {
        let shape: UInt64
        var time: WallInstant
        var body: [UInt8]
    }

    private(set) var devices: [DeviceID: Device] = [:]

    mutating func heard(_ device: DeviceID, at: WallInstant) { _ = entry(of: device, heardAt: at) }

    /// Keeps the value unless a newer one (by its own time) is there: back-fill never hides what is live.
    mutating func observed(_ value: LatestValue, of device: DeviceID, metric: String) {
        guard let entry = devices.index(forKey: device) else { return }
        devices.values[entry].observed(value, metric: metric)
    }

    /// A JSON object, of which the members that are numbers, texts or booleans count; anything else is only heard.
    mutating func received(_ body: UnsafeRawBufferPointer, of device: DeviceID, at time: WallInstant) {
        guard let entry = entry(of: device, heardAt: time), let shape = try? JSONScanner.shape(of: body) else { return }
        devices.values[entry].keep(body, shape: shape, at: time)
    }

    /// What is known of a device, with everything read.
    mutating func latest(of device: DeviceID) -> Device? {
        guard let entry = devices.index(forKey: device) else { return nil }
        devices.values[entry].readAll()
        return devices.values[entry]
    }

    private mutating func entry(of device: DeviceID, heardAt time: WallInstant) -> Dictionary<DeviceID, Device>.Index? {
        if let entry = devices.index(forKey: device) {
            devices.values[entry].lastHeard = max(devices.values[entry].lastHeard, time)
            return entry
        }
        guard devices.count < Self.devicesMax else { return nil }
        devices[device] = Device(lastHeard: time)
        return devices.index(forKey: device)
    }
}

extension LatestValues.Device {
    fileprivate mutating func observed(_ value: LatestValue, metric: String) {
        if let known = metrics[metric] {
            guard value.time >= known.time else { return }
        } else if metrics.count >= LatestValues.metricsMax {
            return
        }
        metrics[metric] = value
    }

    fileprivate mutating func keep(_ body: UnsafeRawBufferPointer, shape: UInt64, at time: WallInstant) {
        var message: LatestValues.Message
        if let place = unread.firstIndex(where: { $0.shape == shape }) {
            message = unread.remove(at: place)
            message.body.removeAll(keepingCapacity: true)
            message.time = time
        } else {
            if unread.count == LatestValues.unreadMax { readAll() }
            message = LatestValues.Message(shape: shape, time: time, body: [])
        }
        message.body.append(contentsOf: body)
        unread.append(message)
        if body.count > LatestValues.unreadBytesMax { readAll() }
    }

    fileprivate mutating func readAll() {
        let messages = unread
        unread = []
        for message in messages {
            guard let object = (try? JSONValue(parsing: message.body))?.objectValue else { continue }
            for member in object.members {
                guard let value = Self.readingValue(member.value) else { continue }
                let latest = LatestValue(value: value, unit: nil, time: message.time, quality: .good)
                observed(latest, metric: member.key)
            }
        }
    }

    private static func readingValue(_ value: JSONValue) -> ReadingValue? {
        switch value {
        case .number(let number): DecimalText(number.text).map(ReadingValue.number)
        case .string(let text): .text(text)
        case .bool(let flag): .boolean(flag)
        case .null, .array, .object: nil
        }
    }
}

/// One value with what is needed to show it.
public struct LatestValue: Sendable, Equatable {
    public let value: ReadingValue
    public let unit: String?
    /// When it was measured, by the device's own word; by the hub's clock for plain telemetry.
    public let time: WallInstant
    public let quality: ReadingQuality

    public init(value: ReadingValue, unit: String?, time: WallInstant, quality: ReadingQuality) {
        self.value = value
        self.unit = unit
        self.time = time
        self.quality = quality
    }
}
