"""A person and a service: what they may do, what is written down of it, and that only the connector reaches a device."""

import html
import json
import re
import sqlite3
import urllib.parse
import urllib.request

import pytest

from clients import BATCH_TYPE, PUBLISH, HubUnderTest, same, trusting
from stage import Browser, Stage, wait_until

TIME = r"<\d{4}-\d\d-\d\dT[\d:]+[+-]\d{4}>"
JSON_BAG = "$.ct=application%2Fjson&$.ce=utf-8"
RULE = """
[[rule]]
name = "overheat"
device = "thermostat-1"
metric = "temperature"
when = "> 70"
severity = "critical"
message = "{device} is at {value}"
"""


def start(stage, *extra, **options):
    config = stage.folder / "cloud-hub.toml"
    config.write_text(RULE)
    return HubUnderTest(stage, ("--config", config, *extra), **options)


def stop(hub):
    assert hub.process.stop() == 0
    hub.stage.forget(hub.process)


def overheat(hub):
    """A thermostat whose fault has become an alert."""
    hub.create("thermostat-1")
    device = hub.connect("thermostat-1")
    device.acknowledged(device.publish({"temperature": 80}, bag=JSON_BAG))
    return device


def sign_in(hub, user="anna"):
    browser = Browser(f"http://127.0.0.1:{hub.process.http}")
    assert browser.open_link(hub.stage.hub_command("sign-in", "--user", user, data=hub.process.data))
    return browser


def the_alert(browser):
    ((alert, title),) = wait_until("the alert", browser.alerts)
    assert title == "thermostat-1 is at 80"
    return alert


