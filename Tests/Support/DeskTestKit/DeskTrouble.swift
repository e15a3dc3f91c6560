import HTTPTypes
import Hummingbird
import NIOCore
import Synchronization

/// What can go wrong between a client and the desk behind it, on demand.
public final class DeskTrouble: Sendable {
    /// What the client meets. Those that come "after" let the desk do its work first: the client cannot know that.
    public enum Kind: Sendable, CaseIterable {
        case failsBefore, failsAfter, garbageBefore, garbageAfter, hangsAfter
        /// 404 as an environment without the solution answers it.
        case noSuchTable
    }

    /// Requests that the trouble is for.
    public enum Target: Sendable { case anyRequest, writes }

    private let next = Mutex<(kind: Kind, count: Int, target: Target)?>(nil)
    private let changed = Mutex(0)

    /// How many requests to change a row have come so far.
    public var writes: Int { changed.withLock { $0 } }

    /// The next `count` requests to the Web API, or to the token endpoint, meet it.
    public func meet(_ kind: Kind, _ count: Int, _ target: Target = .anyRequest) {
        next.withLock { $0 = (kind, count, target) }
    }

    /// How many are still to come.
    public var remaining: Int { next.withLock { $0?.count ?? 0 } }

    fileprivate func take(_ request: Request) -> Kind? {
        if request.method == .patch { changed.withLock { $0 += 1 } }
        return next.withLock { next in
            guard let (kind, count, target) = next, count > 0 else { return nil }
            guard target == .anyRequest || request.method == .patch else { return nil }
            next = (kind, count - 1, target)
            return kind
        }
    }
}

struct TroubleMiddleware<Context: RequestContext>: RouterMiddleware {
    let trouble: DeskTrouble

    func handle(
        _ request: Request, context: Context, next: (Request, Context) async throws -> Response
    ) async throws -> Response {
        guard let kind = trouble.take(request) else { return try await next(request, context) }
        switch kind {
        case .failsBefore: break
        case .noSuchTable:
            let body = #"{"error":{"code":"0x8006088a","message":"Resource not found for the segment 'x'."}}"#
            return Response(status: .notFound, body: .init(byteBuffer: ByteBuffer(string: body)))
        case .garbageBefore: return Self.garbage
        case .failsAfter: _ = try await next(request, context)
        case .garbageAfter:
            _ = try await next(request, context)
            return Self.garbage
        case .hangsAfter:
            _ = try await next(request, context)
            try await Task.sleep(for: .seconds(60))
        }
        return Response(status: .internalServerError)
    }

    private static var garbage: Response {
        Response(status: .ok, body: .init(byteBuffer: ByteBuffer(string: "<html>not what was asked for")))
    }
}
