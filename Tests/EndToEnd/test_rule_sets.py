"""Rules that come from the hub: published, fetched, checked whole, run; refused with the reason, and nothing lost."""

import contextlib
import hashlib
import http.server
import json
import random
import ssl
import subprocess
import threading
import time

import paho.mqtt.publish
import pytest

from clients import run
from services import HTTPSHub
from stage import StageError, free_port, wait_until
from test_disks import fault_disk  # noqa: F401
from test_kill import SEED

GATEWAY, SENSOR = "gw-1", "sensor-1"

OWN = f"""
[[rule]]
name = "own-high"
device = "{SENSOR}"
metric = "level"
when = "> 100"
message = "own: {{value}}"
"""

PRESSURE = f"""
[[rule]]
name = "pressure"
device = "{SENSOR}"
metric = "pressure"
when = "> 5"
severity = "critical"
message = "pressure {{value}}"

[[rule.case]]
name = "six is too much"
input = ["0s 4", "1s 6"]
expect = ["1s raised"]
"""

COLD = f"""
[[rule]]
name = "cold"
device = "{SENSOR}"
metric = "level"
when = "< 0"
"""


class Plant:
    """Broker, hub and a gateway with one rule of its own."""

    def __init__(self, stage, rules=OWN, section="", env=None):
        self.stage, self.lives, self.env = stage, 0, env or {}
        self.broker = stage.start_broker()
        self.ports = {"mqtt": free_port(), "https": free_port(), "http": free_port()}
        self.hub = self.start_hub()
        stage.hub_command("device", "create", GATEWAY, "--gateway")
        stage.hub_command("device", "create", SENSOR, "--parent", GATEWAY)
        self.outbox = stage.folder / "outbox.sqlite"
        self.config = stage.folder / "edge-agent.toml"
        secret = stage.folder / "gw-1.connection"
        secret.touch(0o600)
        secret.write_text(stage.device_string(GATEWAY))
        self.write(rules, section)
        self.agent = self.start_agent()

    def write(self, rules=OWN, section=""):
        self.config.write_text(f"""
[hub]
host = "localhost"
port = {self.ports["mqtt"]}
https_port = {self.ports["https"]}
ca_file = "{self.hub.ca}"
connection_string_file = "{self.stage.folder}/gw-1.connection"
reconnect_first = "100ms"
reconnect_most = "500ms"

[outbox]
path = "{self.outbox}"

[[mqtt]]
name = "plant"
host = "127.0.0.1"
port = {self.broker.port}
reconnect_first = "100ms"
reconnect_most = "1s"

[[mqtt.subscription]]
topic = "plant/{{device}}/state"
payload = "json"
{section}
{rules}
""")

    def start_hub(self):
        self.lives += 1
        self.hub = self.stage.start_hub(name=f"hub-{self.lives}", **self.ports)
        return self.hub

    def start_agent(self, **env):
        self.lives += 1
        self.agent = self.stage.start_agent(self.config, name=f"agent-{self.lives}", env={**self.env, **env})
        self.agent.wait_log("connected to the local broker")
        return self.agent

    def kill(self, which):
        program = getattr(self, which)
        program.kill()
        self.stage.forget(program)

    def stop_agent(self):
        assert self.agent.stop() == 0
        self.stage.forget(self.agent)

    def measure(self, **values):
        """A message whose readings the gateway has durably when this returns."""
        paho.mqtt.publish.single(
            f"plant/{SENSOR}/state", json.dumps(values), qos=1, port=self.broker.port, hostname="127.0.0.1")

    # -- rule sets

    def file(self, text, name="set.toml"):
        path = self.stage.folder / name
        path.write_text(text)
        return path

    def ruleset(self, *arguments):
        return self.stage.hub_command("ruleset", *arguments)

    def publish(self, version, text, *options):
        return self.ruleset("publish", self.file(text), "--version", version, "--gateway", GATEWAY, *options)

    def standing(self, version):
        """What `ruleset list` says of the gateway and this version."""
        rows = json.loads(self.ruleset("list", "--output", "json"))
        return next((row for row in rows if row["version"] == version and row.get("gateway") == GATEWAY), {})

    def until(self, version, state, seconds=30):
        return wait_until(
            f"{version} {state}\n{self.agent.tail()}",
            lambda: (row := self.standing(version)).get("state") == state and row, seconds, every=0.1)

    def twin(self):
        hub = HTTPSHub.__new__(HTTPSHub)
        hub.stage, hub.process = self.stage, self.hub
        return json.loads(hub.rest("GET", f"/twins/{GATEWAY}")[2])

    def desire(self, value):
        """As a service that is not ours would."""
        hub = HTTPSHub.__new__(HTTPSHub)
        hub.stage, hub.process = self.stage, self.hub
        status, _, _ = hub.rest("PATCH", f"/twins/{GATEWAY}", {"properties": {"desired": {"rules": value}}})
        assert status == 200

    def said(self):
        """The reported property."""
        return self.twin()["properties"]["reported"].get("rules", {})

    # -- faults

    def transitions(self, rule):
        """State and message of every transition in the hub's log, and the faults' ids."""
        text = self.stage.hub_command("monitor", "--from-start", "--no-follow", timeout=60)
        found = []
        for line in text.splitlines():
            body = json.loads(line)["body"]
            for record in body.get("records", []) if isinstance(body, dict) else []:
                fault = record.get("fault")
                if fault and fault["rule"] == rule:
                    found.append((fault["state"], fault["message"], fault["id"]))
        return found

    def until_states(self, rule, *states):
        def reached():
            found = self.transitions(rule)
            return found if [state for state, _, _ in found] == list(states) else None
        return wait_until(f"{rule}: {states}\n{self.agent.tail()}", reached, 30, every=0.1)


