"""No key, signature, token, cookie or payload is in a log or on a command line, and no file of ours is open to others."""

import json
import os
import re
import socket
import stat
import threading
import urllib.error
import urllib.parse
import urllib.request

import paho.mqtt.publish
import pytest

from certificates import made
from clients import ACCEPTED, NOT_AUTHORISED, HubUnderTest, RawDevice, device_token, run, trusting, wait_line
from sas import parts, service_token, sign
from stage import Browser, free_port, wait_until

OTHER_KEY = "bm90IHRoZSBrZXkgb2YgdGhpcyBkZXZpY2UgYXQgYWxsIQ=="
OPEN_TO_ALL = ("sh", "-c", 'umask 0; exec "$@"', "sh")
HUB = """
log_level = "trace"
[crm]
url = "http://127.0.0.1:{relay}"
token_url = "http://127.0.0.1:{relay}/{tenant}/oauth2/v2.0/token"
client_id = "{client_id}"
client_secret_file = "{secret_file}"

[[rule]]
name = "hot"
device = "*"
metric = "temperature"
when = "> 70"
severity = "critical"
message = "{{device}} is hot"
"""
AGENT = """
[hub]
host = "localhost"
port = {port}
ca_file = "{ca}"
connection_string_file = "{secret}"
reconnect_first = "100ms"
reconnect_most = "200ms"

[outbox]
path = "{outbox}"

[log]
level = "debug"

[[mqtt]]
name = "plant"
port = {broker}
user = "agent"
password_file = "{password}"

[[mqtt.subscription]]
topic = "plant/{{device}}/state"

[[mqtt.command]]
name = "Reset"
topic = "plant/{{device}}/cmd/reset"
payload = '{{"id": {{id}}, "why": {{payload.why}}}}'
"""


class Relay:
    """Stands between the connector and the service desk and keeps what went by, to know the connector's own token."""

    def __init__(self):
        self.seen, self.target = bytearray(), None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            here, _ = self._listener.accept()
            there = socket.create_connection(("127.0.0.1", self.target))
            for source, sink in ((here, there), (there, here)):
                threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source, sink):
        try:
            while data := source.recv(65536):
                self.seen += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def forms(secret):
    """As it is, and as it stands in a URL or a form."""
    return {secret, urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret)}


class Secrets(dict):
    """What must not be seen, by the name under which a failure tells of it."""

    def keep(self, name, secret):
        assert len(secret) >= 8
        self[name] = secret
        return secret

    def token(self, name, token):
        """A SAS token: its signature is the secret."""
        self.keep(name, urllib.parse.unquote(re.search(r"sig=([^&]+)", token).group(1)))
        return token

    def found_in(self, text):
        return [name for name, secret in self.items() if any(form in text for form in forms(secret))]


@pytest.fixture
def secrets():
    return Secrets()


