public import JSON
public import Primitives

/// A device's or module's twin: tags and desired properties that the service writes, reported properties that the
/// device writes. Patches merge object by object, `null` deletes, arrays and scalars replace. Each section's
/// `$version` begins at 1 and rises by one with every accepted write; a refused write changes nothing.
public struct TwinDocument: Hashable, Sendable {
    /// Property tree, its version, and the mirror tree that says when each property was last written.
    public struct Section: Hashable, Sendable {
        public fileprivate(set) var properties = JSONObject()
        public fileprivate(set) var version: Int64 = 1
        public fileprivate(set) var metadata: JSONObject
    }

    /// What the device is told after a desired write.
    public struct DesiredChange: Hashable, Sendable {
        public let version: Int64
        /// The patch as the service wrote it (the whole document after a replacement) with `$version`.
        public let body: JSONValue
    }

    public private(set) var tags = JSONObject()
    public private(set) var desired: Section
    public private(set) var reported: Section
    /// Rises with every accepted write to any section; begins at 1.
    public private(set) var version: Int64 = 1
    /// Rises with every write by the service; the ETag is made of it, so a device's reports break no conditional write.
    private(set) var serviceVersion: Int64 = 1
    /// The Plug and Play model that the device announced at its last connect.
    public var modelID: String?

    public init(at now: WallInstant) {
        desired = Section(metadata: ["$lastUpdated": .string(now.description), "$lastUpdatedVersion": 1])
        reported = Section(metadata: ["$lastUpdated": .string(now.description)])
    }

    public var etag: String { ETagCondition.text(ofVersion: serviceVersion) }
    public var desiredVersion: Int64 { desired.version }
    public var reportedVersion: Int64 { reported.version }

    // MARK: - Writes

    /// A device's patch to its reported properties. `ifVersion` is the version that the device believes is current.
    public mutating func applyReported(
        _ patch: JSONValue, ifVersion: Int64? = nil, at now: WallInstant
    ) throws(HubError) {
        if let ifVersion, ifVersion != reported.version {
            throw HubError(
                .preconditionFailed,
                "the reported properties have version \(reported.version), not \(ifVersion); get the twin and try again"
            )
        }
        var changed = reported
        try Self.merge(try Self.object(patch, .reported), into: &changed, .reported, at: now)
        reported = changed
        version += 1
    }

    /// The service's PATCH: `{"tags":{…},"properties":{"desired":{…}}}`, either part alone too. Answers what to tell
    /// the device; `nil` when the desired properties were not part of it.
    public mutating func patch(
        _ body: JSONValue, ifMatch: ETagCondition? = nil, at now: WallInstant
    ) throws(HubError) -> DesiredChange? {
        try checkMatch(ifMatch)
        let parts = try Self.serviceParts(body)
        var copy = self
        if let tags = parts.tags {
            let patch = try Self.object(tags, .tags)
            try TwinRules.check(patch, in: .tags)
            copy.tags = JSONValue.object(copy.tags).merging(patch: .object(patch)).objectValue ?? copy.tags
            try TwinRules.checkSize(copy.tags, of: .tags)
        }
        var change: DesiredChange?
        if let desired = parts.desired {
            let patch = try Self.object(desired, .desired)
            try Self.merge(patch, into: &copy.desired, .desired, at: now)
            change = Self.change(patch, version: copy.desired.version)
        }
        copy.countServiceWrite()
        self = copy
        return change
    }

    /// The service's PUT: what the body does not name becomes empty.
    public mutating func replace(
        _ body: JSONValue, ifMatch: ETagCondition? = nil, at now: WallInstant
    ) throws(HubError) -> DesiredChange? {
        try checkMatch(ifMatch)
        let parts = try Self.serviceParts(body)
        let tags = Self.withoutNulls(try Self.object(parts.tags ?? [:], .tags))
        try TwinRules.check(tags, in: .tags)
        try TwinRules.checkSize(tags, of: .tags)
        let properties = Self.withoutNulls(try Self.object(parts.desired ?? [:], .desired))
        var copy = self
        copy.tags = tags
        copy.desired.properties = [:]
        copy.desired.metadata = [:]
        try Self.merge(properties, into: &copy.desired, .desired, at: now)
        copy.countServiceWrite()
        self = copy
        return Self.change(properties, version: desired.version)
    }

    // MARK: - Views

    /// The answer to a device's GET: no tags, no metadata.
    public func deviceView() -> JSONValue {
        [
            "desired": Self.view(desired, withMetadata: false),
            "reported": Self.view(reported, withMetadata: false),
        ]
    }

    /// `properties` as the service sees them, with `$metadata`.
    public func servicePropertiesView() -> JSONValue {
        ["desired": Self.view(desired, withMetadata: true), "reported": Self.view(reported, withMetadata: true)]
    }

    private static func view(_ section: Section, withMetadata: Bool) -> JSONValue {
        var object = section.properties
        if withMetadata { object["$metadata"] = .object(section.metadata) }
        object["$version"] = .number(JSONNumber(section.version))
        return .object(object)
    }

