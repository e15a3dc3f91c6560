import DeskTestKit
import JSON
import Primitives
import ServiceDesk
import Testing

/// `$filter`, `$select`, `$orderby`, `$top`, `$count`, `$expand` and paging, against seven alerts.
@Suite struct QueryTests {
    let folder = TemporaryFolder()

    func withAlerts(_ body: (DeskCaller) async throws -> Void) async throws {
        let live = try await LiveDesk.start(folder: folder.path)
        do {
            let caller = try await DeskCaller(live)
            let device = UniqueID(high: 0xd1, low: 0x8000_0000_0000_0001)
            _ = try await caller.call(
                "PATCH", "msdyn_iotdevices(\(device))", ["msdyn_name": "Thermostat", "msdyn_deviceid": "t-1"])
            for number in 1...7 {
                var alert: JSONObject = [
                    "msdyn_description": .string(number == 7 ? "It's 100%_sure" : "Alert \(number)"),
                    "msdyn_alertpriorityscore": .number(JSONNumber(Int64(number * 10))),
                    "msdyn_alerttime": .string("2026-11-21T09:0\(number):00Z"),
                ]
                if number % 2 == 0 { alert["msdyn_deviceid"] = "t-1" }
                if number == 6 { alert["statecode"] = 3 }
                _ = try await caller.call("POST", "msdyn_iotalerts", .object(alert))
            }
            try await body(caller)
        } catch {
            try await live.stop()
            throw error
        }
        try await live.stop()
    }

    static let filters: [(String, [Int64])] = [
        ("msdyn_alertpriorityscore eq 30", [30]),
        ("msdyn_alertpriorityscore ne 30", [10, 20, 40, 50, 60, 70]),
        ("msdyn_alertpriorityscore gt 50", [60, 70]),
        ("msdyn_alertpriorityscore ge 50 and msdyn_alertpriorityscore lt 70", [50, 60]),
        ("msdyn_alertpriorityscore le 10 or msdyn_alertpriorityscore ge 70", [10, 70]),
        ("not (msdyn_alertpriorityscore le 60)", [70]),
        ("statecode eq 3", [60]),
        ("msdyn_deviceid eq null", [10, 30, 50, 70]),
        ("msdyn_deviceid ne null and statecode eq 0", [20, 40]),
        ("msdyn_deviceid ne 't-1'", [10, 30, 50, 70]),
        ("contains(msdyn_description,'LERT 3')", [30]),
        ("startswith(msdyn_description,'alert')", [10, 20, 30, 40, 50, 60]),
        ("endswith(msdyn_description,'_sure')", [70]),
        ("contains(msdyn_description,'%')", [70]),
        ("msdyn_description eq 'it''s 100%_SURE'", [70]),
        ("not contains(msdyn_deviceid,'t')", [10, 30, 50, 70]),
        ("msdyn_alerttime ge 2026-11-21T09:06:00Z", [60, 70]),
        ("_msdyn_device_value eq 00000000-0000-00d1-8000-000000000001", [20, 40, 60]),
        ("msdyn_Device/msdyn_name eq 'thermostat'", [20, 40, 60]),
    ]

    @Test func filtersSelectTheRowsThatDataverseWould() async throws {
        try await withAlerts { caller in
            for (filter, expected) in Self.filters {
                let answer = try await caller.call(
                    "GET", "msdyn_iotalerts?$filter=\(PercentEncoding.encode(filter))&$orderby=msdyn_alertpriorityscore"
                )
                let scores = answer.json?["value"]?.arrayValue?.compactMap {
                    $0["msdyn_alertpriorityscore"]?.int64Value
                }
                #expect(scores == expected, "\(filter): \(answer.errorMessage ?? "")")
            }
        }
    }