@pytest.fixture
def plant(stage):
    return Plant(stage)


# -- publishing


def test_a_published_rule_raises_its_fault_and_the_files_own_rule_goes_on(plant):
    plant.measure(level=120)
    plant.until_states("own-high", "raised")
    plant.publish("1", PRESSURE)
    row = plant.until("1", "running")
    assert (row["rules"], row["cases"], row["reason"]) == (1, 1, "")
    plant.measure(level=130, pressure=6.5)
    ((state, message, _),) = plant.until_states("pressure", "raised")
    assert (state, message) == ("raised", "pressure 6.5")
    # Not one transition more: what was open is the same fault.
    assert [state for state, _, _ in plant.transitions("own-high")] == ["raised"]
    said = plant.said()
    assert (said["version"], said["sha256"], said["count"]) == ("1", row["sha256"], 1)
    assert "refused" not in said
    shown = run_status(plant)
    assert "rules        1 of the file" in shown
    assert f"rule set     1 with 1 rules since {said['since']}, sha256 {row['sha256']}" in shown


def run_status(plant):
    done = subprocess.run(
        [plant.stage.programs / "edge-agent", "status", "--config", plant.config], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_wrong_is_not_published_and_all_of_it_is_said(plant):
    text = PRESSURE.replace('"> 5"', '"above 5"') + COLD.replace("< 0", "outside") + "[extra]\n"
    status, said = run(
        plant.stage, "cloud-hub", "ruleset", "publish", plant.file(text), "--version", "1", "--gateway", GATEWAY,
        "--data", plant.hub.data)
    assert status == 1
    assert "rule[1].when" in said and "rule[2].when" in said and "extra" in said
    failing = PRESSURE.replace('expect = ["1s raised"]', "expect = []")
    status, said = run(
        plant.stage, "cloud-hub", "ruleset", "publish", plant.file(failing), "--version", "1", "--data", plant.hub.data)
    assert status == 1
    assert 'rule[1].case = "six is too much" of pressure: failed' in said and "+ 1s raised" in said
    assert json.loads(plant.ruleset("list", "--output", "json")) == []
    assert "rules" not in plant.twin()["properties"]["desired"]


def test_a_time_zone_that_nobody_knows_is_not_left_to_the_gateway(plant):
    text = COLD + 'active = ["mon-fri 08:00-18:00"]\ntime_zone = "Europe/Atlantis"\n' + \
        '[[rule.case]]\nname = "c"\ninput = ["1s -1"]\nexpect = ["1s raised"]\n'
    with pytest.raises(StageError, match=r"rule\[1\].time_zone: this machine knows no time zone Europe/Atlantis"):
        plant.publish("1", text)
    assert json.loads(plant.ruleset("list", "--output", "json")) == []


def test_a_child_is_assigned_nothing_because_its_gateway_runs_the_rules(plant):
    said = f"{SENSOR} is a child of {GATEWAY}; name the gateway"
    with pytest.raises(StageError, match=said):
        plant.ruleset("publish", plant.file(COLD), "--version", "1", "--gateway", SENSOR)
    assert json.loads(plant.ruleset("list", "--output", "json")) == []
    plant.publish("1", COLD)
    with pytest.raises(StageError, match=said):
        plant.ruleset("assign", "1", "--gateway", GATEWAY, "--gateway", SENSOR)


def test_withdrawing_touches_no_twin_of_what_is_not_published_here(plant):
    wish = {"version": "1", "url": f"https://localhost:{free_port()}/rules.toml", "sha256": "0f" * 32}
    plant.desire(wish)
    with pytest.raises(StageError, match="no rule set 1 is published here"):
        plant.ruleset("withdraw", "1")
    assert plant.twin()["properties"]["desired"]["rules"] == wish
    # The same version, of another text.
    plant.ruleset("publish", plant.file(COLD), "--version", "1")
    plant.ruleset("withdraw", "1")
    with pytest.raises(StageError, match="no rule set 1 is published here"):
        plant.ruleset("show", "1")
    assert plant.twin()["properties"]["desired"]["rules"] == wish
    # By its gateway's name it is withdrawn wherever it is from.
    plant.ruleset("withdraw", "1", "--gateway", GATEWAY)
    assert "rules" not in plant.twin()["properties"]["desired"]


def test_a_version_never_changes(plant):
    plant.publish("1", PRESSURE)
    plant.publish("1", PRESSURE)
    with pytest.raises(StageError, match="version 1 is published with another text"):
        plant.publish("1", COLD)
    with pytest.raises(StageError, match="the gateway 'nobody' is not registered"):
        plant.ruleset("publish", plant.file(COLD), "--version", "2", "--gateway", "nobody")
    assert [row["version"] for row in json.loads(plant.ruleset("list", "--output", "json"))] == ["1"]
    assert plant.ruleset("show", "1") == PRESSURE.strip("\n") or PRESSURE.strip() in plant.ruleset("show", "1")


def test_only_the_gateway_whose_twin_names_it_gets_a_set(plant):
    plant.publish("1", PRESSURE)
    row = plant.until("1", "running")
    hub = HTTPSHub.__new__(HTTPSHub)
    hub.stage, hub.process = plant.stage, plant.hub
    plant.stage.hub_command("device", "create", "other")
    path = f"/devices/{GATEWAY}/rulesets/{row['sha256']}"
    status, _, body = hub.call("GET", path, hub.token(GATEWAY))
    assert (status, body.decode()) == (200, PRESSURE)
    assert hub.call("GET", path)[0] == 401
    assert hub.call("GET", path, hub.token("other"))[0] == 401
    assert hub.call("GET", f"/devices/other/rulesets/{row['sha256']}", hub.token("other"))[0] == 404
    assert hub.call("GET", f"/devices/{GATEWAY}/rulesets/{'0' * 64}", hub.token(GATEWAY))[0] == 404


def test_a_withdrawn_set_clears_its_faults_and_the_files_rules_run_alone(plant):
    plant.publish("1", PRESSURE)
    plant.until("1", "running")
    plant.measure(pressure=6)
    plant.until_states("pressure", "raised")
    plant.ruleset("withdraw", "1", "--gateway", GATEWAY)
    found = plant.until_states("pressure", "raised", "cleared")
    assert found[1][1] == "pressure: the rule was removed by the hub, which has withdrawn its rule set"
    assert found[0][2] == found[1][2]
    wait_until("the report", lambda: "version" not in plant.said())
    plant.ruleset("assign", "1", "--gateway", GATEWAY)
    plant.until("1", "running")
    plant.ruleset("withdraw", "1")
    wait_until("no set", lambda: json.loads(plant.ruleset("list", "--output", "json")) == [])


# -- changing


def test_unchanged_rules_keep_their_faults_and_changed_ones_start_afresh(plant):
    plant.publish("1", PRESSURE + COLD)
    plant.until("1", "running")
    plant.measure(level=-3, pressure=6)
    opened = plant.until_states("pressure", "raised")
    plant.until_states("cold", "raised")
    plant.publish("2", PRESSURE.replace("pressure {value}", "now {value}") + COLD.replace("< 0", "< -1"))
    plant.until("2", "running")
    # The first is the same rule but for its words; the second decides otherwise.
    found = plant.until_states("cold", "raised", "cleared")
    assert found[1][1] == "cold: the rule was changed by rule set 2"
    plant.measure(level=-3, pressure=7)
    found = plant.until_states("cold", "raised", "cleared", "raised")
    assert found[2][2] != found[0][2]
    plant.measure(level=1, pressure=1)
    found = plant.until_states("pressure", "raised", "cleared")
    assert found[1][2] == opened[0][2] == found[0][2]


# -- refusing


@pytest.mark.parametrize("text, reason", [
    (OWN, "rule[1].name = \"own-high\": is a rule of this gateway's own file"),
    (COLD + 'then = [{ write = "pump", register = "speed", value = 1 }]\n',
     'rule[1].then[1].register = "speed": is no writable register of pump at this gateway'),
    (COLD + 'then = [{ call = "stop", on = "pump" }]\n', 'rule[1].then[1].on = "pump": is no device of this gateway'),
])
def test_what_this_gateway_cannot_run_is_refused_whole_and_the_old_set_runs_on(plant, text, reason):
    plant.publish("1", PRESSURE)
    plant.until("1", "running")
    plant.measure(pressure=6)
    plant.until_states("pressure", "raised")
    plant.publish("2", text + COLD.replace('"cold"', '"fine"'))
    row = plant.until("2", "refused")
    assert reason in row["reason"]
    assert plant.standing("1")["state"] == "running until replaced"
    said = plant.said()
    assert (said["version"], said["refused"]["version"], said["refused"]["willRetry"]) == ("1", "2", False)
    assert reason in said["refused"]["problems"][0]
    assert "rule set     2 refused:" in run_status(plant) and reason in run_status(plant)
    plant.measure(level=-3, pressure=1)
    plant.until_states("pressure", "raised", "cleared")
    assert plant.transitions("fine") == []
    # Another wish heals it.
    plant.publish("3", PRESSURE + COLD)
    plant.until("3", "running")
    assert "refused" not in plant.said()


def test_a_replaceable_rule_of_the_file_gives_way(stage):
    plant = Plant(stage, OWN + "replaceable = true\n")
    plant.publish("1", OWN.replace("> 100", "> 200"))
    plant.until("1", "running")
    plant.measure(level=150)
    plant.measure(level=250)
    ((_, message, _),) = plant.until_states("own-high", "raised")
    assert message == "own: 250"


def test_a_gateway_that_takes_no_sets_says_so(stage):
    plant = Plant(stage, section='[rules]\nfrom_hub = "off"\n')
    plant.publish("1", PRESSURE)
    assert 'rules.from_hub = "off"' in plant.until("1", "refused")["reason"]


def test_a_gateway_that_takes_no_sets_asks_nobody_for_one(stage):
    with other(stage, sized(PRESSURE), from_hub="off") as (server, plant):
        plant.desire(server.wish(PRESSURE))
        assert 'rules.from_hub = "off"' in plant.until("x", "refused")["reason"]
        assert server.requests == []


# -- other servers


class OtherServer:
    """An HTTPS server that is not the hub's; `answer` writes to the connection of a request what it likes."""

    def __init__(self, folder, answer):
        self.port, self.requests = free_port(), []
        key, self.ca = folder / "other.key", folder / "other.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
             "-keyout", key, "-out", self.ca, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
            check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca, key)
        requests = self.requests

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                requests.append((self.path, dict(self.headers)))
                with contextlib.suppress(OSError):
                    answer(self)
                self.close_connection = True

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wish(self, text, version="x", path="/rules.toml", sha256=None):
        return {"version": version, "url": f"https://localhost:{self.port}{path}",
                "sha256": sha256 or hashlib.sha256(text.encode()).hexdigest()}


