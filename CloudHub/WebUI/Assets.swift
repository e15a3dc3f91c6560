/// The one style sheet and the one script.
enum Assets {
    /// Nothing but our own files: an injected script or style would not run even if it got through the escaping.
    static let contentSecurityPolicy =
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        + "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

    static func named(_ name: String) -> (type: String, text: String)? {
        switch name {
        case "fieldline.css": ("text/css; charset=utf-8", styleSheet)
        case "live.js": ("text/javascript; charset=utf-8", script)
        default: nil
        }
    }

    /// Fetches each live fragment again every second while the page is visible, and says so when the hub is silent.
    private static let script = """
        "use strict";
        const stale = document.getElementById("stale");
        async function refresh(element) {
            const answer = await fetch(element.dataset.live, { headers: { accept: "text/html" } });
            if (answer.redirected) { location.reload(); return; }
            if (!answer.ok) { throw new Error("status " + answer.status); }
            const html = await answer.text();
            const open = element.querySelector("details")?.open;
            if (html !== element.lastHTML) { element.innerHTML = html; element.lastHTML = html; }
            const details = element.querySelector("details");
            if (details && open) { details.open = true; }
        }
        async function tick() {
            if (!document.hidden) {
                try {
                    for (const element of document.querySelectorAll("[data-live]")) { await refresh(element); }
                    stale.hidden = true;
                } catch (error) {
                    stale.hidden = false;
                }
            }
            setTimeout(tick, 1000);
        }
        setTimeout(tick, 1000);
        """

    private static let styleSheet = """
        :root { color-scheme: light dark; --line: #8884; --good: #18794e; --bad: #c62a2f; --quiet: #777; }
        * { box-sizing: border-box; }
        body { margin: 0; font: 16px/1.45 system-ui, sans-serif; }
        header { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; padding: .6rem 1rem;
            border-bottom: 1px solid var(--line); }
        header nav { flex: 1; display: flex; gap: 1rem; }
        main { max-width: 60rem; margin: 0 auto; padding: 0 1rem 3rem; }
        h1 { font-size: 1.4rem; overflow-wrap: anywhere; }
        h2 { font-size: 1.05rem; overflow-wrap: anywhere; margin: .2rem 0; }
        main > h2, main > div > h2 { margin-top: 1.6rem; }
        ul, ol { padding: 0; list-style: none; }
        .cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: .8rem; }
        .card { border: 1px solid var(--line); border-radius: .5rem; padding: .7rem .9rem; }
        dl { margin: .4rem 0; }
        dl div { display: flex; justify-content: space-between; gap: 1rem; border-top: 1px solid var(--line);
            padding: .15rem 0; }
        dt, dd { margin: 0; overflow-wrap: anywhere; }
        dd { font-variant-numeric: tabular-nums; text-align: right; }
        .lines li { border-top: 1px solid var(--line); padding: .6rem 0; overflow-wrap: anywhere; }
        .note { color: var(--quiet); margin: .1rem 0; font-size: .85rem; overflow-wrap: anywhere; }
        .badge { font-size: .75rem; font-weight: 600; border: 1px solid var(--line); border-radius: 1rem;
            padding: .05rem .55rem; white-space: nowrap; }
        .badge.connected { color: var(--good); border-color: var(--good); }
        .badge.offline, .badge.disabled, .badge.doubtful { color: var(--bad); border-color: var(--bad); }
        .commands form { display: flex; flex-wrap: wrap; gap: .6rem; align-items: center; margin: .8rem 0; }
        button { font: inherit; padding: .55rem 1rem; border-radius: .4rem; border: 1px solid var(--line);
            cursor: pointer; }
        button.quiet { padding: .2rem .6rem; font-size: .85rem; }
        input { font: inherit; padding: .45rem; border-radius: .4rem; border: 1px solid var(--line); max-width: 100%; }
        pre { overflow: auto; padding: .6rem; border: 1px solid var(--line); border-radius: .4rem; }
        #stale { position: fixed; bottom: 0; left: 0; right: 0; margin: 0; padding: .6rem 1rem; background: #c62a2f;
            color: #fff; }
        """
}
