internal import Connectivity
internal import HubContract
public import HubTransport
internal import Primitives
internal import Tunnels

extension UplinkSettings {
    /// How a document is fetched: from the hub's own web server with the gateway's credentials, from any other without.
    ///
    /// - Parameters:
    ///   - address: `https://…`, or a path that begins with `/` and is meant at the hub's web server.
    ///   - foreignCAFile: PEM file of the authorities that may vouch for other servers; `nil` for the system's.
    ///   - present: seconds since 1970; a token is good from then on.
    /// - Returns: `nil` when the address is none.
    public func documentEndpoint(
        _ address: String, bytesMax: Int, foreignCAFile: String?, present: Int64
    ) -> HubEndpoint? {
        let isPath = address.hasPrefix("/") && !address.hasPrefix("//")
        let found = isPath ? (host: hubHost, port: httpsPort, path: address) : WebRequest.parts(of: address)
        guard let found else { return nil }
        let isHub = found.host.lowercased() == hubHost.lowercased() && found.port == httpsPort
        var endpoint = HubEndpoint(host: found.host, port: found.port, caFile: isHub ? caFile : foreignCAFile)
        endpoint.inner = .document
        endpoint.proxy = proxy
        endpoint.connectTimeMax = link.connectTimeMax
        var authorization: Secret?
        if isHub {
            switch credentials {
            case .certificate(let certificate): endpoint.certificate = certificate
            case .sharedAccessKey: authorization = token(present: present)
            }
        }
        endpoint.request = WebRequest(
            host: found.host, port: found.port, path: found.path, authorization: authorization, bytesMax: bytesMax)
        return endpoint
    }

    /// A token of the gateway; `nil` with a certificate.
    func token(present: Int64) -> Secret? {
        guard case .sharedAccessKey(let key) = credentials else { return nil }
        let token = SASToken.build(
            resource: SASToken.resource(host: accountHost, path: HubIdentity(gateway).resourcePath), key: key.bytes,
            expiry: present + tokenLifetime.components.seconds
        ) { GatewayCrypto.hmacSHA256(key: $0, message: $1) }
        return Secret(token.utf8)
    }
}