def sized(text):
    def answer(handler):
        handler.wfile.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(text.encode())}\r\n\r\n{text}".encode())
    return answer


def chunked(text):
    def answer(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        data = text.encode()
        for start in range(0, len(data), 17):
            piece = data[start:start + 17]
            handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n")
    return answer


@contextlib.contextmanager
def other(stage, answer, from_hub="merge"):
    server = OtherServer(stage.folder, answer)
    yield server, Plant(stage, section=f'[rules]\nfrom_hub = "{from_hub}"\nca_file = "{server.ca}"\n')
    server.server.shutdown()


@pytest.mark.parametrize("way", [sized, chunked])
def test_any_https_server_will_do_and_sees_no_credentials(stage, way):
    with other(stage, way(PRESSURE)) as (server, plant):
        plant.desire(server.wish(PRESSURE))
        plant.until("x", "running")
        ((path, headers),) = server.requests
        assert path == "/rules.toml"
        assert "authorization" not in {name.lower() for name in headers}


def endless(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        handler.wfile.write(b"4000\r\n" + b"#" * 0x4000 + b"\r\n")


def redirected(handler):
    handler.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: https://localhost/\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("answer, reason", [
    (sized(PRESSURE + "\n"), "sha256: what https://localhost"),
    (sized("#" * 300_000), "longer than 262144 bytes"),
    (endless, "longer than 262144 bytes"),
    (redirected, "redirections are not followed"),
])
def test_what_is_not_the_set_is_refused_for_good(stage, answer, reason):
    with other(stage, answer) as (server, plant):
        plant.publish("1", COLD)
        plant.until("1", "running")
        plant.desire(server.wish(PRESSURE))
        assert reason in plant.until("x", "refused")["reason"]
        assert (plant.said()["version"], plant.said()["refused"]["willRetry"]) == ("1", False)
        assert len(server.requests) == 1
        plant.measure(level=-1)
        plant.until_states("cold", "raised")


