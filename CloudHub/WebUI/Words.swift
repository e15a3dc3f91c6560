import Primitives

/// Times as people say them.
enum Age {
    /// `just now`, `12 s ago`, `5 min ago`, `3 h ago`, `2 days ago`. A time ahead of `now` is `just now`.
    static func words(since instant: WallInstant, now: WallInstant) -> String {
        let seconds = (now - instant).components.seconds
        return switch seconds {
        case ..<3: "just now"
        case ..<120: "\(seconds) s ago"
        case ..<7200: "\(seconds / 60) min ago"
        case ..<172_800: "\(seconds / 3600) h ago"
        default: "\(seconds / 86_400) days ago"
        }
    }

    /// `12:33:24 UTC`, with the day before it when that is another one than today.
    static func clock(_ instant: WallInstant, now: WallInstant) -> String {
        let text = instant.description
        let day = text.prefix(10)
        let time = text.dropFirst(11).prefix(8)
        return now.description.hasPrefix(day) ? "\(time) UTC" : "\(day) \(time) UTC"
    }
}

/// What is wrong and what to do, in plain words.
enum Advice {
    static func text(_ alert: AlertDetail) -> String {
        guard alert.row.isOpen else { return "This is over. Nothing has to be done." }
        guard let device = alert.deviceNow else {
            return "The hub does not know this device any more. Close the alert on the service desk."
        }
        guard device.isEnabled else {
            return
                "The device is disabled on the hub, so nothing comes from it and no command reaches it. Enable it in the "
                + "registry if that was not meant."
        }
        guard device.isConnected else {
            return "The device is offline. A command waits for it for some minutes and is then given up. Check its "
                + "power and its connection\(device.gateway.isEmpty ? "" : ", and those of \(device.gateway)")."
        }
        if alert.row.title.contains("does not answer") {
            return "The gateway gets no answer from this device. Check its power and its cable. The alert closes by "
                + "itself as soon as it answers."
        }
        return "Send a command below, or visit the device. The alert closes by itself as soon as the cause is gone."
    }

    /// Of records that a gateway made and that are not here; empty when none are missing.
    static func missing(_ count: UInt64) -> String {
        switch count {
        case 0: ""
        case 1: "1 record of this gateway is missing. It comes by itself; if it does not, see the gateway's log."
        default: "\(count) records of this gateway are missing. They come by themselves; if not, see the gateway's log."
        }
    }

    /// Of records that a gateway made and that never come; empty when there are none.
    static func lost(_ count: UInt64) -> String {
        let why =
            "its store was full, they were too old, or it kept them no more. See edge-agent status on the gateway."
        return switch count {
        case 0: ""
        case 1: "1 record of this gateway was lost: \(why)"
        default: "\(count) records of this gateway were lost: \(why)"
        }
    }

    /// A command's state as a person says it: what is shown in its badge.
    static func badge(_ status: String) -> String {
        switch status {
        case "Sent": "done"
        case "Error": "failed"
        default: "on its way"
        }
    }

    /// What is said below a command; the desk's own reason once there is one.
    static func reason(_ command: CommandRow, device: DeviceRow?, now: WallInstant) -> String {
        guard command.reason.isEmpty else { return command.reason }
        guard command.status == "In Progress" else { return "" }
        let until = Age.clock(command.deadline, now: now)
        return device?.isConnected == true
            ? "being taken to the device; given up at \(until)"
            : "waits for the device, which is offline, until \(until)"
    }
}
