public import Hummingbird
public import Listeners
public import Logging

/// What the far end of a connection showed below HTTP.
public struct WebPeer: Sendable, Hashable {
    /// Its IP address; `nil` when it was gone before it could be asked.
    public var address: String?
    /// Its client certificate, if it has shown one.
    public var certificate: ShownCertificate?

    public init(address: String? = nil, certificate: ShownCertificate? = nil) {
        self.address = address
        self.certificate = certificate
    }
}

/// What a route knows of its request besides the request.
public struct WebRequestContext: RequestContext {
    /// Where a context begins.
    public struct Source: RequestContextSource {
        public let logger: Logger
        let peer: WebPeer
    }

    public var coreContext: CoreRequestContextStorage
    public let peer: WebPeer

    public init(source: Source) {
        coreContext = .init(source: source)
        peer = source.peer
    }
}