def test_trouble_on_the_way_is_tried_again_until_the_set_is_whole(stage):
    seen = threading.Event()
    broken = []

    def answer(handler):
        if not seen.is_set():
            handler.wfile.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        elif not broken:
            broken.append(True)
            handler.wfile.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(PRESSURE)}\r\n\r\n{PRESSURE[:40]}".encode())
        else:
            sized(PRESSURE)(handler)

    with other(stage, answer) as (server, plant):
        plant.desire(server.wish(PRESSURE))
        row = plant.until("x", "retrying")
        assert "HTTP status 503" in row["reason"]
        seen.set()
        plant.until("x", "running", 90)
        assert broken and len(server.requests) >= 3


def test_a_server_that_never_answers_holds_nothing_up(stage):
    hold = threading.Event()
    with other(stage, lambda handler: hold.wait()) as (server, plant):
        plant.desire(server.wish(PRESSURE))
        wait_until("the request", lambda: server.requests)
        plant.measure(level=150)
        plant.until_states("own-high", "raised")
        # Another wish is not kept waiting by it, nor is the end of the agent.
        plant.publish("2", COLD)
        plant.until("2", "running")
        plant.desire(server.wish(PRESSURE))
        wait_until("the second request", lambda: len(server.requests) == 2)
        plant.stop_agent()
        hold.set()