def http(url, method="GET", body=None, context=None, **headers):
    request = urllib.request.Request(url, method=method, data=body, headers={
        name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=20, context=context) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def start_hub(stage, secrets, relay):
    """The desk's credentials exist after a first start, so there are two."""
    first = stage.start_hub(name="first", wrapper=OPEN_TO_ALL)
    assert first.stop() == 0
    stage.forget(first)
    desk = json.loads((first.data / "desk-client.json").read_text())
    secret_file = stage.folder / "crm-secret"
    secret_file.touch(0o600)
    secret_file.write_text(secrets.keep("client secret", desk["client_secret"]))
    config = stage.folder / "cloud-hub.toml"
    config.write_text(HUB.format(relay=relay.port, tenant=desk["tenant"], client_id=desk["client_id"], secret_file=secret_file))
    relay.target = free_port()
    hub = HubUnderTest(stage, ("--config", config), http=relay.target, wrapper=OPEN_TO_ALL)
    return hub, desk


def devices_try(hub, secrets, tmp_path):
    """Devices that are let in and devices that are not."""
    string = hub.create("dev-1")
    secrets.keep("device key", parts(string)["SharedAccessKey"])
    hub.stage.hub_command("device", "create", "dev-x", "--thumbprint", made(tmp_path, "dev-x").sha256)
    good = secrets.token("device token", device_token(string))
    cases = [
        ("dev-1", secrets.token("wrong token", device_token(string, key=OTHER_KEY))),
        ("dev-1", secrets.token("expired token", device_token(string, lifetime=-60))),
        ("dev-1", secrets.keep("password that is no token", "correct horse battery staple")),
        ("dev-1", "SharedAccessSignature sig=" + secrets.keep("signature without a resource", "c2lnbmF0dXJlIG9ubHk=")),
        ("dev-1", "SharedAccessSignature sr=a&sig=%zz" + secrets.keep("signature that is no text", "brokenSignature") + "&se=1"),
        ("dev-x", good), ("nobody", good),
        ("dev-1", secrets.token("policy token", sign("localhost/devices/dev-1", OTHER_KEY, 2**31, "device"))),
    ]
    for name, token in cases:
        device = RawDevice(hub.process, name, token)
        assert device.code == NOT_AUTHORISED
        device.close()
    device = RawDevice(hub.process, "dev-1", good)
    assert device.code == ACCEPTED
    secrets.keep("payload", "payload-of-dev-1")
    device.acknowledged(device.publish({"temperature": 80, "note": secrets["payload"]}, bag="$.ct=application%2Fjson&$.ce=utf-8"))
    device.publish({"note": secrets["payload"]}, topic="devices/dev-2/messages/events/")
    assert device.is_closed()


def services_try(hub, secrets):
    policy = hub.stage.hub_command("connection-string", data=hub.process.data)
    for name in ("iothubowner", "service", "device", "registryRead", "registryReadWrite"):
        text = hub.stage.hub_command("connection-string", "--policy", name, data=hub.process.data)
        secrets.keep(f"key of {name}", parts(text)["SharedAccessKey"])
    context = trusting(hub.process)
    base, version = f"https://localhost:{hub.process.https}", "api-version=2021-04-12"
    good = secrets.token("service token", service_token(policy))
    wrong = policy.replace(secrets["key of iothubowner"], OTHER_KEY)
    for token in (secrets.token("wrong service token", service_token(wrong)), "Bearer " + secrets.keep("bearer", "not-a-sas-token"),
                  secrets.token("expired service token", service_token(policy, lifetime=-60))):
        assert http(f"{base}/devices?{version}", context=context, Authorization=token)[0] == 401
    status, listed = http(f"{base}/devices?{version}", context=context, Authorization=good)
    assert status == 200
    for device in json.loads(listed):
        for which, key in device["authentication"]["symmetricKey"].items():
            if key:
                secrets.keep(f"{which} of {device['deviceId']}", key)
    chosen = {"primaryKey": secrets.keep("chosen key", "Y2hvc2VuIGtleSBvZiBhIGRldmljZSBvZiBvdXJz"), "secondaryKey": OTHER_KEY}
    short = {**chosen, "primaryKey": secrets.keep("key that is too short", "dG9vIHNob3J0")}
    for key, expected in ((chosen, 200), (short, 400)):
        body = {"deviceId": "dev-3", "authentication": {"type": "sas", "symmetricKey": key}}
        status, answer = http(f"{base}/devices/dev-3?{version}", "PUT", json.dumps(body).encode(), context, Authorization=good,
                              Content_Type="application/json", **({"If_Match": '"*"'} if key is short else {}))
        assert status == expected, answer
        assert status == 200 or not secrets.found_in(answer)
    method = {"methodName": "Reset", "payload": {"why": secrets.keep("method payload", "payload-of-the-method")},
              "responseTimeoutInSeconds": 5}
    status, answer = http(f"{base}/twins/sensor-1/methods?{version}", "POST", json.dumps(method).encode(), context, Authorization=good,
                          Content_Type="application/json")
    assert status in (200, 504), answer


def desk_try(hub, secrets, desk):
    base = f"http://127.0.0.1:{hub.process.http}"
    token_url = f"{base}/{desk['tenant']}/oauth2/v2.0/token"
    form = {"grant_type": "client_credentials", "client_id": desk["client_id"], "scope": f"{base}/.default"}
    for secret, expected in ((desk["client_secret"], 200), (secrets.keep("wrong client secret", "a-wrong-client-secret"), 401)):
        status, answer = http(token_url, "POST", urllib.parse.urlencode({**form, "client_secret": secret}).encode())
        assert status == expected
        if status == 200:
            bearer = secrets.keep("bearer token", json.loads(answer)["access_token"])
    alerts = f"{base}/api/data/v9.2/msdyn_iotalerts"
    assert http(alerts, Authorization=f"Bearer {bearer}")[0] == 200
    assert http(alerts, Authorization="Bearer " + secrets.keep("wrong bearer token", "a-wrong-bearer-token"))[0] == 401


def person_tries(hub, secrets):
    browser = Browser(f"http://127.0.0.1:{hub.process.http}")
    link = hub.stage.hub_command("sign-in", data=hub.process.data)
    secrets.keep("sign-in token", link.rsplit("/", 1)[1])
    assert browser.open_link(link)
    secrets.keep("session cookie", browser.cookie.split("=", 1)[1])
    stranger = Browser(browser.base)
    assert not stranger.open_link(link)
    assert not stranger.open_link("/sign-in/" + secrets.keep("wrong sign-in token", "0123456789abcdef" * 4))
    stranger.cookie = "fieldline_session=" + secrets.keep("wrong cookie", "fedcba9876543210" * 4)
    assert stranger.request("/")[0] == 303
    (alert, _), *_ = wait_until("an alert", browser.alerts)
    page = browser.page(f"/alerts/{alert}")
    secrets.keep("form token", re.search(r'name="form-token" value="([^"]+)"', page).group(1))
    wrong = {"form-token": secrets.keep("wrong form token", "a-wrong-form-token"), "command": "Reset Thermostat"}
    assert browser.request(f"/alerts/{alert}/commands", wrong)[0] == 403
    browser.send_command(alert, "Notification", message=secrets.keep("notification", "text-of-the-notification"))
    return [page, browser.page("/"), browser.page("/alerts"), browser.page(f"/fragments/alerts/{alert}")]


def start_agent(hub, secrets, broker):
    """With a wrong key first, which is exchanged in place."""
    stage = hub.stage
    hub.create("gw-1", "--gateway")
    hub.create("sensor-1", "--parent", "gw-1")
    string = stage.device_string("gw-1", data=hub.process.data)
    secrets.keep("gateway key", parts(string)["SharedAccessKey"])
    secret, password, outbox = stage.folder / "gw-1.connection", stage.folder / "password", stage.folder / "outbox"
    for file in (secret, password):
        file.touch(0o600)
    password.write_text(secrets.keep("broker password", "password-of-the-broker"))
    secret.write_text(string.replace(secrets["gateway key"], OTHER_KEY))
    outbox.mkdir(0o700)
    config = stage.folder / "edge-agent.toml"
    config.write_text(AGENT.format(port=hub.process.mqtt, ca=hub.process.ca, secret=secret, password=password,
                                   outbox=outbox / "outbox.sqlite", broker=broker.port))
    agent = stage.start_agent(config, preexec=lambda: os.umask(0))
    wait_line(agent, "] no link to the hub")
    secret.write_text(string)
    agent.stop()
    stage.forget(agent)
    agent = stage.start_agent(config, name="edge-agent-2", preexec=lambda: os.umask(0))
    wait_line(agent, "] connected to the hub")
    wait_line(agent, "] connected to the local broker")
    secrets.keep("reading", "text-of-the-reading")
    paho.mqtt.publish.single("plant/sensor-1/state", json.dumps({"note": secrets["reading"]}), qos=1,
                             hostname="127.0.0.1", port=broker.port)
    wait_until("the reading at the hub", lambda: hub.bodies("gw-1"))
    return agent, outbox


def test_no_secret_is_in_a_log_on_a_command_line_or_on_a_page_even_at_the_most_verbose_level(stage, secrets, tmp_path):
    secrets.keep("other key", OTHER_KEY)
    relay, broker = Relay(), stage.start_broker()
    hub, desk = start_hub(stage, secrets, relay)
    agent, outbox = start_agent(hub, secrets, broker)
    devices_try(hub, secrets, tmp_path)
    services_try(hub, secrets)
    desk_try(hub, secrets, desk)
    pages = person_tries(hub, secrets)
    found = wait_until("the connector's token", lambda: re.search(rb'"access_token":"([^"]+)"', relay.seen))
    secrets.keep("connector's bearer token", found.group(1).decode())
    for key in (hub.process.data / "tls").glob("*-key.pem"):
        secrets.keep(key.name, key.read_text().splitlines()[1])

    lines = "\n".join(
        open(f"/proc/{program.process.pid}/cmdline").read().replace("\0", " ") for program in (hub.process, agent))
    assert "cloud-hub serve" in lines and "edge-agent run" in lines
    assert agent.stop() == 0
    assert hub.process.stop() == 0
    stage.forget(agent)
    stage.forget(hub.process)
    logs = {path.name: path.read_text() for path in stage.folder.glob("*.log") if "broker" not in path.name}
    assert " trace " in logs["cloud-hub.log"] or " debug " in logs["cloud-hub.log"]
    assert " debug " in logs["edge-agent-2.log"]
    # The check can fail: what is no secret is found by it.
    assert Secrets({"device": "a device was refused"}).found_in(logs["cloud-hub.log"]) == ["device"]
    shown = {**logs, "command lines": lines}
    assert {name: secrets.found_in(text) for name, text in shown.items() if secrets.found_in(text)} == {}
    # A page shows its reader what devices measure and what was sent to them, and carries the form's own token.
    shown = {"form token", "notification", "payload", "reading"}
    for page in pages:
        assert set(secrets.found_in(page)) - shown == set()

    files_are_private(hub.process.data, public={"ca.pem", "server.pem"})
    files_are_private(outbox)


def files_are_private(folder, public=()):
    """Made by programs that ran with umask 0."""
    for path in [folder, *folder.rglob("*")]:
        mode = stat.S_IMODE(path.lstat().st_mode)
        expected = 0o700 if path.is_dir() else 0o644 if path.name in public else 0o600
        assert mode == expected, f"{path} has mode {mode:o}"


def test_an_empty_folder_that_others_can_read_is_closed_to_them(stage):
    data = stage.folder / "open"
    data.mkdir()
    data.chmod(0o755)
    stage.start_hub(data=data)
    files_are_private(data, public={"ca.pem", "server.pem"})


def test_a_secret_that_others_can_read_is_named_and_one_that_they_cannot_is_not(stage, tmp_path):
    """It is used all the same: whoever could read it has done so, and the plant must run."""
    secret, password, crm = (tmp_path / name for name in ("gw-1.connection", "password", "crm-secret"))
    secret.write_text(f"HostName=localhost;DeviceId=gw-1;SharedAccessKey={OTHER_KEY}")
    password.write_text("password-of-the-broker")
    crm.write_text("client-secret")
    config, hub_config = tmp_path / "edge-agent.toml", tmp_path / "cloud-hub.toml"
    config.write_text(AGENT.format(port=free_port(), ca=made(tmp_path, "ca").path, secret=secret, password=password,
                                   outbox=tmp_path / "outbox.sqlite", broker=free_port()))
    hub_config.write_text(HUB.format(relay=free_port(), tenant="t", client_id="c", secret_file=crm))

    def said(mode):
        for file in (secret, password, crm):
            file.chmod(mode)
        status, error = run(stage, "edge-agent", "check", "--config", config)
        agent = stage.start_agent(config, name=f"agent-{mode:o}")
        hub = stage.start_hub("--config", hub_config, name=f"hub-{mode:o}")
        logs = []
        for program in (agent, hub):
            program.stop()
            stage.forget(program)
            logs += [line.split(" ", 1)[1] for line in program.log_path.read_text().splitlines() if "run chmod 600" in line]
        assert status == 0
        return error.splitlines(), logs

    sentence = "a secret can be read by every user of this machine; run chmod 600 on its file"
    assert said(0o644) == (
        [f"{config}: warning: {key}: {file} can be read by every user of this machine; run chmod 600 on it"
         for key, file in (("hub.connection_string_file", secret), ("mqtt[1].password_file", password))],
        [f"warning edge-agent: file={secret} key=hub.connection_string_file [edge_agent] {sentence}",
         f"warning edge-agent: file={password} key=mqtt[1].password_file [edge_agent] {sentence}",
         f"warning hub: file={crm} key=crm.client_secret_file [cloud_hub] {sentence}"])
    assert said(0o600) == ([], [])