    static let broken: [(String, String)] = [
        ("$filter=colour eq 'red'", "Could not find a property named 'colour'"),
        ("$filter=Msdyn_Description eq 'x'", "Could not find a property named 'Msdyn_Description'"),
        ("$filter=msdyn_device eq null", "Could not find a property named 'msdyn_device'"),
        ("$filter=statecode eq", "A binary operator with incompatible types"),
        ("$filter=statecode eq 'x'", "A binary operator with incompatible types"),
        ("$filter=statecode is 1", "Syntax error"),
        ("$filter=(statecode eq 1", "Syntax error"),
        ("$filter=msdyn_description eq 'x", "unterminated string literal"),
        ("$filter=length(msdyn_description) eq 3", "An unknown function with name 'length'"),
        ("$filter=" + String(repeating: "not ", count: 40) + "statecode eq 1", "nested deeper than 32"),
        ("$select=msdyn_device", "Could not find a property named 'msdyn_device'"),
        ("$orderby=statecode sideways", "Syntax error in $orderby"),
        ("$expand=msdyn_device", "Could not find a property named 'msdyn_device'"),
        ("$top=0", "Invalid value '0' for $top"),
        ("$skip=5", "Skip Clause is not supported in CRM"),
        ("$apply=x", "The query parameter $apply is not supported"),
        ("$skiptoken=17", "Malformed $skiptoken"),
    ]

    @Test func brokenQueriesAreNamed() async throws {
        try await withAlerts { caller in
            for (query, part) in Self.broken {
                let halves = query.split(separator: "=", maxSplits: 1)
                let encoded = "\(halves[0])=\(PercentEncoding.encode(halves[1]))"
                let answer = try await caller.call("GET", "msdyn_iotalerts?\(encoded)")
                #expect(answer.status == 400, "\(query)")
                #expect(answer.errorMessage?.contains(part) == true, "\(query): \(answer.errorMessage ?? "")")
            }
        }
    }

    @Test func pagesMeetWithoutOverlapAndCountStaysWhole() async throws {
        try await withAlerts { caller in
            var path = "msdyn_iotalerts?$select=msdyn_description&$orderby=msdyn_description&$count=true"
            var seen: [String] = []
            var sizes: [Int] = []
            while true {
                let answer = try await caller.call("GET", path, headers: [("Prefer", "odata.maxpagesize=3")])
                #expect(answer.headers["preference-applied"] == "odata.maxpagesize=3")
                #expect(answer.json?["@odata.count"]?.int64Value == 7)
                let rows = answer.json?["value"]?.arrayValue ?? []
                sizes.append(rows.count)
                seen += rows.compactMap { $0["msdyn_description"]?.stringValue }
                guard let next = answer.json?["@odata.nextLink"]?.stringValue else { break }
                path = String(next.dropFirst((caller.origin + "/api/data/v9.2/").count))
            }
            #expect(sizes == [3, 3, 1])
            #expect(seen == (1...6).map { "Alert \($0)" } + ["It's 100%_sure"])
            let top = try await caller.call(
                "GET", "msdyn_iotalerts?$top=2&$orderby=msdyn_alertpriorityscore desc".replacingSpaces)
            #expect(top.json?["value"]?.arrayValue?.count == 2)
            #expect(top.json?["@odata.nextLink"] == nil)
        }
    }

    @Test func expandAndAnnotationsShowTheRelatedRow() async throws {
        try await withAlerts { caller in
            let filter = PercentEncoding.encode("msdyn_alertpriorityscore eq 20")
            let answer = try await caller.call(
                "GET",
                "msdyn_iotalerts?$select=msdyn_description,_msdyn_device_value,statuscode&$filter=\(filter)"
                    + "&$expand=msdyn_Device($select=msdyn_name)",
                headers: [("Prefer", "odata.include-annotations=\"*\"")])
            let row = answer.json?["value"]?.arrayValue?.first
            #expect(row?["msdyn_Device"]?["msdyn_name"]?.stringValue == "Thermostat")
            #expect(row?["msdyn_Device"]?["msdyn_deviceid"] == nil)
            #expect(row?["statuscode@OData.Community.Display.V1.FormattedValue"]?.stringValue == "Active")
            #expect(row?["_msdyn_device_value@OData.Community.Display.V1.FormattedValue"]?.stringValue == "Thermostat")
            #expect(
                row?["_msdyn_device_value@Microsoft.Dynamics.CRM.lookuplogicalname"]?.stringValue == "msdyn_iotdevice")
            #expect(row?["msdyn_alerttime"] == nil)
            let plain = try await caller.call("GET", "msdyn_iotalerts?$filter=\(filter)")
            #expect(
                plain.json?["value"]?.arrayValue?.first?["statuscode@OData.Community.Display.V1.FormattedValue"] == nil)
        }
    }
}

extension String {
    var replacingSpaces: String { split(separator: " ", omittingEmptySubsequences: false).joined(separator: "%20") }
}