# -- restarts, kills


def test_after_a_restart_the_last_good_set_runs_before_the_hub_is_reached(plant):
    plant.publish("1", PRESSURE)
    plant.until("1", "running")
    plant.measure(pressure=6)
    (opened,) = plant.until_states("pressure", "raised")
    plant.kill("hub")
    plant.kill("agent")
    plant.start_agent()
    plant.measure(pressure=1)
    plant.measure(pressure=7)
    plant.kill("agent")
    plant.start_agent()
    plant.start_hub()
    found = plant.until_states("pressure", "raised", "cleared", "raised")
    assert found[0] == opened and found[1][2] == opened[2]
    row = plant.until("1", "running")
    assert plant.said()["since"] == row["since"]


def test_a_published_set_survives_the_hub(plant):
    plant.publish("1", PRESSURE)
    plant.kill("hub")
    plant.start_hub()
    plant.until("1", "running")
    assert PRESSURE.strip() in plant.ruleset("show", "1")


def transitions_over_kills(plant, rounds):
    """The pressure is too high all the time, so each change of the rule ends its fault and begins another, whoever is killed
    when. What is in the hub's log at the end."""
    print(f"SEED={SEED}")
    chance = random.Random(SEED)
    texts = [PRESSURE, PRESSURE.replace("> 5", "> 5.5")]
    for version in (0, 1):
        plant.ruleset("publish", plant.file(texts[version]), "--version", str(version))
    for number in range(rounds):
        plant.ruleset("assign", str(number % 2), "--gateway", GATEWAY)
        time.sleep(chance.uniform(0, 0.15))
        which = chance.choice(["agent", "agent", "hub"])
        plant.kill(which)
        plant.start_hub() if which == "hub" else plant.start_agent()
        plant.measure(pressure=9)
    plant.until(str((rounds - 1) % 2), "running")
    plant.measure(pressure=9)
    plant.measure(pressure=1)

    def ended():
        found = plant.transitions("pressure")
        return found if found and found[-1][0] == "cleared" and "is back at 1" in found[-1][1] else None
    return wait_until("the last fault's end", ended, 30, every=0.2)


