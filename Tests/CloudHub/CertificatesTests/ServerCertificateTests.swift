import Certificates
import Foundation
import Primitives
import Testing

@Suite("The hub's server certificate")
struct ServerCertificateTests {
    static let now = WallInstant(milliseconds: 1_795_000_000_000)
    let folder = FileManager.default.temporaryDirectory.appending(path: "fieldline-tls-\(UUID().uuidString)").path

    private func contents() throws -> [String: Data] {
        var all: [String: Data] = [:]
        for name in try FileManager.default.contentsOfDirectory(atPath: folder) {
            all[name] = try Data(contentsOf: URL(fileURLWithPath: folder + "/" + name))
        }
        return all
    }

    private func days(_ count: Int) -> Duration { .seconds(86_400 * count) }

    @discardableResult
    private func openssl(_ arguments: String...) throws -> (status: Int32, text: String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
        process.arguments = arguments
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return (process.terminationStatus, text)
    }

    @Test("an empty folder gets an authority and a certificate that OpenSSL accepts strictly for every name")
    func fresh() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let made = try ServerCertificate.ensure(directory: folder, hostname: "hub.example", now: Self.now)
        #expect(made.isNew)
        #expect(made.warnings.isEmpty)
        #expect(made.daysLeft(at: Self.now) == 396)
        #expect(try Set(contents().keys) == ["ca.pem", "ca-key.pem", "server.pem", "server-key.pem"])
        for name in ["ca-key.pem", "server-key.pem"] {
            let mode = try FileManager.default.attributesOfItem(atPath: folder + "/" + name)[.posixPermissions] as? Int
            #expect(mode == 0o600)
        }
        let time = String(Self.now.unixSeconds)
        for (option, name) in [
            ("-verify_hostname", "hub.example"), ("-verify_hostname", "localhost"), ("-verify_ip", "127.0.0.1"),
            ("-verify_ip", "::1"),
        ] {
            let verdict = try openssl(
                "verify", "-x509_strict", "-purpose", "sslserver", "-attime", time, "-CAfile", folder + "/ca.pem",
                option, name,
                folder + "/server.pem")
            #expect(verdict.status == 0, "\(name): \(verdict.text)")
        }
        let other = try openssl(
            "verify", "-attime", time, "-CAfile", folder + "/ca.pem", "-verify_hostname", "other.example",
            folder + "/server.pem")
        #expect(other.status != 0)
    }

    @Test("later starts change nothing")
    func idempotent() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        _ = try ServerCertificate.ensure(directory: folder, hostname: "hub.example", now: Self.now)
        let before = try contents()
        for day in [0, 1, 100, 260] {
            let again = try ServerCertificate.ensure(
                directory: folder, hostname: "hub.example", now: Self.now + days(day))
            #expect(!again.isNew)
        }
        #expect(try contents() == before)
    }

    @Test("it renews itself in its last third, on the same key and authority")
    func renewal() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        _ = try ServerCertificate.ensure(directory: folder, hostname: "hub.example", now: Self.now)
        let before = try contents()
        let later = Self.now + days(270)
        let renewed = try ServerCertificate.ensure(directory: folder, hostname: "hub.example", now: later)
        #expect(renewed.isNew)
        #expect(renewed.daysLeft(at: later) == 396)
        let after = try contents()
        #expect(after["server.pem"] != before["server.pem"])
        for name in ["ca.pem", "ca-key.pem", "server-key.pem"] { #expect(after[name] == before[name]) }
    }

    @Test("it says when it is due, and is renewed then and not a moment before")
    func due() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let made = try ServerCertificate.ensure(directory: folder, hostname: "hub.example", now: Self.now)
        let due = try #require(made.renewsAt)
        #expect(due > Self.now)
        let before = due + .milliseconds(-1)
        #expect(try !ServerCertificate.ensure(directory: folder, hostname: "hub.example", now: before).isNew)
        #expect(try ServerCertificate.ensure(directory: folder, hostname: "hub.example", now: due).isNew)
    }

    @Test("with the authority near its end it warns, whatever is renewed")
    func authorityEnds() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        _ = try ServerCertificate.ensure(directory: folder, hostname: "h", now: Self.now)
        let late = Self.now + days(3649 - 29)
        let renewed = try ServerCertificate.ensure(directory: folder, hostname: "h", now: late)
        #expect(renewed.isNew)
        #expect(renewed.daysLeft(at: late) == 29)
        #expect(
            renewed.warnings == [
                "the development CA in \(folder) ends at \(renewed.expiresAt) and cannot be renewed unseen; remove the "
                    + "folder to begin anew, and give clients the new ca.pem"
            ])
    }

    @Test("a new host name makes a new certificate; a key that does not fit is mended")
    func changes() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        _ = try ServerCertificate.ensure(directory: folder, hostname: "a.example", now: Self.now)
        #expect(try ServerCertificate.ensure(directory: folder, hostname: "b.example", now: Self.now).isNew)
        #expect(try !ServerCertificate.ensure(directory: folder, hostname: "b.example", now: Self.now).isNew)
        try FileManager.default.removeItem(atPath: folder + "/server-key.pem")
        #expect(try ServerCertificate.ensure(directory: folder, hostname: "b.example", now: Self.now).isNew)
        #expect(try ServerCertificate.ensure(directory: folder, hostname: "192.0.2.7", now: Self.now).isNew)
        #expect(try !ServerCertificate.ensure(directory: folder, hostname: "192.0.2.7", now: Self.now).isNew)
    }

    @Test("an operator's certificate is used, warned about, and never overwritten")
    func operators() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let life = IssuedCertificate.Life(start: Self.now + days(-300), end: Self.now + days(20))
        let authority = try IssuedCertificate.authority(name: "Their CA", life: life)
        let theirs = try authority.issueServer(names: ["*.example"], life: life)
        try theirs.certificatePEM.write(toFile: folder + "/server.pem", atomically: true, encoding: .utf8)
        try theirs.keyPEM.write(toFile: folder + "/server-key.pem", atomically: true, encoding: .utf8)
        #expect(chmod(folder + "/server-key.pem", 0o600) == 0)
        let before = try contents()
        let used = try ServerCertificate.ensure(directory: folder, hostname: "hub.example", now: Self.now)
        #expect(used.isOperators)
        #expect(used.authorityPath == nil)
        #expect(used.expiryStatus(at: Self.now) == .soon(daysLeft: 20))
        #expect(used.warnings.count == 1)
        #expect(used.warnings.first?.contains("put a newer one there") == true)
        let wrong = try ServerCertificate.ensure(directory: folder, hostname: "hub.other", now: Self.now + days(30))
        #expect(wrong.warnings.count == 2)
        #expect(wrong.expiryStatus(at: Self.now + days(30)) == .expired)
        #expect(used.renewsAt == nil)
        #expect(chmod(folder + "/server-key.pem", 0o644) == 0)
        let open = try ServerCertificate.ensure(directory: folder, hostname: "hub.example", now: Self.now)
        #expect(
            open.warnings.last
                == "your \(folder)/server-key.pem can be read by every user of this machine; run chmod 600 on it")
        #expect(try contents() == before)
        try "x".write(toFile: folder + "/server-key.pem", atomically: true, encoding: .utf8)
        let error = #expect(throws: CertificateError.self) {
            try ServerCertificate.ensure(directory: folder, hostname: "hub.example", now: Self.now)
        }
        #expect(error?.description.contains("it is not the key of your server.pem") == true)
    }

    @Test("an empty folder and one with something in it are told apart, and open files from closed ones")
    func folders() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        #expect(FolderSafety.anyName(in: folder, except: "lock") == nil)
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try "".write(toFile: folder + "/lock", atomically: true, encoding: .utf8)
        #expect(FolderSafety.anyName(in: folder, except: "lock") == nil)
        try "x".write(toFile: folder + "/key", atomically: true, encoding: .utf8)
        #expect(FolderSafety.anyName(in: folder, except: "lock") == "key")
        for (mode, isOpen) in [(0o600, false), (0o640, false), (0o604, true), (0o602, true)] as [(mode_t, Bool)] {
            #expect(chmod(folder + "/key", mode) == 0)
            #expect(FolderSafety.isOpenToOthers(folder + "/key") == isOpen)
        }
        #expect(!FolderSafety.isOpenToOthers(folder + "/none"))
    }

    @Test("a broken file is named with what to do")
    func broken() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        _ = try ServerCertificate.ensure(directory: folder, hostname: "h", now: Self.now)
        try "junk".write(toFile: folder + "/server.pem", atomically: true, encoding: .utf8)
        let error = #expect(throws: CertificateError.self) {
            try ServerCertificate.ensure(directory: folder, hostname: "h", now: Self.now)
        }
        #expect(error?.description.hasPrefix("cannot read \(folder)/server.pem: it is no certificate in PEM") == true)
    }
}
