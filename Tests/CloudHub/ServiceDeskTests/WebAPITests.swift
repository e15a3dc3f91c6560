import DeskTestKit
import JSON
import Primitives
import ServiceDesk
import Testing

@Suite struct WebAPITests {
    let folder = TemporaryFolder()
    let alert = UniqueID(high: 0xa1, low: 0x8000_0000_0000_0001)
    let device = UniqueID(high: 0xd1, low: 0x8000_0000_0000_0001)

    func withDesk(_ body: (LiveDesk, DeskCaller) async throws -> Void) async throws {
        let live = try await LiveDesk.start(folder: folder.path)
        do {
            try await body(live, try await DeskCaller(live))
        } catch {
            try await live.stop()
            throw error
        }
        try await live.stop()
    }

    @Test func createAnswersWithTheRowsAddressAndReadsBack() async throws {
        try await withDesk { _, caller in
            let made = try await caller.call(
                "POST", "msdyn_iotdevices", ["msdyn_name": "Pump 1", "msdyn_deviceid": "pump-1"])
            #expect(made.status == 204)
            #expect(made.body.isEmpty)
            let address = try #require(made.headers["odata-entityid"])
            #expect(address.hasPrefix(caller.origin + "/api/data/v9.2/msdyn_iotdevices("))
            let read = try await caller.call(
                "GET", String(address.dropFirst((caller.origin + "/api/data/v9.2/").count)))
            #expect(read.status == 200)
            #expect(read.json?["msdyn_name"]?.stringValue == "Pump 1")
            #expect(read.json?["statecode"]?.int64Value == 0)
            #expect(read.json?["msdyn_connectionstate"]?.boolValue == false)
            #expect(read.json?["@odata.etag"]?.stringValue == read.headers["etag"])
        }
    }

    @Test func upsertCreatesOnceAndTheConditionsHold() async throws {
        try await withDesk { _, caller in
            let path = "msdyn_iotalerts(\(alert))"
            let body: JSONValue = ["msdyn_description": "hot"]
            #expect(try await caller.call("PATCH", path, body, headers: [("If-Match", "*")]).status == 404)
            #expect(try await caller.call("PATCH", path, body, headers: [("If-None-Match", "*")]).status == 204)
            let again = try await caller.call("PATCH", path, body, headers: [("If-None-Match", "*")])
            #expect(again.status == 412)
            #expect(again.errorCode == "0x80040237")
            #expect(try await caller.call("PATCH", path, ["msdyn_description": "hotter"]).status == 204)
            let tag = try #require(try await caller.call("GET", path).headers["etag"])
            let first = try await caller.call("PATCH", path, ["msdyn_description": "a"], headers: [("If-Match", tag)])
            #expect(first.status == 204)
            let stale = try await caller.call("PATCH", path, ["msdyn_description": "b"], headers: [("If-Match", tag)])
            #expect(stale.status == 412)
            #expect(stale.errorCode == "0x80060882")
            #expect(try await caller.call("GET", path, headers: [("If-None-Match", "null")]).status == 200)
        }
    }