def is_each_fault_once(found):
    ids = [fault for _, _, fault in found]
    return ([state for state, _, _ in found] == ["raised", "cleared"] * (len(found) // 2)
            and ids[0::2] == ids[1::2] and len(set(ids)) == len(ids) // 2)


def test_kills_while_sets_change_leave_one_set_and_every_fault_once(plant):
    assert is_each_fault_once(transitions_over_kills(plant, 10))


def test_an_agent_that_forgets_its_faults_over_kills_is_caught(stage):
    """The check above can fail."""
    plant = Plant(stage, env={"FIELDLINE_PLANTED_BUG": "agentForgetsRuleState"})
    plant.publish("0", PRESSURE)
    plant.until("0", "running")
    plant.measure(pressure=9)
    plant.until_states("pressure", "raised")
    plant.kill("agent")
    plant.start_agent()
    plant.measure(pressure=9)
    assert not is_each_fault_once(plant.until_states("pressure", "raised", "raised"))


def test_a_disk_that_fails_leaves_the_old_set_until_it_heals(stage, fault_disk):  # noqa: F811
    plant = Plant(stage)
    plant.publish("1", COLD)
    plant.until("1", "running")
    plant.stop_agent()
    order = stage.folder / "order"
    plant.start_agent(LD_PRELOAD=str(fault_disk), FAULTDISK_FILE=str(order), FAULTDISK_FOLDER=str(plant.outbox))
    plant.until("1", "running")
    order.write_text("full")
    plant.publish("2", PRESSURE)
    row = plant.until("2", "retrying")
    assert "the outbox does not keep it" in row["reason"] and "the disk is full" in row["reason"]
    assert plant.said()["version"] == "1"
    order.unlink()
    plant.until("2", "running")
    plant.measure(pressure=6)
    plant.until_states("pressure", "raised")


def test_a_file_that_clashes_with_the_kept_set_runs_alone_and_says_so(plant):
    plant.publish("1", PRESSURE)
    plant.until("1", "running")
    plant.stop_agent()
    plant.write(OWN + PRESSURE.split("[[rule.case]]")[0])
    done = subprocess.run(
        [plant.stage.programs / "edge-agent", "check", "--config", plant.config], capture_output=True, text=True)
    assert done.returncode == 0
    assert "warning: rule set 1 from the hub would be refused: rule[1].name = \"pressure\"" in done.stderr
    plant.start_agent()
    assert "is a rule of this gateway's own file" in plant.until("1", "refused")["reason"]
    plant.measure(pressure=6)
    plant.until_states("pressure", "raised")
    plant.stop_agent()
    plant.write(OWN)
    plant.start_agent()
    plant.until("1", "running")


def test_a_gateway_with_a_certificate_fetches_with_it(stage):
    plant = Plant(stage)
    plant.stop_agent()
    key, certificate = stage.folder / "gw.key", stage.folder / "gw.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-keyout", key, "-out", certificate, "-subj", "/CN=gw-2"], check=True, capture_output=True)
    print_ = subprocess.run(
        ["openssl", "x509", "-in", certificate, "-noout", "-fingerprint", "-sha256"], check=True, capture_output=True, text=True)
    stage.hub_command("device", "create", "gw-2", "--gateway", "--thumbprint", print_.stdout.split("=")[1].strip().replace(":", ""))
    text = plant.config.read_text().replace(
        f'connection_string_file = "{stage.folder}/gw-1.connection"',
        f'device_id = "gw-2"\ncertificate_file = "{certificate}"\nkey_file = "{key}"')
    plant.config.write_text(text.replace("outbox.sqlite", "outbox-2.sqlite"))
    plant.start_agent()
    plant.ruleset("publish", plant.file(PRESSURE), "--version", "1", "--gateway", "gw-2")
    wait_until("the set at the second gateway", lambda: [
        row for row in json.loads(plant.ruleset("list", "--output", "json"))
        if row.get("gateway") == "gw-2" and row["state"] == "running"], 30, every=0.1)


def test_a_published_file_is_one_for_rule_test_and_all_verbs_have_help(plant):
    done = subprocess.run(
        [plant.stage.programs / "edge-agent", "rule", "test", plant.file(PRESSURE)], capture_output=True, text=True)
    assert done.returncode == 0 and "ok      pressure: six is too much" in done.stdout
    for verb in ("publish", "list", "show", "assign", "withdraw"):
        said = subprocess.run(
            [plant.stage.programs / "cloud-hub", "ruleset", verb, "--help"], capture_output=True, text=True)
        assert said.returncode == 0 and f"cloud-hub ruleset {verb}" in said.stdout
