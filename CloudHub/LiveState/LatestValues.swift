public import Primitives
public import Telemetry

/// The newest value of each metric of each device. Pure; bounded in devices and in metrics of one device.
struct LatestValues {
    /// A device that reports more metrics than this keeps the ones that came first.
    static let metricsMax = 64
    /// Devices beyond this are not shown live; their events are in the log all the same.
    static let devicesMax = 100_000

    struct Device {
        var lastHeard: WallInstant
        var metrics: [String: LatestValue] = [:]
    }

    private(set) var devices: [DeviceID: Device] = [:]

    mutating func heard(_ device: DeviceID, at: WallInstant) {
        if devices[device] == nil, devices.count >= Self.devicesMax { return }
        devices[device, default: Device(lastHeard: at)].lastHeard = max(
            devices[device]?.lastHeard ?? at, at)
    }

    /// Keeps the value unless a newer one (by its own time) is there: back-fill never hides what is live.
    mutating func observed(_ value: LatestValue, of device: DeviceID, metric: String) {
        guard var entry = devices[device] else { return }
        if let known = entry.metrics[metric] {
            guard value.time >= known.time else { return }
        } else if entry.metrics.count >= Self.metricsMax {
            return
        }
        entry.metrics[metric] = value
        devices[device] = entry
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
