import Devices
import HubContract
import JSON
import Primitives
import Registry

extension ServiceAPI {
    func twin(_ who: HubIdentity, _ document: TwinDocument) throws(HubError) -> ServiceAnswer {
        guard let device = registry.device(who.device) else { throw Self.unknown(who) }
        var view = body(of: device)
        if let id = who.module {
            guard let module = registry.module(id, of: who.device), let body = body(of: module, in: who.device) else {
                throw Self.unknown(who)
            }
            view = body
        }
        return ServiceAnswer(json: view.twinJSON(document), etag: document.etag)
    }

    func invokeMethod(_ who: HubIdentity, _ call: ServiceCall) async throws(HubError) -> ServiceAnswer {
        let method = try MethodBody(parsing: try call.json())
        let result = try await devices.invokeMethod(
            who, name: method.name, payload: method.payload, connectTimeout: method.connectTimeout,
            responseTimeout: method.responseTimeout)
        return ServiceAnswer(json: MethodBody.result(status: result.status, payload: result.payload))
    }

    func purge(_ id: DeviceID) async throws(HubError) -> ServiceAnswer {
        let count = try await devices.purgeCloudToDevice(of: id)
        return ServiceAnswer(json: [
            "totalMessagesPurged": .number(JSONNumber(count)), "deviceId": .string(id.text), "moduleId": nil,
        ])
    }

    /// Items are done each by itself; a twin in an item is written after its device.
    func bulk(_ call: ServiceCall) async throws(HubError) -> ServiceAnswer {
        let items = try BulkDeviceBody.list(parsing: try call.json())
        var failures: [Int: BulkResultBody.Failure] = [:]
        var operations: [BulkOperation] = []
        var places: [Int] = []
        for (place, item) in items.enumerated() {
            do throws(HubError) {
                guard let operation = try Self.operation(item) else { continue }
                operations.append(operation)
                places.append(place)
            } catch {
                failures[place] = BulkResultBody.Failure(identity: item.device.identity, error: error)
            }
        }
        for failure in try await registry.bulk(operations) {
            let place = places[failure.position]
            failures[place] = BulkResultBody.Failure(identity: items[place].device.identity, error: failure.error)
        }
        for (place, item) in items.enumerated() where failures[place] == nil {
            do throws(HubError) { try await writeTwin(of: item) } catch {
                failures[place] = BulkResultBody.Failure(identity: item.device.identity, error: error)
            }
        }
        let result = BulkResultBody(failures: failures.sorted { $0.key < $1.key }.map(\.value))
        return ServiceAnswer(result.httpStatus, json: result.json())
    }

    private func writeTwin(of item: BulkDeviceBody) async throws(HubError) {
        guard let twin = item.twin else { return }
        switch item.mode {
        case .delete, .deleteIfMatchETag: return
        case .updateTwinIfMatchETag:
            _ = try await devices.patchTwin(item.device.identity, twin, ifMatch: ETagCondition(header: item.twinETag))
        case .create, .update, .updateIfMatchETag, .createOrUpdate, .createOrUpdateIfMatchETag, .updateTwin:
            _ = try await devices.patchTwin(item.device.identity, twin)
        }
    }

    /// `nil` when the item is about the twin only.
    private static func operation(_ item: BulkDeviceBody) throws(HubError) -> BulkOperation? {
        guard item.device.identity.module == nil else {
            throw HubError(.invalidOperation, "modules are not taken in bulk; create them one by one")
        }
        let id = item.device.identity.device
        let condition = item.device.etag.flatMap { ETagCondition(header: $0) }.map(WriteCondition.init)
        switch item.mode {
        case .create: return .create(try DeviceDraft(item.device))
        case .update: return .update(try DeviceDraft(item.device), .exists)
        case .createOrUpdate: return .createOrUpdate(try DeviceDraft(item.device))
        case .delete: return .delete(id, .exists)
        case .updateTwin, .updateTwinIfMatchETag: return nil
        case .updateIfMatchETag, .createOrUpdateIfMatchETag:
            guard let condition else { throw HubError(.argumentNull, "importMode \(item.mode.rawValue) needs eTag") }
            let draft = try DeviceDraft(item.device)
            return item.mode == .updateIfMatchETag ? .update(draft, condition) : .createOrUpdate(draft, condition)
        case .deleteIfMatchETag:
            guard let condition else { throw HubError(.argumentNull, "importMode \(item.mode.rawValue) needs eTag") }
            return .delete(id, condition)
        }
    }
}