    // MARK: - Parts

    private func checkMatch(_ condition: ETagCondition?) throws(HubError) {
        guard let condition, !condition.matches(etag) else { return }
        throw HubError(
            .preconditionFailed, "the twin has changed since: its ETag is now \"\(etag)\"; get it and try again")
    }

    private mutating func countServiceWrite() {
        version += 1
        serviceVersion += 1
    }

    private static func serviceParts(_ body: JSONValue) throws(HubError) -> (tags: JSONValue?, desired: JSONValue?) {
        guard let object = body.objectValue else {
            throw HubError(.argumentInvalid, "a twin is a JSON object with 'tags' and 'properties.desired'")
        }
        let properties = object["properties"]
        if let properties, !properties.isNull, properties.objectValue == nil {
            throw HubError(.argumentInvalid, "'properties' is not a JSON object")
        }
        return (object["tags"]?.unlessNull, properties?["desired"]?.unlessNull)
    }

    /// The section's object, without the `$metadata` and `$version` that a read twin carries back.
    private static func object(_ value: JSONValue, _ section: TwinRules.Section) throws(HubError) -> JSONObject {
        guard var object = value.objectValue else {
            throw HubError(.argumentInvalid, "the \(section.rawValue) are not a JSON object")
        }
        object.removeAll { key, _ in key == "$version" || key == "$metadata" }
        return object
    }

    private static func withoutNulls(_ object: JSONObject) -> JSONObject {
        JSONValue.object([:]).merging(patch: .object(object)).objectValue ?? object
    }

    private static func change(_ patch: JSONObject, version: Int64) -> DesiredChange {
        var body = patch
        body["$version"] = .number(JSONNumber(version))
        return DesiredChange(version: version, body: .object(body))
    }

    private static func merge(
        _ patch: JSONObject, into section: inout Section, _ kind: TwinRules.Section, at now: WallInstant
    ) throws(HubError) {
        try TwinRules.check(patch, in: kind)
        let merged = JSONValue.object(section.properties).merging(patch: .object(patch)).objectValue ?? [:]
        try TwinRules.checkSize(merged, of: kind)
        section.properties = merged
        section.version += 1
        let stamp = Stamp(time: now.description, version: kind == .desired ? section.version : nil)
        section.metadata = stamp.mark(patch, on: section.metadata)
    }
}

/// Writes `$lastUpdated` (and, for desired properties, `$lastUpdatedVersion`) along everything that a patch touched.
private struct Stamp {
    let time: String
    let version: Int64?

    func mark(_ patch: JSONObject, on old: JSONObject) -> JSONObject {
        var node = old
        node["$lastUpdated"] = .string(time)
        if let version { node["$lastUpdatedVersion"] = .number(JSONNumber(version)) }
        let gone = Set(patch.members.lazy.filter(\.value.isNull).map(\.key))
        if !gone.isEmpty { node.removeAll { key, _ in gone.contains(key) } }
        for member in patch.members where !member.value.isNull {
            let below = member.value.objectValue ?? [:]
            // A scalar or array takes the place of whatever was below it.
            let before = member.value.objectValue == nil ? [:] : node[member.key]?.objectValue ?? [:]
            node[member.key] = .object(mark(below, on: before))
        }
        return node
    }
}

// MARK: - Storage

extension TwinDocument {
    /// Everything, for a store. Read back with `init(stored:)`.
    public func stored() -> JSONValue {
        var object: JSONObject = [
            "tags": .object(tags), "desired": Self.store(desired), "reported": Self.store(reported),
            "version": .number(JSONNumber(version)), "serviceVersion": .number(JSONNumber(serviceVersion)),
        ]
        if let modelID { object["modelId"] = .string(modelID) }
        return .object(object)
    }

    /// `nil` when this is not what `stored()` wrote.
    public init?(stored: JSONValue) {
        guard let tags = stored["tags"]?.objectValue, let desired = stored["desired"].flatMap(Self.section),
            let reported = stored["reported"].flatMap(Self.section), let version = stored["version"]?.int64Value,
            let serviceVersion = stored["serviceVersion"]?.int64Value
        else { return nil }
        self.tags = tags
        self.desired = desired
        self.reported = reported
        self.version = version
        self.serviceVersion = serviceVersion
        modelID = stored["modelId"]?.stringValue
    }

    private static func store(_ section: Section) -> JSONValue {
        [
            "properties": .object(section.properties), "version": .number(JSONNumber(section.version)),
            "metadata": .object(section.metadata),
        ]
    }

    private static func section(_ stored: JSONValue) -> Section? {
        guard let properties = stored["properties"]?.objectValue, let version = stored["version"]?.int64Value,
            let metadata = stored["metadata"]?.objectValue
        else { return nil }
        return Section(properties: properties, version: version, metadata: metadata)
    }
}
