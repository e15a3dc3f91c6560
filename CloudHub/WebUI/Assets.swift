/// The one style sheet, the one script and the icon.
enum Assets {
    /// Nothing but our own files: an injected script or style would not run even if it got through the escaping.
    static let contentSecurityPolicy =
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        + "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

    static func named(_ name: String) -> (type: String, text: String)? {
        switch name {
        case "fieldline.css": ("text/css; charset=utf-8", styleSheet)
        case "live.js": ("text/javascript; charset=utf-8", script)
        case "icon.svg": ("image/svg+xml", icon)
        default: nil
        }
    }

    private static let icon = """
        <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="#18794e"/>\
        <path d="M3 9h2l2-5 2 8 2-3h2" fill="none" stroke="#fff" stroke-width="1.5"/></svg>
        """

    /// Fetches each live fragment again every second while the page is visible, and says so when the hub is silent. Only
    /// what changed is touched, so that focus, selection and opened details stay. What is new is said to screen readers.
    private static let script = """
        "use strict";
        const stale = document.getElementById("stale");
        const news = document.getElementById("news");
        function update(node, wanted) {
            if (node.nodeType !== Node.ELEMENT_NODE) {
                if (node.nodeValue !== wanted.nodeValue) { node.nodeValue = wanted.nodeValue; }
                return;
            }
            for (const { name } of [...node.attributes]) {
                if (!wanted.hasAttribute(name) && name !== "open") { node.removeAttribute(name); }
            }
            for (const { name, value } of wanted.attributes) {
                if (node.getAttribute(name) !== value) { node.setAttribute(name, value); }
            }
            updateChildren(node, wanted);
        }
        function updateChildren(node, wanted) {
            const after = [...wanted.childNodes];
            for (const [index, child] of after.entries()) {
                const now = node.childNodes[index];
                if (!now) { node.append(child); }
                else if (now.nodeName !== child.nodeName) { now.replaceWith(child); }
                else { update(now, child); }
            }
            while (node.childNodes.length > after.length) { node.lastChild.remove(); }
        }
        function heard(element) {
            return [...element.querySelectorAll("[data-news]")].map(part => part.dataset.news);
        }
        async function refresh(element) {
            const answer = await fetch(element.dataset.live,
                { headers: { accept: "text/html" }, signal: AbortSignal.timeout(5000) });
            if (answer.redirected) { location.reload(); return; }
            if (!answer.ok) { throw new Error("status " + answer.status); }
            const before = heard(element);
            const body = new DOMParser().parseFromString(await answer.text(), "text/html").body;
            updateChildren(element, body);
            const fresh = heard(element).filter(text => !before.includes(text));
            if (fresh.length > 0) { news.textContent = fresh.join(". "); }
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
        const reload = document.getElementById("reload");
        if (reload) { reload.hidden = true; }
        if (document.querySelector("[data-live]")) { setTimeout(tick, 1000); }
        """