    struct Refused: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let body: JSONValue
        let code: String
        let part: String
    }

    static let refusals: [Refused] = [
        Refused(
            testDescription: "a lookup bound under the column's name in the wrong case",
            body: ["msdyn_device@odata.bind": "/msdyn_iotdevices(00000000-0000-00d1-8000-000000000001)"],
            code: "0x80048d19", part: "An undeclared property 'msdyn_device' which only has property annotations"),
        Refused(
            testDescription: "a case lookup in upper case", body: ["msdyn_CASE@odata.bind": "/incidents(1)"],
            code: "0x80048d19", part: "An undeclared property 'msdyn_CASE'"),
        Refused(
            testDescription: "101 characters of description",
            body: ["msdyn_description": .string(String(repeating: "x", count: 101))], code: "0x80044331",
            part: "The length of the 'msdyn_description' attribute of the 'msdyn_iotalert' entity exceeded the maximum "
                + "allowed length of '100'."),
        Refused(
            testDescription: "51 emoji are 102 code units",
            body: ["msdyn_description": .string(String(repeating: "🔥", count: 51))], code: "0x80044331",
            part: "allowed length of '100'"),
        Refused(
            testDescription: "an unknown column", body: ["msdyn_colour": "red"], code: "0x0",
            part: "Invalid property 'msdyn_colour' was found in entity 'Microsoft.Dynamics.CRM.msdyn_iotalert'."),
        Refused(
            testDescription: "a column in the wrong case", body: ["msdyn_Description": "red"], code: "0x0",
            part: "Invalid property 'msdyn_Description' was found"),
        Refused(
            testDescription: "a text in the place of a row", body: ["msdyn_Device": "red"], code: "0x0",
            part: "Invalid property 'msdyn_Device' was found"),
        Refused(
            testDescription: "a choice outside its values", body: ["msdyn_alerttype": 7], code: "0x8004431a",
            part: "The value 7 of 'msdyn_alerttype' on record of type 'msdyn_iotalert' is outside the valid range. "
                + "Accepted Values: 192350000,192350001,192350002,192350003"),
        Refused(
            testDescription: "a number outside its range", body: ["msdyn_alertpriorityscore": 101],
            code: "0x8004432f", part: "'msdyn_alertpriorityscore'"),
        Refused(
            testDescription: "a status that belongs to another state", body: ["statecode": 0, "statuscode": 6],
            code: "0x80048408", part: "6 is not a valid status code for state code msdyn_iotalertState.Active"),
        Refused(
            testDescription: "a raw lookup value", body: ["_msdyn_device_value": "x"], code: "0x80048d19",
            part: "CRM do not support direct update of Entity Reference properties"),
        Refused(
            testDescription: "text where a number belongs", body: ["msdyn_alertpriorityscore": "80"],
            code: "0x80048d19", part: "expected type 'Edm.Int32'"),
        Refused(
            testDescription: "a table that is not here",
            body: ["msdyn_CustomerAsset@odata.bind": "/msdyn_customerassets(00000000-0000-00d1-8000-000000000001)"],
            code: "0x8006088a", part: "msdyn_customerassets"),
        Refused(testDescription: "an array", body: [], code: "0x80048d19", part: "JSON object was expected"),
    ]

    @Test(arguments: refusals) func refusesAsDataverseDoes(_ row: Refused) async throws {
        try await withDesk { _, caller in
            let answer = try await caller.call("PATCH", "msdyn_iotalerts(\(alert))", row.body)
            #expect(answer.errorCode == row.code)
            #expect(answer.status == (row.code == "0x8006088a" ? 404 : 400))
            #expect(answer.errorMessage?.contains(row.part) == true, "\(answer.errorMessage ?? "")")
            #expect(try await caller.call("GET", "msdyn_iotalerts(\(alert))").status == 404)
        }
    }

    @Test func statesBringTheirStatusAndDeletesClearLookups() async throws {
        try await withDesk { _, caller in
            _ = try await caller.call(
                "PATCH", "msdyn_iotdevices(\(device))", ["msdyn_name": "t", "msdyn_deviceid": "t-1"])
            let bound: JSONValue = [
                "msdyn_description": "hot", "msdyn_Device@odata.bind": .string("/msdyn_iotdevices(\(device))"),
            ]
            #expect(try await caller.call("PATCH", "msdyn_iotalerts(\(alert))", bound).status == 204)
            #expect(try await caller.call("PATCH", "msdyn_iotalerts(\(alert))", ["statecode": 3]).status == 204)
            let closed = try await caller.call("GET", "msdyn_iotalerts(\(alert))").json
            #expect(closed?["statuscode"]?.int64Value == 6)
            #expect(closed?["_msdyn_device_value"]?.stringValue == device.description)
            let statusAlone = try await caller.call("PATCH", "msdyn_iotalerts(\(alert))", ["statuscode": 5])
            #expect(statusAlone.errorCode == "0x80048408")
            #expect(try await caller.call("DELETE", "msdyn_iotdevices(\(device))").status == 204)
            let cleared = try await caller.call("GET", "msdyn_iotalerts(\(alert))").json
            #expect(cleared?["_msdyn_device_value"] == .null)
            #expect(try await caller.call("DELETE", "msdyn_iotdevices(\(device))").status == 404)
        }
    }

    /// Rows say the second of their making only, and their ids are random.
    @Test func thePageShowsTheNewestCommandsInTheOrderOfTheirMaking() async throws {
        try await withDesk { live, caller in
            let alert = try #require(UniqueID("0d1f8d4e-0000-4000-8000-000000000001"))
            _ = try await caller.call("PATCH", "msdyn_iotalerts(\(alert))", ["msdyn_description": "hot"])
            for number in 1...103 { try await live.desk.createCommand("Command \(number)", on: alert, by: "someone") }
            let shown = try #require(try await live.desk.alert(alert))
            #expect(shown.commands.suffix(50).map(\.name) == (54...103).map { "Command \($0)" })
            #expect(shown.commands.count == 100)
        }
    }

    @Test func disassociateClearsOneLookup() async throws {
        try await withDesk { _, caller in
            _ = try await caller.call("PATCH", "msdyn_iotdevices(\(device))", ["msdyn_name": "t"])
            _ = try await caller.call(
                "PATCH", "msdyn_iotalerts(\(alert))",
                ["msdyn_Device@odata.bind": .string("msdyn_iotdevices(\(device))")])
            #expect(try await caller.call("DELETE", "msdyn_iotalerts(\(alert))/msdyn_device/$ref").status == 404)
            #expect(try await caller.call("DELETE", "msdyn_iotalerts(\(alert))/msdyn_Device/$ref").status == 204)
            #expect(try await caller.call("GET", "msdyn_iotalerts(\(alert))").json?["_msdyn_device_value"] == .null)
        }
    }
}
