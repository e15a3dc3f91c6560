internal import COpenSSL
internal import Connectivity

/// OpenSSL with the provider that holds the gateway's key, or OpenSSL as it is.
///
/// The provider lives in a library context of its own, so that it changes nothing for anybody else in the process.
final class OpenSSLLibrary {
    /// `nil` for the process's own.
    private(set) var context: OpaquePointer?
    let properties: String?
    private var providers: [OpaquePointer] = []

    init(for certificate: ClientCertificate?) throws(LinkFailure) {
        guard case .inProvider(_, let provider) = certificate?.key else {
            properties = nil
            return
        }
        properties = provider.properties
        guard let made = OSSL_LIB_CTX_new() else {
            throw LinkFailure(.keyProviderUnusable(provider: provider.rawValue, detail: OpenSSLError.text()))
        }
        context = made
        // What the query does not decide comes from the provider that was loaded first.
        for name in ["default", provider.rawValue] {
            ERR_clear_error()
            guard let loaded = OSSL_PROVIDER_load(made, name) else {
                let detail = OpenSSLError.reason() ?? "its device cannot be reached"
                throw LinkFailure(.keyProviderUnusable(provider: provider.rawValue, detail: detail))
            }
            providers.append(loaded)
        }
    }

    deinit {
        for provider in providers.reversed() { OSSL_PROVIDER_unload(provider) }
        OSSL_LIB_CTX_free(context)
    }

    /// Makes a TLS context show this certificate and sign with its key.
    func use(_ certificate: ClientCertificate, in tls: OpaquePointer) throws(LinkFailure) {
        guard SSL_CTX_use_certificate_chain_file(tls, certificate.file) == 1 else {
            throw LinkFailure(
                .credentialsUnusable(
                    detail: "the certificate file \(certificate.file) cannot be read as PEM (\(OpenSSLError.text()))"))
        }
        switch certificate.key {
        case .file(let path):
            guard SSL_CTX_use_PrivateKey_file(tls, path, SSL_FILETYPE_PEM) == 1 else {
                throw LinkFailure(
                    .credentialsUnusable(
                        detail: "the key file \(path) cannot be read, or does not fit \(certificate.file) "
                            + "(\(OpenSSLError.text()))"))
            }
        case .inProvider(let name, let provider):
            let key = try load(name, provider)
            defer { EVP_PKEY_free(key) }
            guard SSL_CTX_use_PrivateKey(tls, key) == 1 else {
                throw LinkFailure(
                    .keyUnusable(
                        key: name, provider: provider.rawValue,
                        detail: "it does not fit \(certificate.file) (\(OpenSSLError.text()))"))
            }
        }
    }

    private func load(_ name: String, _ provider: KeyProvider) throws(LinkFailure) -> OpaquePointer {
        ERR_clear_error()
        guard let store = OSSL_STORE_open_ex(name, context, properties, nil, nil, nil, nil, nil) else {
            throw LinkFailure(
                .keyUnusable(key: name, provider: provider.rawValue, detail: OpenSSLError.text()))
        }
        defer { OSSL_STORE_close(store) }
        while OSSL_STORE_eof(store) == 0 {
            guard let info = OSSL_STORE_load(store) else { continue }
            defer { OSSL_STORE_INFO_free(info) }
            if let key = OSSL_STORE_INFO_get1_PKEY(info) { return key }
        }
        throw LinkFailure(
            .keyUnusable(
                key: name, provider: provider.rawValue, detail: OpenSSLError.reason() ?? "no private key is there"))
    }
}