    private static let styleSheet = """
        :root { color-scheme: light dark; --line: #0003; --good: #12683f; --bad: #b3161c; --quiet: #555; --wash: #fdecec;
            --page: #fff; --ink: #161616; --link: #0b57d0; }
        @media (prefers-color-scheme: dark) {
            :root { --line: #fff4; --good: #5fd39b; --bad: #ff8f8f; --quiet: #b4b4b4; --wash: #3a1718; --page: #151515;
                --ink: #eee; --link: #9cc1ff; }
        }
        * { box-sizing: border-box; }
        body { margin: 0; font: 16px/1.45 system-ui, sans-serif; background: var(--page); color: var(--ink); }
        a { color: var(--link); }
        :focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
        .skip { position: absolute; left: -100rem; }
        .skip:focus { position: static; display: block; padding: .5rem 1rem; }
        .unseen { position: absolute; width: 1px; height: 1px; margin: 0; overflow: hidden; clip-path: inset(50%); }
        header { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; padding: .6rem 1rem;
            border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
        header nav { flex: 1; display: flex; gap: 1rem; }
        nav a { display: inline-block; padding: .35rem 0; white-space: nowrap; }
        nav a[aria-current] { color: inherit; font-weight: 600; text-decoration: none;
            border-bottom: 2px solid var(--link); }
        main { max-width: 60rem; margin: 0 auto; padding: 0 1rem 4rem; }
        h1 { font-size: 1.4rem; overflow-wrap: anywhere; margin: 1rem 0 .6rem; }
        h2 { font-size: 1.05rem; overflow-wrap: anywhere; margin: .2rem 0; }
        main > h2, main > div > h2, .commands > h2 { margin-top: 1.6rem; }
        section.trouble { margin-bottom: .8rem; }
        ul, ol { padding: 0; margin: .6rem 0; list-style: none; }
        .search { display: flex; flex-wrap: wrap; gap: .6rem; align-items: center; margin: .6rem 0; }
        .search input { flex: 1 1 8rem; max-width: 20rem; }
        .cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(16rem, 100%), 1fr)); gap: .8rem; }
        .card { border: 1px solid var(--line); border-radius: .5rem; padding: .7rem .9rem; min-width: 0; }
        .card.troubled { border-color: var(--bad); border-left-width: .35rem; }
        .trouble { background: var(--wash); border: 1px solid var(--bad); border-radius: .5rem; padding: .7rem .9rem;
            overflow-wrap: anywhere; }
        .trouble li { padding: .2rem 0; }
        .wrong { margin: .3rem 0; overflow-wrap: anywhere; }
        .wrong a { color: var(--bad); font-weight: 600; }
        .advice { border-left: .3rem solid var(--link); padding-left: .7rem; }
        dl { margin: .4rem 0; }
        dl div { display: flex; justify-content: space-between; gap: 1rem; border-top: 1px solid var(--line);
            padding: .15rem 0; }
        dt, dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
        dd { font-variant-numeric: tabular-nums; text-align: right; }
        .facts { max-width: 28rem; }
        .lines li { border-top: 1px solid var(--line); padding: .5rem 0; overflow-wrap: anywhere; }
        .note, .old { color: var(--quiet); margin: .1rem 0; font-size: .875rem; overflow-wrap: anywhere; }
        .badge { font-size: .8rem; font-weight: 600; border: 1px solid currentColor; border-radius: 1rem;
            padding: .05rem .55rem; color: var(--quiet); display: inline-block; }
        .badge.connected, .badge.done { color: var(--good); }
        .badge.offline, .badge.disabled, .badge.doubtful, .badge.failed { color: var(--bad); }
        .pages { display: flex; gap: 1rem; justify-content: center; align-items: center; margin: 1rem 0; }
        .commands form { display: flex; flex-wrap: wrap; gap: .6rem; align-items: center; margin: .8rem 0; }
        .commands .wide { flex: 1 1 14rem; display: flex; gap: .4rem; align-items: center; max-width: 30rem; }
        .commands .wide input { flex: 1; min-width: 6rem; }
        button { font: inherit; padding: .55rem 1rem; border-radius: .4rem; border: 1px solid var(--quiet);
            cursor: pointer; color: var(--ink); background: transparent; min-height: 2.5rem; max-width: 100%;
            overflow-wrap: anywhere; }
        button:hover { border-color: var(--link); }
        button.quiet { padding: .2rem .6rem; font-size: .875rem; min-height: 2rem; }
        input { font: inherit; padding: .45rem; border-radius: .4rem; border: 1px solid var(--quiet); max-width: 100%;
            color: var(--ink); background: transparent; }
        pre { white-space: pre-wrap; overflow-wrap: anywhere; padding: .6rem; border: 1px solid var(--line);
            border-radius: .4rem; }
        details { margin-top: 1rem; }
        summary { cursor: pointer; padding: .3rem 0; }
        #stale { position: fixed; bottom: 0; left: 0; right: 0; margin: 0; padding: .6rem 1rem; background: #b3161c;
            color: #fff; }
        """
}
