import ConfigText
import Primitives

extension HubConfig {
    static func files(_ section: ConfigSection) -> Files {
        let day = Duration.seconds(86_400)
        var value = Files()
        value.quota = section.bytes("quota", default: value.quota, in: .mebibytes(1) ... .gibibytes(16 << 10))
        value.fileBytesMax = section.bytes(
            "file_bytes_max", default: value.fileBytesMax, in: .kibibytes(1) ... .gibibytes(1 << 10))
        value.retentionAge = section.duration(
            "retention_age", default: value.retentionAge, in: .seconds(3600)...day * 3650)
        value.lifetime = section.duration("sas_lifetime", default: value.lifetime, in: .seconds(60)...day)
        value.uploadsMax = section.integer("uploads_max", default: value.uploadsMax, in: 1...1000)
        let isAzure = section.choice("store", default: false, ["directory": false, "azure": true])
        let azure = section.section("azure")
        if isAzure || azure.isPresent { value.azure = container(azure) }
        if azure.isPresent, !isAzure {
            section.problem("azure: counts only with store = \"azure\"; set that, or take the table out")
        }
        return value
    }

    private static func container(_ section: ConfigSection) -> AzureContainer? {
        let account = section.required("account", expected: "a storage account: 3 to 24 small letters and digits") {
            isName($0, 3...24, dash: false) ? $0 : nil
        }
        let container = section.required("container", expected: "a container: 3 to 63 small letters, digits and '-'") {
            isName($0, 3...63, dash: true) ? $0 : nil
        }
        let keyFile = section.required("key_file", expected: "the absolute path of a file with the account's key") {
            $0.hasPrefix("/") ? $0 : nil
        }
        let host = section.optional("host", expected: "a host name, with a port if need be") {
            $0.isEmpty || $0.contains(where: { $0.isWhitespace || $0 == "/" }) ? nil : $0
        }
        guard let account, let container, let keyFile else { return nil }
        return AzureContainer(
            account: account, container: container, keyFile: keyFile, host: host ?? "\(account).blob.core.windows.net")
    }

    private static func isName(_ text: String, _ length: ClosedRange<Int>, dash: Bool) -> Bool {
        length.contains(text.utf8.count)
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
                default: dash && byte == UInt8(ascii: "-")
                }
            }
    }
}
