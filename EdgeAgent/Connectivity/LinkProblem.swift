/// Why there is no link to the hub. Each case has its own text for the operator: what is wrong and what to do.
public enum LinkProblem: Sendable, Hashable {
    /// The host name of the hub has no address.
    case nameNotResolved(host: String)
    /// Nothing listens there.
    case connectionRefused(host: String, port: Int)
    /// No route, or no answer in time.
    case unreachable(host: String, port: Int, detail: String)
    /// The certificate is for other names.
    case wrongHostName(host: String)
    /// No CA that we trust signed the certificate.
    case unknownCertificateAuthority(host: String, caFile: String)
    case certificateExpired(host: String)
    case certificateNotYetValid(host: String)
    /// Any other reason of the certificate check, in the words of OpenSSL.
    case certificateRefused(host: String, reason: String)
    /// The TLS handshake failed for another reason than the certificate.
    case tlsFailed(host: String, detail: String)
    /// CONNACK code 1.
    case protocolVersionRefused(host: String)
    /// CONNACK code 2.
    case clientIDRefused(device: String)
    /// CONNACK code 3.
    case serverUnavailable(host: String)
    /// CONNACK code 4.
    case badUserNameOrPassword(device: String)
    /// CONNACK code 5. `clockGuess` says when our clock is not known to be right.
    case notAuthorised(device: String)
    /// CONNACK with a code that MQTT 3.1.1 does not have.
    case refusedOtherwise(code: Int)
    /// The hub did not answer CONNECT, or a ping, in time.
    case silent(host: String)
    /// The connection ended after it had been up.
    case lost(detail: String)
    /// Our own credentials cannot be used: a missing file, a key that does not fit.
    case credentialsUnusable(detail: String)
    /// The OpenSSL provider that should hold our key cannot be loaded, or does not reach its device.
    case keyProviderUnusable(provider: String, detail: String)
    /// The provider is there, but this key of it cannot be used.
    case keyUnusable(key: String, provider: String, detail: String)
    /// The HTTP proxy cannot be reached or does not behave as one.
    case proxyFailed(proxy: String, detail: String)
    /// The proxy answered CONNECT with this HTTP status.
    case proxyRefused(proxy: String, host: String, port: Int, status: Int)
    /// The hub did not open a WebSocket.
    case webSocketRefused(host: String, port: Int, detail: String)

    /// The refusals of CONNACK. Source: MQTT 3.1.1, table 3.1.
    public static func refused(code: Int, host: String, device: String) -> LinkProblem {
        switch code {
        case 1: .protocolVersionRefused(host: host)
        case 2: .clientIDRefused(device: device)
        case 3: .serverUnavailable(host: host)
        case 4: .badUserNameOrPassword(device: device)
        case 5: .notAuthorised(device: device)
        default: .refusedOtherwise(code: code)
        }
    }

    /// Whether time alone may heal it. The others are tried again too, because a person mends them at the hub while
    /// nobody stands at the gateway; but they are logged as errors.
    public var mayHealByItself: Bool {
        switch self {
        case .nameNotResolved, .connectionRefused, .unreachable, .serverUnavailable, .silent, .lost, .proxyFailed: true
        case .proxyRefused(_, _, _, let status): status >= 500
        case .wrongHostName, .unknownCertificateAuthority, .certificateExpired, .certificateNotYetValid,
            .certificateRefused, .tlsFailed, .protocolVersionRefused, .clientIDRefused, .badUserNameOrPassword,
            .notAuthorised, .refusedOtherwise, .credentialsUnusable, .keyProviderUnusable, .keyUnusable,
            .webSocketRefused:
            false
        }
    }

    /// One or two sentences: what is wrong, then what to do.
    public var operatorText: String { wrong + ". " + remedy + "." }

