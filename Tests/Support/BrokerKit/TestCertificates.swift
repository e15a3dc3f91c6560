import Foundation

/// Certificates made by the `openssl` program for one test run: a CA, and leaves that are right or wrong in one way.
public struct TestCertificates: Sendable {
    public let folder: String

    /// Signed by `ca`, for localhost and 127.0.0.1.
    public static let right = "right"
    /// Signed by `ca`, for other.example only.
    public static let wrongHost = "wrong-host"
    /// Signed by `ca`, for localhost; ended in 2021.
    public static let expired = "expired"
    /// Signed by `ca`, for localhost; begins in 2090.
    public static let future = "future"
    /// Signed by a CA of its own.
    public static let stranger = "stranger"
    /// Signed by `ca`, a client's: CN=gw.
    public static let client = "client"

    public var caFile: String { folder + "/ca.pem" }
    public func certificate(_ name: String) -> String { "\(folder)/\(name).pem" }
    public func key(_ name: String) -> String { "\(folder)/\(name).key" }

    /// Made once and shared by all tests of a process.
    public static let shared: Result<TestCertificates, any Error> = Result { try TestCertificates() }

    private init() throws {
        folder = try makeTemporaryFolder("certificates")
        try script.write(toFile: folder + "/make.sh", atomically: true, encoding: .utf8)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments = ["-e", folder + "/make.sh"]
        process.currentDirectoryURL = URL(fileURLWithPath: folder)
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw BrokerKitError("openssl could not make the certificates") }
    }
}

/// `openssl ca`, because only it sets both ends of a validity with OpenSSL 3.0.
private let script = """
    ca() {
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $1.key -out $1.pem \\
            -days 3650 -subj "/CN=Test $1" -addext basicConstraints=critical,CA:true
        mkdir -p $1.db; : > $1.db/index.txt; echo 1000 > $1.db/serial
        cat > $1.cnf <<END
    [ca]
    default_ca = d
    [d]
    database = $1.db/index.txt
    serial = $1.db/serial
    new_certs_dir = $1.db
    certificate = $1.pem
    private_key = $1.key
    default_md = sha256
    policy = p
    copy_extensions = copy
    unique_subject = no
    [p]
    commonName = supplied
    END
    }
    leaf() {
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $1.key -out $1.csr \\
            -subj "/CN=$2" -addext "subjectAltName=$3"
        openssl ca -batch -notext -config $4.cnf -in $1.csr -out $1.pem -startdate $5 -enddate $6
    }
    ca ca
    ca other
    leaf right localhost DNS:localhost,IP:127.0.0.1 ca 20200101000000Z 20991231000000Z
    leaf wrong-host other.example DNS:other.example ca 20200101000000Z 20991231000000Z
    leaf expired localhost DNS:localhost,IP:127.0.0.1 ca 20200101000000Z 20210101000000Z
    leaf future localhost DNS:localhost,IP:127.0.0.1 ca 20900101000000Z 20991231000000Z
    leaf stranger localhost DNS:localhost,IP:127.0.0.1 other 20200101000000Z 20991231000000Z
    leaf client gw DNS:gw ca 20200101000000Z 20991231000000Z
    """

public struct BrokerKitError: Error, CustomStringConvertible {
    public let description: String
    public init(_ description: String) { self.description = description }
}

public func makeTemporaryFolder(_ name: String) throws -> String {
    let path = NSTemporaryDirectory() + "/\(name)-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    return path
}
