import HubContract
import Primitives

/// Why an open connection may not stay.
public enum AccessLoss: Sendable, Equatable {
    case removed
    case disabled
    case credentialsChanged

    /// Who lost access by this change of one device.
    static func between(_ before: DeviceEntry?, _ after: DeviceEntry?) -> [(HubIdentity, AccessLoss)] {
        guard let before else { return [] }
        let modulesBefore = before.modules.values.compactMap { module in
            HubIdentity("\(before.device.id)/\(module.id)").map { (module, $0) }
        }
        let own = HubIdentity(before.device.id)
        guard let after, after.device.generationID == before.device.generationID else {
            return [(own, .removed)] + modulesBefore.map { ($0.1, .removed) }
        }
        if after.device.status == .disabled, before.device.status == .enabled {
            return [(own, .disabled)] + modulesBefore.map { ($0.1, .disabled) }
        }
        var losses: [(HubIdentity, AccessLoss)] = []
        if !after.device.authentication.isSame(as: before.device.authentication) {
            losses.append((own, .credentialsChanged))
        }
        for (module, identity) in modulesBefore {
            guard let now = after.modules[module.id], now.generationID == module.generationID else {
                losses.append((identity, .removed))
                continue
            }
            if !now.authentication.isSame(as: module.authentication) { losses.append((identity, .credentialsChanged)) }
        }
        return losses
    }
}