    private var wrong: String {
        switch self {
        case .nameNotResolved(let host): "The hub's name \(host) cannot be resolved"
        case .connectionRefused(let host, let port): "Nothing accepts connections at \(host) port \(port)"
        case .unreachable(let host, let port, let detail): "\(host) port \(port) cannot be reached: \(detail)"
        case .wrongHostName(let host): "The hub's certificate is not for the name \(host)"
        case .unknownCertificateAuthority(let host, _):
            "The certificate of \(host) was signed by an authority that this gateway does not know"
        case .certificateExpired(let host): "The certificate of \(host) has expired"
        case .certificateNotYetValid(let host): "The certificate of \(host) is not valid yet"
        case .certificateRefused(let host, let reason): "The certificate of \(host) was refused: \(reason)"
        case .tlsFailed(let host, let detail): "The TLS handshake with \(host) failed: \(detail)"
        case .protocolVersionRefused(let host): "\(host) does not speak MQTT 3.1.1 (CONNACK code 1)"
        case .clientIDRefused(let device): "The hub refused the client id \(device) (CONNACK code 2)"
        case .serverUnavailable(let host): "\(host) is not available at the moment (CONNACK code 3)"
        case .badUserNameOrPassword(let device):
            "The hub could not read user name or password of \(device) (CONNACK code 4)"
        case .notAuthorised(let device): "The hub does not let \(device) in (CONNACK code 5)"
        case .refusedOtherwise(let code): "The hub refused the connection with the unknown CONNACK code \(code)"
        case .silent(let host): "\(host) does not answer"
        case .lost(let detail): "The connection to the hub was lost: \(detail)"
        case .credentialsUnusable(let detail): "The credentials of this gateway cannot be used: \(detail)"
        case .keyProviderUnusable(let provider, let detail):
            "OpenSSL's provider \(provider), which holds this gateway's key, cannot be used: \(detail)"
        case .keyUnusable(let key, let provider, let detail):
            "The key \(key) of OpenSSL's provider \(provider) cannot be used: \(detail)"
        case .proxyFailed(let proxy, let detail): "The proxy \(proxy) cannot be used: \(detail)"
        case .proxyRefused(let proxy, let host, let port, 407):
            "The proxy \(proxy) lets nobody to \(host) port \(port) without a user and a password (HTTP status 407)"
        case .proxyRefused(let proxy, let host, let port, let status):
            "The proxy \(proxy) does not let this gateway to \(host) port \(port) (HTTP status \(status))"
        case .webSocketRefused(let host, let port, let detail):
            "\(host) port \(port) opens no WebSocket for MQTT: \(detail)"
        }
    }

    private var remedy: String {
        switch self {
        case .nameNotResolved:
            "Check the spelling of the host name in the configuration and the gateway's DNS server"
        case .connectionRefused:
            "Start the hub, or correct host and port in the configuration"
        case .unreachable:
            "Check the cable, the modem and the firewall between gateway and hub"
        case .wrongHostName:
            "Use a name that the certificate covers, or give the hub a certificate for this one"
        case .unknownCertificateAuthority(_, let caFile):
            caFile.isEmpty
                ? "Put the hub's CA certificate in a file and name it in the configuration"
                : "Copy the hub's CA certificate to \(caFile)"
        case .certificateExpired:
            "Renew it at the hub; if it should still be valid, check this gateway's clock"
        case .certificateNotYetValid:
            "Check this gateway's clock; it is probably behind"
        case .certificateRefused:
            "Give the hub a certificate that passes this check"
        case .tlsFailed:
            "Check that the port is the hub's MQTT-over-TLS port and that both sides allow TLS 1.2 or 1.3"
        case .protocolVersionRefused:
            "Check that host and port are those of the hub"
        case .clientIDRefused:
            "Check the device id in the configuration"
        case .serverUnavailable, .silent, .lost:
            "Nothing to do: the gateway keeps its readings and tries again"
        case .badUserNameOrPassword:
            "Check the host name, the device id and the key in the configuration"
        case .notAuthorised:
            "Check that the device exists and is enabled at the hub, that the key is its own, and that this gateway's"
                + " clock is right"
        case .refusedOtherwise:
            "Check that host and port are those of the hub"
        case .credentialsUnusable:
            "Correct the credentials in the configuration"
        case .keyProviderUnusable:
            "Check that the package tpm2-openssl is installed, that the TPM is there (/dev/tpmrm0, or what"
                + " TPM2OPENSSL_TCTI names), and that this agent may open it"
        case .keyUnusable:
            "Check with tpm2_readpublic that this TPM has the key, or that the key file was made by it, and that"
                + " certificate_file belongs to it"
        case .proxyFailed:
            "Check the proxy in the configuration, and the network between gateway and proxy"
        case .proxyRefused(_, _, _, 407):
            "Correct proxy_user and proxy_password_file in the configuration"
        case .proxyRefused:
            "Ask whoever runs the proxy to let CONNECT pass to this host and port"
        case .webSocketRefused:
            "Check host and port, or set transport to mqtt in the configuration"
        }
    }
}
