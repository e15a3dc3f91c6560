/// The text of every template, by name.
enum TemplateText {
    static let all: [String: String] = [
        "head": head, "foot": foot, "sign-in": signIn, "problem": problem,
        "devices-page": devicesPage, "devices": devices,
        "alerts-page": alertsPage, "alerts": alerts, "alert-line": alertLine,
        "alert-page": alertPage, "alert": alert,
    ]

    private static let head = """
        <!doctype html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>{{title}} · Fieldline</title>
        <link rel="stylesheet" href="/assets/fieldline.css">
        <script src="/assets/live.js" defer></script>
        </head>
        <body>
        {{#user}}
        <header>
        <strong>Fieldline</strong>
        <nav><a href="/">Devices</a> <a href="/alerts">Alerts</a></nav>
        <form method="post" action="/sign-out"><input type="hidden" name="form-token" value="{{formToken}}">
        <button class="quiet">Sign out {{user}}</button></form>
        </header>
        {{/user}}
        <main>
        """

    private static let foot = """
        </main>
        <p id="stale" role="status" hidden>The hub does not answer; what you see may be old.</p>
        </body>
        </html>
        """

    private static let signIn = """
        {{> head}}
        <h1>Sign in</h1>
        <p>These pages open with a one-time link. Make one on the hub's machine and open it within fifteen minutes:</p>
        <pre>cloud-hub sign-in --data DIR</pre>
        <p>If you came here by a link, it has been used already or is too old.</p>
        {{> foot}}
        """

    private static let problem = """
        {{> head}}
        <h1>{{title}}</h1>
        <p>{{text}}</p>
        <p><a href="/">Devices</a> · <a href="/alerts">Alerts</a></p>
        {{> foot}}
        """

    private static let devicesPage = """
        {{> head}}
        <h1>Devices</h1>
        <div data-live="/fragments/devices">{{> devices}}</div>
        {{> foot}}
        """

    private static let devices = """
        {{#hasNone}}<p>No device yet. Make one with <code>cloud-hub device create ID</code>.</p>{{/hasNone}}
        <ul class="cards">
        {{#devices}}
        <li class="card {{state}}" data-device="{{id}}">
        <h2>{{id}} <span class="badge {{state}}">{{state}}</span></h2>
        {{#hasGateway}}<p class="note">through {{gateway}}</p>{{/hasGateway}}
        <dl>
        {{#metrics}}
        <div><dt>{{name}}</dt><dd data-metric="{{name}}" title="{{time}}">{{value}} {{unit}}\
        {{#isDoubtful}} <span class="badge doubtful">{{quality}}</span>{{/isDoubtful}}</dd></div>
        {{/metrics}}
        </dl>
        {{#wasHeard}}<p class="note">last heard {{lastActivity}}</p>{{/wasHeard}}
        </li>
        {{/devices}}
        </ul>
        """

    private static let alertsPage = """
        {{> head}}
        <h1>Alerts</h1>
        <div data-live="/fragments/alerts">{{> alerts}}</div>
        {{> foot}}
        """

    private static let alerts = """
        {{#hasNoneOpen}}<p>No open alert.</p>{{/hasNoneOpen}}
        <ul class="lines">
        {{#open}}{{> alert-line}}{{/open}}
        </ul>
        {{#hasClosed}}
        <h2>Closed</h2>
        <ul class="lines">
        {{#closed}}{{> alert-line}}{{/closed}}
        </ul>
        {{/hasClosed}}
        """

    private static let alertLine = """
        <li data-alert="{{id}}" data-state="{{#isOpen}}open{{/isOpen}}{{^isOpen}}closed{{/isOpen}}">
        <a href="/alerts/{{id}}">{{alertTitle}}</a>
        <span class="badge">{{status}}</span>
        <p class="note">{{device}} · {{time}}</p>
        </li>
        """

    private static let alertPage = """
        {{> head}}
        <div data-live="/fragments/alerts/{{id}}">{{> alert}}</div>
        <h2>Send a command</h2>
        <div class="commands">
        <form method="post" action="/alerts/{{id}}/commands">
        <input type="hidden" name="form-token" value="{{formToken}}">
        <button name="command" value="Reset Thermostat">Reset Thermostat</button>
        </form>
        <form method="post" action="/alerts/{{id}}/commands">
        <input type="hidden" name="form-token" value="{{formToken}}">
        <label>Temperature <input name="temperature" inputmode="decimal" size="6"></label>
        <label>Humidity <input name="humidity" inputmode="decimal" size="6"></label>
        <button name="command" value="Set Values">Set Values</button>
        </form>
        <form method="post" action="/alerts/{{id}}/commands">
        <input type="hidden" name="form-token" value="{{formToken}}">
        <label>Message <input name="message" maxlength="500"></label>
        <button name="command" value="Notification">Notification</button>
        </form>
        </div>
        {{> foot}}
        """

    private static let alert = """
        <h1>{{alertTitle}}</h1>
        <p data-alert="{{id}}" data-state="{{#isOpen}}open{{/isOpen}}{{^isOpen}}closed{{/isOpen}}">
        <span class="badge">{{status}}</span> {{device}} · {{time}}</p>
        {{#hasCommands}}
        <h2>Commands</h2>
        <ul class="lines">
        {{#commands}}<li data-command="{{name}}" data-status="{{status}}">{{name}} <span class="badge">{{status}}</span>
        <p class="note">{{reason}} · {{time}}</p></li>{{/commands}}
        </ul>
        {{/hasCommands}}
        <h2>History</h2>
        <ol class="lines">
        {{#history}}<li>{{what}}<p class="note">{{actor}} · {{time}}</p></li>{{/history}}
        </ol>
        <details><summary>Data of the alert</summary><pre>{{data}}</pre></details>
        """
}
