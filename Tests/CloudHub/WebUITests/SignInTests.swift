import Primitives
import Testing

@testable import WebUI

@Suite struct SignInTests {
    private let start = WallInstant(milliseconds: 1_000_000)

    @Test func aLinkOpensOneSession() throws {
        var random = SeededRandom(seed: 1)
        var signIn = SignIn()
        let link = signIn.linkRequested(user: "ada", now: start, using: &random)
        let opened = try #require(signIn.linkOpened(link, now: start, using: &random))
        #expect(opened.session.user == "ada")
        #expect(signIn.session(opened.id, now: start) == opened.session)
        #expect(signIn.linkOpened(link, now: start, using: &random) == nil, "a link must open once")
    }

    @Test func aLinkIsTooOldAfterFifteenMinutes() {
        var random = SeededRandom(seed: 2)
        var signIn = SignIn()
        let link = signIn.linkRequested(user: "ada", now: start, using: &random)
        #expect(signIn.linkOpened(link, now: start + .seconds(900), using: &random) == nil)
    }

    @Test func aSessionEndsAfterTwelveHoursOrWhenSignedOut() throws {
        var random = SeededRandom(seed: 3)
        var signIn = SignIn()
        let first = signIn.linkRequested(user: "ada", now: start, using: &random)
        let opened = try #require(signIn.linkOpened(first, now: start, using: &random))
        #expect(signIn.session(opened.id, now: start + .seconds(12 * 3600 - 1)) != nil)
        #expect(signIn.session(opened.id, now: start + .seconds(12 * 3600)) == nil)
        signIn.signedOut(opened.id)
        #expect(signIn.session(opened.id, now: start) == nil)
    }

    @Test func theOldestLinkGoesWhenThereAreTooMany() {
        var random = SeededRandom(seed: 4)
        var signIn = SignIn()
        let links = (0...SignIn.linkCountMax).map { index in
            signIn.linkRequested(user: "ada", now: start + .milliseconds(index), using: &random)
        }
        let now = start + .seconds(1)
        #expect(signIn.linkOpened(links[0], now: now, using: &random) == nil)
        #expect(signIn.linkOpened(links[1], now: now, using: &random) != nil)
    }
}
