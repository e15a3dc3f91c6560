/// The text of every template, by name.
enum TemplateText {
    static let all: [String: String] = [
        "head": head, "foot": foot, "sign-in": signIn, "problem": problem,
        "devices-page": devicesPage, "devices": devices, "device-card": deviceCard,
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
        <link rel="icon" href="/assets/icon.svg" type="image/svg+xml">
        <link rel="stylesheet" href="/assets/fieldline.css">
        <script src="/assets/live.js" defer></script>
        </head>
        <body>
        {{#user}}
        <a class="skip" href="#content">To the content</a>
        <header>
        <strong>Fieldline</strong>
        <nav aria-label="Pages"><a href="/"{{#onDevices}} aria-current="page"{{/onDevices}}>Devices</a>
        <a href="/alerts"{{#onAlerts}} aria-current="page"{{/onAlerts}}>Alerts</a></nav>
        <form method="post" action="/sign-out"><input type="hidden" name="form-token" value="{{formToken}}">
        <button class="quiet">Sign out {{user}}</button></form>
        </header>
        {{/user}}
        <main id="content">
        """

    private static let foot = """
        </main>
        <p id="news" class="unseen" role="status"></p>
        <p id="stale" role="alert" hidden>The hub does not answer. What you see may be old; it goes on by itself as soon \
        as the hub is back.</p>
        </body>
        </html>
        """

    private static let signIn = """
        {{> head}}
        {{#isUsed}}<h1>This link does not work any more</h1>
        <p>A sign-in link opens the pages once, within fifteen minutes. This one was used already, or is too old, or the
        hub was started again since. Make a new one on the hub's machine:</p>{{/isUsed}}
        {{^isUsed}}<h1>Sign in</h1>
        <p>These pages open with a one-time link, and you are not signed in. Make a link on the hub's machine, and open it
        within fifteen minutes:</p>{{/isUsed}}
        <pre>cloud-hub sign-in --data DIR</pre>
        <p class="note">DIR is the folder that the hub was started with. The demo prints a new link when you press l in
        its terminal.</p>
        {{> foot}}
        """

    private static let problem = """
        {{> head}}
        <h1>{{title}}</h1>
        <p>{{text}}</p>
        <p>{{#back}}<a href="{{back}}">Back to the alert</a> · {{/back}}<a href="/">Devices</a> ·
        <a href="/alerts">Alerts</a></p>
        {{> foot}}
        """

    private static let devicesPage = """
        {{> head}}
        <h1>Devices</h1>
        <form class="search" role="search" action="/">
        <label for="q">Find by id</label>
        <input id="q" name="q" type="search" value="{{query}}" maxlength="128" autocomplete="off">
        <button>Find</button>
        </form>
        <div data-live="/fragments/devices?q={{queryEncoded}}&amp;page={{page}}">{{> devices}}</div>
        <p class="note" id="reload">Reload this page to see newer values.</p>
        {{> foot}}
        """

    private static let devices = """
        {{#hasAlerts}}
        <section class="trouble" data-news="{{alertNews}}"><h2>{{alertNews}}</h2>
        <ul>{{#openAlerts}}<li><a href="/alerts/{{id}}">{{alertTitle}}</a></li>{{/openAlerts}}</ul>
        {{#moreAlerts}}<p><a href="/alerts">All open alerts</a></p>{{/moreAlerts}}</section>
        {{/hasAlerts}}
        {{#hasNone}}<p>No device yet. Make one with <code>cloud-hub device create ID --data DIR</code>.</p>{{/hasNone}}
        {{#foundNone}}<p>No device's id contains “{{query}}”. <a href="/">Show all devices</a></p>{{/foundNone}}
        {{#counts}}<p class="note">{{counts}}</p>{{/counts}}
        <ul class="cards">
        {{#devices}}{{> device-card}}{{/devices}}
        </ul>
        {{#hasPages}}<nav class="pages" aria-label="Pages of devices">
        {{#previous}}<a href="/?q={{queryEncoded}}&amp;page={{previous}}">‹ Previous</a>{{/previous}}
        <span>Page {{page}} of {{pageCount}}</span>
        {{#next}}<a href="/?q={{queryEncoded}}&amp;page={{next}}">Next ›</a>{{/next}}</nav>{{/hasPages}}
        """

    private static let deviceCard = """
        <li class="card {{state}}{{#hasTrouble}} troubled{{/hasTrouble}}" data-device="{{id}}">
        <h2>{{id}} <span class="badge {{state}}">{{state}}</span></h2>
        {{#hasGateway}}<p class="note">through {{gateway}}</p>{{/hasGateway}}
        {{#isGateway}}<p class="note">gateway</p>{{/isGateway}}
        {{#trouble}}<p class="wrong"><a href="/alerts/{{id}}">{{alertTitle}}</a></p>{{/trouble}}
        {{#isMissing}}<p class="wrong" data-missing>{{missing}}</p>{{/isMissing}}
        {{#isLost}}<p class="wrong" data-lost>{{lost}}</p>{{/isLost}}
        <dl>
        {{#metrics}}
        <div><dt>{{name}}</dt><dd data-metric="{{name}}" title="{{time}}">{{value}} {{unit}}\
        {{#isDoubtful}} <span class="badge doubtful">{{quality}}</span>{{/isDoubtful}}\
        {{#old}} <span class="old">{{old}}</span>{{/old}}</dd></div>
        {{/metrics}}
        </dl>
        <p class="note">{{heard}}</p>
        </li>
        """

    private static let alertsPage = """
        {{> head}}
        <h1>Alerts</h1>
        <div data-live="/fragments/alerts">{{> alerts}}</div>
        <p class="note" id="reload">Reload this page to see newer alerts.</p>
        {{> foot}}
        """

    private static let alerts = """
        <h2 data-news="{{alertNews}}">{{alertNews}}</h2>
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
        <span class="badge{{#isOpen}} offline{{/isOpen}}">{{status}}</span>
        <p class="note">{{device}} · <time datetime="{{time}}">{{age}}</time></p>
        </li>
        """

    private static let alertPage = """
        {{> head}}
        <div data-live="/fragments/alerts/{{id}}">{{> alert}}</div>
        <section class="commands">
        <h2>Send a command to {{device}}</h2>
        <form method="post" action="/alerts/{{id}}/commands">
        <input type="hidden" name="form-token" value="{{formToken}}">
        <button name="command" value="Reset Thermostat">Reset Thermostat</button>
        <span class="note">The device goes back to its normal state.</span>
        </form>
        <form method="post" action="/alerts/{{id}}/commands">
        <input type="hidden" name="form-token" value="{{formToken}}">
        <label>Temperature, °C <input name="temperature" inputmode="decimal" size="6" maxlength="32" autocomplete="off">\
        </label>
        <label>Humidity, % <input name="humidity" inputmode="decimal" size="6" maxlength="32" autocomplete="off"></label>
        <button name="command" value="Set Values">Set Values</button>
        </form>
        <form method="post" action="/alerts/{{id}}/commands">
        <input type="hidden" name="form-token" value="{{formToken}}">
        <label class="wide">Message <input name="message" maxlength="500" required autocomplete="off"></label>
        <button name="command" value="Notification">Notification</button>
        </form>
        </section>
        {{> foot}}
        """

    private static let alert = """
        <h1>{{alertTitle}}</h1>
        <p data-alert="{{id}}" data-state="{{#isOpen}}open{{/isOpen}}{{^isOpen}}closed{{/isOpen}}" data-news="{{status}}">
        <span class="badge{{#isOpen}} offline{{/isOpen}}">{{status}}</span> {{device}}
        · <time datetime="{{time}}">{{age}}</time></p>
        <p class="advice">{{advice}}</p>
        {{#deviceNow}}<ul class="cards">{{> device-card}}</ul>{{/deviceNow}}
        {{#hasFacts}}<dl class="facts">{{#facts}}<div><dt>{{name}}</dt><dd>{{value}}</dd></div>{{/facts}}</dl>{{/hasFacts}}
        {{#hasCommands}}
        <h2>Commands</h2>
        <ul class="lines">
        {{#commands}}<li data-news="{{name}}: {{badge}}" data-command="{{name}}" data-status="{{status}}">{{name}} \
        <span class="badge {{badgeClass}}">{{badge}}</span>
        <p class="note">{{reason}} · <time datetime="{{time}}">{{age}}</time></p></li>{{/commands}}
        </ul>
        {{/hasCommands}}
        <h2>History</h2>
        <ol class="lines history">
        {{#history}}<li>{{what}} <span class="note">{{actor}} · {{time}}</span></li>{{/history}}
        </ol>
        <details><summary>For the technician: the alert's data and the desk's records</summary><pre>{{data}}</pre>
        <ol class="note">{{#history}}<li>{{time}} {{record}}</li>{{/history}}</ol></details>
        """
}
