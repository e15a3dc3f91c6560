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
        var condition = WriteCondition.exists
        switch item.mode {
        case .updateTwin, .updateTwinIfMatchETag: return nil
        case .updateIfMatchETag, .createOrUpdateIfMatchETag, .deleteIfMatchETag:
            guard let etag = item.device.etag.flatMap({ ETagCondition(header: $0) }) else {
                throw HubError(.argumentNull, "importMode \(item.mode.rawValue) needs eTag")
            }
            condition = WriteCondition(etag)
        case .create, .update, .createOrUpdate, .delete: break
        }
        guard let module = item.device.identity.module else { return try operation(item, condition) }
        return try operation(item, onModule: module, condition)
    }

    private static func operation(
        _ item: BulkDeviceBody, _ condition: WriteCondition
    ) throws(HubError) -> BulkOperation? {
        switch item.mode {
        case .create: .create(try DeviceDraft(item.device))
        case .update, .updateIfMatchETag: .update(try DeviceDraft(item.device), condition)
        case .createOrUpdate, .createOrUpdateIfMatchETag: .createOrUpdate(try DeviceDraft(item.device), condition)
        case .delete, .deleteIfMatchETag: .delete(item.device.identity.device, condition)
        case .updateTwin, .updateTwinIfMatchETag: nil
        }
    }

    private static func operation(
        _ item: BulkDeviceBody, onModule id: String, _ condition: WriteCondition
    ) throws(HubError) -> BulkOperation? {
        switch item.mode {
        case .create: .createModule(try ModuleDraft(item.device, id))
        case .update, .updateIfMatchETag: .updateModule(try ModuleDraft(item.device, id), condition)
        case .createOrUpdate, .createOrUpdateIfMatchETag:
            .createOrUpdateModule(try ModuleDraft(item.device, id), condition)
        case .delete, .deleteIfMatchETag: .deleteModule(id, of: item.device.identity.device, condition)
        case .updateTwin, .updateTwinIfMatchETag: nil
        }
    }
}