class DeskClient:
    """A service with the desk's client credentials, over the Dataverse Web API."""

    def __init__(self, hub):
        self.credentials = json.loads((hub.process.data / "desk-client.json").read_text())
        self.base = f"http://127.0.0.1:{hub.process.http}"
        form = {"grant_type": "client_credentials", "client_id": self.credentials["client_id"],
                "client_secret": self.credentials["client_secret"], "scope": f"{self.base}/.default"}
        url = f"{self.base}/{self.credentials['tenant']}/oauth2/v2.0/token"
        with urllib.request.urlopen(url, urllib.parse.urlencode(form).encode(), timeout=20) as answer:
            self.token = json.load(answer)["access_token"]

    def create(self, table, row):
        """The id of the new row."""
        request = urllib.request.Request(
            f"{self.base}/api/data/v9.2/{table}", json.dumps(row).encode(),
            {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 204
            return re.search(r"\(([^)]+)\)$", answer.headers["OData-EntityId"]).group(1)


def audit(data, table):
    """Who did what to which row of the table, in order."""
    with sqlite3.connect(f"file:{data}/desk.sqlite?mode=ro", uri=True) as desk:
        rows = desk.execute(
            'SELECT actor, action, "row", changed FROM desk_audit WHERE tableName = ? ORDER BY sequence', (table,)).fetchall()
    desk.close()
    return rows


def listens(hub):
    """The thermostat, subscribed for everything that can reach a device."""
    device = hub.connect("thermostat-1")
    assert device.subscribe("$iothub/methods/POST/#", qos=0) == 0
    assert device.subscribe("devices/thermostat-1/messages/devicebound/#", qos=0) == 0
    return device


def nothing_but(hub, device, marker):
    """Whatever was on its way came before this message of ours, which the device is sent now."""
    hub.stage.hub_command("device", "send", "thermostat-1", marker, data=hub.process.data)
    topic, body = device.message()
    assert topic.startswith("devices/thermostat-1/messages/devicebound/"), topic
    assert body.decode() == marker
    assert not device.has(PUBLISH)


def test_without_the_connector_a_command_is_a_row_and_nothing_else_and_with_it_the_device_gets_it_once(stage):
    hub = start(stage, name="first")
    overheat(hub).close()
    alert = the_alert(sign_in(hub))
    stop(hub)

    hub = start(stage, "--without-connector", name="without")
    same(hub.log("the connector does not run"),
         f"{TIME} warning hub: [cloud_hub] the connector does not run: faults wait, and no command reaches a device")
    device, browser, service = listens(hub), sign_in(hub), DeskClient(hub)
    browser.send_command(alert, "Reset Thermostat")
    row = service.create("msdyn_iotdevicecommands", {
        "msdyn_name": "Notification", "msdyn_deviceid": "thermostat-1",
        "msdyn_message": '{"CommandName":"Notification","Parameters":{"Message":"look at me"}}',
        "msdyn_ParentAlert@odata.bind": f"/msdyn_iotalerts({alert})"})
    waiting = [("Notification", "In Progress"), ("Reset Thermostat", "In Progress")]
    assert sorted(command[:2] for command in browser.commands(alert)) == waiting
    nothing_but(hub, device, "nothing came before")
    assert sorted(command[:2] for command in browser.commands(alert)) == waiting
    device.close()
    stop(hub)
    written = audit(hub.process.data, "msdyn_iotdevicecommand")
    assert [(actor, action) for actor, action, _, _ in written] == [
        ("user anna", "create"), (f"application {service.credentials['client_id']}", "create")]
    assert written[1][2] == row
    same(written[0][3], 'msdyn_name = Reset Thermostat; msdyn_message = {"CommandName":"Reset Thermostat","Parameters":{}}; '
         f"msdyn_deviceid = thermostat-1; msdyn_device = <[0-9a-f-]+>; msdyn_parentalert = {alert}")
    assert written[1][3] == (
        'msdyn_name = Notification; msdyn_message = {"CommandName":"Notification","Parameters":{"Message":"look at me"}}; '
        f"msdyn_deviceid = thermostat-1; msdyn_parentalert = {alert}")

    hub = start(stage, name="with")
    device, browser = listens(hub), sign_in(hub)
    came = []
    for _ in range(2):
        topic, body = device.message()
        method = re.match(r"\$iothub/methods/POST/(\w+)/\?\$rid=(\w+)$", topic)
        if method:
            came.append((method.group(1), json.loads(body)))
            device.publish({}, topic=f"$iothub/methods/res/200/?$rid={method.group(2)}")
        else:
            bag = dict(urllib.parse.parse_qsl(topic.rsplit("/", 1)[1]))
            came.append((bag["method-name"], json.loads(body)))
    assert sorted(came, key=str) == [("Notify", {"Message": "look at me"}), ("Reset", {})]
    done = [("Notification", "Sent"), ("Reset Thermostat", "Sent")]
    wait_until("both rows' ends", lambda: sorted(command[:2] for command in browser.commands(alert)) == done)
    nothing_but(hub, device, "nothing came again")
    device.close()
    stop(hub)


# -- the pages


@pytest.fixture(scope="module")
def hub(programs, tmp_path_factory):
    with Stage(programs, tmp_path_factory.mktemp("hub")) as stage:
        hub = start(stage)
        overheat(hub).close()
        yield hub


@pytest.fixture
def browser(hub):
    return sign_in(hub)


def test_a_link_opens_one_session_and_no_second(hub):
    browser = Browser(f"http://127.0.0.1:{hub.process.http}")
    link = hub.stage.hub_command("sign-in", data=hub.process.data)
    assert re.fullmatch(rf"http://127\.0\.0\.1:{hub.process.http}/sign-in/[0-9a-f]{{32}}", link)
    path = urllib.parse.urlparse(link).path
    status, headers, _ = browser.request(path)
    assert (status, headers["Location"]) == (303, "/")
    assert re.fullmatch(
        "fieldline_session=[0-9a-f]{64}; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200", headers["Set-Cookie"])
    for path in (path, "/sign-in/" + "0" * 64, "/sign-in/x"):
        status, headers, text = browser.request(path)
        assert (status, headers["Set-Cookie"]) == (401, None)
        assert "<h1>This link does not work any more</h1>" in text


def test_over_https_the_session_cookie_is_secure_and_the_plain_listener_does_not_take_it(hub):
    link = hub.stage.hub_command("sign-in", data=hub.process.data)
    browser = Browser(f"https://localhost:{hub.process.https}", trusting(hub.process))
    status, headers, _ = browser.request(urllib.parse.urlparse(link).path)
    assert (status, headers["Location"]) == (303, "/")
    assert re.fullmatch(
        "__Host-fieldline_session=[0-9a-f]{64}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=43200",
        headers["Set-Cookie"])
    browser.cookie = headers["Set-Cookie"].split(";")[0]
    assert browser.request("/")[0] == 200
    plain = Browser(f"http://127.0.0.1:{hub.process.http}")
    plain.cookie = browser.cookie
    assert plain.request("/")[0] == 303


def test_without_a_session_every_page_leads_to_the_sign_in_and_tells_nothing(hub, browser):
    alert = the_alert(browser)
    stranger = Browser(browser.base)
    for cookie in (None, "fieldline_session=" + "0" * 64, "other=1"):
        stranger.cookie = cookie
        for path in ("/", "/alerts", f"/alerts/{alert}", "/fragments/devices", "/fragments/alerts", f"/fragments/alerts/{alert}"):
            status, headers, text = stranger.request(path)
            assert (status, headers["Location"], text) == (303, "/sign-in", ""), path
        status, headers, text = stranger.request(f"/alerts/{alert}/commands", {"command": "Reset Thermostat"})
        assert (status, headers["Location"], text) == (303, "/sign-in", "")
    assert browser.commands(alert) == []


def test_a_session_ends_when_its_person_signs_out(hub):
    browser = sign_in(hub)
    token = re.search(r'name="form-token" value="([^"]+)"', browser.page("/")).group(1)
    assert browser.request("/sign-out", {"form-token": "wrong"})[0] == 403
    assert browser.request("/")[0] == 200
    status, headers, _ = browser.request("/sign-out", {"form-token": token})
    assert (status, headers["Location"]) == (303, "/sign-in")
    assert headers["Set-Cookie"] == "fieldline_session=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"
    assert browser.request("/")[0] == 303, "the cookie is worth nothing any more"


def test_a_form_without_its_sessions_token_is_refused_and_writes_nothing(hub, browser):
    alert = the_alert(browser)
    others = re.search(r'name="form-token" value="([^"]+)"', sign_in(hub, "bert").page("/")).group(1)
    before = audit(hub.process.data, "msdyn_iotdevicecommand")
    for token in ({}, {"form-token": ""}, {"form-token": "0" * 64}, {"form-token": others}):
        status, _, text = browser.request(f"/alerts/{alert}/commands", {"command": "Reset Thermostat", **token})
        assert status == 403
        assert "It was not made by your current session. Go back, reload, try again." in text
    same(hub.log("form refused"), f"{TIME} warning pages: user=anna [WebUI] form refused: its token is not the session's")
    assert audit(hub.process.data, "msdyn_iotdevicecommand") == before
    assert browser.commands(alert) == []


WRONG_FORMS = [
    ({"command": "Self Destruct"}, "Choose one of Reset Thermostat, Set Values and Notification."),
    ({}, "Choose one of Reset Thermostat, Set Values and Notification."),
    ({"command": "Notification", "message": ""}, "Write the message that the device shall show."),
    ({"command": "Notification", "message": "x" * 501}, "The message has 501 characters; 500 are allowed."),
    ({"command": "Set Values"}, "Give a temperature, a humidity or both."),
    ({"command": "Set Values", "temperature": "<b>hot</b>"},
     "Temperature must be a number, like 21.5; this is not one: &lt;b&gt;hot&lt;/b&gt;"),
]


@pytest.mark.parametrize("form, sentence", WRONG_FORMS, ids=range(len(WRONG_FORMS)))
def test_a_form_that_is_filled_in_wrongly_says_what_is_wrong_and_writes_nothing(hub, browser, form, sentence):
    alert = the_alert(browser)
    token = re.search(r'name="form-token" value="([^"]+)"', browser.page(f"/alerts/{alert}")).group(1)
    status, _, text = browser.request(f"/alerts/{alert}/commands", {"form-token": token, **form})
    assert status == 400
    assert sentence in text
    assert browser.commands(alert) == []


POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; "
          "frame-ancestors 'none'; base-uri 'none'")


def test_every_answer_of_the_pages_carries_the_content_security_policy(hub, browser):
    alert = the_alert(browser)
    stranger = Browser(browser.base)
    paths = ["/", "/alerts", f"/alerts/{alert}", "/fragments/devices", "/alerts/nonsense", "/assets/live.js",
             "/assets/fieldline.css", "/sign-in", "/sign-in/none"]
    for browser in (browser, stranger):
        for path in paths:
            _, headers, text = browser.request(path)
            assert headers.get_all("Content-Security-Policy") == [POLICY], path
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
            if headers["Content-Type"].startswith("text/html"):
                assert headers["Cache-Control"] == "no-store"
                assert not re.search(r"<script(?! src=)|<style|\son\w+=|style=", text), "inline script or style"


ATTACK = """<script>alert('x')</script>"'&{{user}}"""


def test_what_devices_and_persons_write_is_escaped_on_every_page(stage):
    hub = start(stage)
    hub.create("gw-1", "--gateway")
    gateway = hub.connect("gw-1")
    time = "2026-11-21T08:53:00.250Z"
    fault = {"id": "0f8fad5b-d9cb-469f-a165-70867728950e", "state": "raised", "rule": ATTACK, "severity": "critical",
             "message": ATTACK, "metric": ATTACK, "value": {"text": ATTACK}, "limit": ATTACK}
    records = [
        {"seq": "1", "device": "gw-1", "metric": ATTACK, "value": {"text": ATTACK}, "unit": ATTACK[:32], "time": time},
        {"seq": "2", "device": "gw-1", "fault": fault, "time": time}]
    batch = {"v": 1, "epoch": "9f86d081884c7d65", "runs": [["1", "2"]], "records": records}
    gateway.acknowledged(gateway.publish(batch, bag=f"$.ct={BATCH_TYPE}&$.ce=utf-8"))
    gateway.close()
    browser = sign_in(hub, user=ATTACK)
    ((alert, title),) = wait_until("the alert", browser.alerts)
    assert html.unescape(title).endswith(ATTACK)
    browser.send_command(alert, "Notification", message=ATTACK)
    seen = {path: browser.page(path) for path in (
        "/", "/alerts", f"/alerts/{alert}", "/fragments/devices", "/fragments/alerts", f"/fragments/alerts/{alert}")}
    for path, text in seen.items():
        assert "<script>" not in text, path
        assert "alert('x')" not in text, path
        assert "&lt;script&gt;" in text, path
        assert "{{user}}" in text or "{{user}}" in html.unescape(text), "taken for a template"
    metric = re.search(r'data-metric="([^"]*)"', seen["/fragments/devices"]).group(1)
    assert html.unescape(metric) == ATTACK
