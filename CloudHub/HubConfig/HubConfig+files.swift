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
        let store = section.choice(
            "store", default: Store.directory, ["directory": .directory, "azure": .azure, "s3": .s3])
        let (azure, s3) = (section.section("azure"), section.section("s3"))
        if store == .azure || azure.isPresent { value.azure = container(azure) }
        if store == .s3 || s3.isPresent { value.s3 = bucket(s3) }
        for (table, name, own) in [(azure, "azure", Store.azure), (s3, "s3", .s3)] where table.isPresent && store != own
        {
            section.problem("\(name): counts only with store = \"\(name)\"; set that, or take the table out")
        }
        return value
    }

    private enum Store { case directory, azure, s3 }

    private static func bucket(_ section: ConfigSection) -> S3Container? {
        let endpoint = section.required(
            "endpoint",
            expected: "the store's address without path, such as \"https://s3.eu-central-1.amazonaws.com\" "
                + "(http:// only on this machine)"
        ) { text in
            let bare = text.hasSuffix("/") ? String(text.dropLast()) : text
            return isWebAddress(bare, hasPath: false) ? bare : nil
        }
        let region = section.parsed(
            "region", default: "us-east-1", expected: "a region: small letters, digits and '-'"
        ) { isName($0, 1...63, dash: true) ? $0 : nil }
        let bucket = section.required(
            "bucket", expected: "a bucket: 3 to 63 small letters, digits, '-' and '.'"
        ) { isName($0.filter { $0 != "." }, 1...63, dash: true) && (3...63).contains($0.utf8.count) ? $0 : nil }
        let prefix = section.parsed(
            "prefix", default: "", expected: "a path of at most 256 characters that ends with '/', such as \"hub-1/\""
        ) { isPrefix($0) ? $0 : nil }
        let isVirtualHost = section.choice("addressing", default: false, ["path": false, "virtual-host": true])
        let keyFile = section.required(
            "key_file", expected: "the absolute path of a file with the access key and, in its second line, the secret"
        ) { $0.hasPrefix("/") ? $0 : nil }
        let caFile = caFile(section)
        guard let endpoint, let bucket, let keyFile else { return nil }
        return S3Container(
            endpoint: endpoint, region: region, bucket: bucket, prefix: prefix, isVirtualHost: isVirtualHost,
            keyFile: keyFile, caFile: caFile)
    }

    private static func caFile(_ section: ConfigSection) -> String? {
        section.optional("ca_file", expected: "the absolute path of a file with certificates") {
            $0.hasPrefix("/") ? $0 : nil
        }
    }

    /// Empty, or whole folders: letters, digits and `-_.` between slashes.
    private static func isPrefix(_ text: String) -> Bool {
        guard !text.isEmpty else { return true }
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        return text.utf8.count <= 256 && parts.last == ""
            && parts.dropLast().allSatisfy { part in
                !["", ".", ".."].contains(part)
                    && part.utf8.allSatisfy { byte in
                        switch byte {
                        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                            UInt8(ascii: "0")...UInt8(ascii: "9"):
                            true
                        default: "-_.".utf8.contains(byte)
                        }
                    }
            }
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
        let caFile = caFile(section)
        guard let account, let container, let keyFile else { return nil }
        return AzureContainer(
            account: account, container: container, keyFile: keyFile,
            host: host ?? "\(account).blob.core.windows.net", caFile: caFile)
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
