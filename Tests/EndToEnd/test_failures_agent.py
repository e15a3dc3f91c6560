"""What goes wrong around the gateway gets a clear error, loses nothing, and the next good reading passes."""

import contextlib
import json
import re
import socket
import sqlite3
import ssl
import subprocess
import threading

import paho.mqtt.publish
import pytest

from clients import run, same, small_disk, wait_line
from ledger import DEVICE, Log
from stage import ROOT, StageError, broker_program, can_connect, free_port, wait_until

OTHER_KEY = "bm90IHRoZSBrZXkgb2YgdGhpcyBkZXZpY2UgYXQgYWxsIQ=="
TIME = r"<\d{4}-\d\d-\d\dT[\d:]+[+-]\d{4}>"


class Site:
    """A hub that knows a gateway and its sensor, a local broker, and the gateway's configuration.

    Neither hub, broker nor agent runs yet: every test decides who comes first.
    """

    def __init__(self, stage):
        self.stage, self.sent = stage, 0
        self.ports = {"mqtt": free_port(), "https": free_port(), "http": free_port()}
        self.broker_port = free_port()
        self.outbox = stage.folder / "outbox.sqlite"
        self.secret = stage.folder / "gw-1.connection"
        hub = self.start_hub()
        self.ca = hub.ca
        stage.hub_command("device", "create", "gw-1", "--gateway")
        for child in (DEVICE, "meter-1"):
            stage.hub_command("device", "create", child, "--parent", "gw-1")
        self.write_secret(stage.device_string("gw-1"))
        self.end(hub)

    def write_secret(self, text):
        self.secret.touch(0o600)
        self.secret.write_text(text)

    def start_hub(self, name="hub"):
        return self.stage.start_hub(name=name, **self.ports)

    def start_broker(self):
        """The plant's broker; its log names every PUBLISH and PUBACK."""
        config = self.stage.folder / "mosquitto.conf"
        config.write_text(
            f"listener {self.broker_port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_type all\n"
            "log_dest stderr\nmax_inflight_messages 0\n")
        self.broker = self.stage.start("broker", [broker_program(), "-c", config])
        wait_until(f"the broker\n{self.broker.tail()}", lambda: can_connect(self.broker_port), 10)
        return self.broker

    def end(self, program):
        assert program.stop() == 0
        self.stage.forget(program)

    def write_config(self, more="", **changes):
        values = {"host": "localhost", "port": self.ports["mqtt"], "ca": self.ca, "outbox": self.outbox, "broker": "", **changes}
        config = self.stage.folder / "edge-agent.toml"
        config.write_text(f"""
[hub]
host = "{values['host']}"
port = {values['port']}
ca_file = "{values['ca']}"
connection_string_file = "{self.secret}"
reconnect_first = "100ms"
reconnect_most = "500ms"

[outbox]
path = "{values['outbox']}"

[[mqtt]]
name = "plant"
host = "127.0.0.1"
port = {self.broker_port}
{values['broker']}
reconnect_first = "100ms"
reconnect_most = "500ms"

[[mqtt.subscription]]
topic = "plant/{{device}}/state"
payload = "json"
{more}
""")
        return config

    def start_agent(self, more="", name="agent", **changes):
        return self.stage.start_agent(self.write_config(more, **changes), name=name)

    def publish(self, count=1, ballast=0):
        """The next numbered readings; returns when the broker has them."""
        for _ in range(count):
            self.sent += 1
            body = {"n": self.sent, **{f"ballast-{place}": "x" * 4000 for place in range(ballast)}}
            paho.mqtt.publish.single(
                f"plant/{DEVICE}/state", json.dumps(body), qos=1, hostname="127.0.0.1", port=self.broker_port)

    def kept(self):
        """How many records wait in the outbox."""
        store = sqlite3.connect(f"file:{self.outbox}?mode=ro", uri=True)
        try:
            return store.execute("SELECT record_count FROM state").fetchone()[0]
        finally:
            store.close()

    def everything_arrives(self, seconds=20):
        """Every reading that was ever published is in the hub's log, each once, and so is the next one."""
        self.publish()
        def arrived():
            with contextlib.suppress(StageError):
                return self.sent in Log(self.stage).numbers
        wait_until(f"reading {self.sent} at the hub", arrived, seconds, every=0.1)
        assert sorted(Log(self.stage).numbers) == list(range(1, self.sent + 1))

    def faults(self):
        """State and message of every fault record at the hub, in order."""
        output = self.stage.hub_command("monitor", "--from-start", "--no-follow")
        bodies = [json.loads(line)["body"] for line in output.splitlines()]
        return [(record["device"], record["fault"]["state"], record["fault"]["message"])
                for body in bodies for record in body["records"] if "fault" in record]


@pytest.fixture
def site(stage):
    return Site(stage)


def line_of(program, message, level, *metadata):
    """Waits for the message in the agent's log and compares its whole line."""
    found = wait_line(program, f"] {message}")
    expected = " ".join([f"{TIME} {level} edge-agent:", *metadata])
    assert same(found.rsplit(" [", 1)[0], expected)


def no_link(agent, level, reason):
    line_of(agent, "no link to the hub", level, f"reason={reason}", r"retryMilliseconds=<\d+>")


def connected(agent, host="localhost"):
    line_of(agent, "connected to the hub", "info", "device=gw-1", f"host={host}")


def broker_found(site, agent):
    line_of(agent, "connected to the local broker", "info",
            f"broker=127.0.0.1:{site.broker_port}", "driver=plant", "session=new")
    # From here on the broker keeps for the agent what it cannot deliver.
    site.broker.wait_log("Sending SUBACK to fieldline-plant")


# -- the configuration


BROKEN = """
[hub]
host = "hub.example.com"
prot = 8883
connection_string_file = "/nowhere/hub.connection"
keep_alive = "1s"

[outbox]
quota = "12 parsecs"

[[mqtt]]
name = "plant"
port = 70000

[[mqtt.subscription]]
topic = "plant/#/state"

[[modbus]]
name = "plant"
port = "/dev/ttyUSB0"

[[modbus.unit]]
device = "meter 1"

[[modbus.unit.register]]
metric = "voltage"
address = 65536
type = "f33"

[[rule]]
name = "overheat"
device = "thermostat-1"
metric = "temperature"
when = "> hot"
message = "{device"
"""
# The sample file has every key of a section, some of them commented out.
HUB_SECTION = (ROOT / "Deploy/config/edge-agent.toml").read_text().split("[hub]")[1].split("\n[")[0]
HUB_KEYS = sorted(re.findall(r"^#?=? ?([a-z_]+) = ", HUB_SECTION, re.MULTILINE))
PROBLEMS = [
    f"line 4: hub.prot: is not a known key; known in [hub]: {', '.join(HUB_KEYS)}",
    'line 6: hub.keep_alive = "1s": expected a duration with its unit, such as "90s" or "1h30m", from 5s to 19m37s',
    'line 9: outbox.quota = "12 parsecs": expected an amount with its unit, such as "64KiB" or "10GB", from 1MiB to 1TiB',
    "line 13: mqtt[1].port = 70000: expected a whole number from 1 to 65535",
    'line 16: mqtt[1].subscription[1].topic = "plant/#/state": expected a topic, with {device} and {metric} for the levels '
    "that name them",
    'line 19: modbus[1].name = "plant": is the name of an earlier driver; every [[mqtt]] and [[modbus]] needs its own',
    'line 23: modbus[1].unit[1].device = "meter 1": expected a device id',
    "line 27: modbus[1].unit[1].register[1].address = 65536: expected a whole number from 0 to 65535",
    'line 28: modbus[1].unit[1].register[1].type = "f33": expected one of "u16", "i16", "u32", "i32", "u64", "i64", "f32", '
    '"f64", "bool", "bit", "text"',
    'line 34: rule[1].when = "> hot": column 3: "hot" is no number; write one such as 70, -2.5 or 1e6',
    'line 35: rule[1].message = "{device": column 1: a { without its }; write {{ for the character itself',
]


@pytest.mark.parametrize("verb", ["check", "run"])
def test_a_broken_configuration_is_refused_with_all_problems_at_once(stage, tmp_path, verb):
    config = tmp_path / "edge-agent.toml"
    config.write_text(BROKEN)
    status, error = run(stage, "edge-agent", verb, "--config", config)
    assert [line.removeprefix(f"{config}: ") for line in error.splitlines()] == PROBLEMS
    assert status == 1


def test_a_text_that_is_no_toml_names_the_line(stage, tmp_path):
    config = tmp_path / "edge-agent.toml"
    config.write_text('[hub]\nhost = = "x"\n')
    assert run(stage, "edge-agent", "check", "--config", config) == (1, f"{config}: line 2: a value is missing")
    missing = tmp_path / "none.toml"
    assert run(stage, "edge-agent", "check", "--config", missing) == (
        1, f"edge-agent: the configuration cannot be read: {missing} cannot be read: No such file or directory")


def test_missing_files_that_the_configuration_names_are_all_named(site):
    config = site.write_config(ca="/nowhere/ca.pem", broker='user = "u"\npassword_file = "/nowhere/password"')
    site.secret.unlink()
    status, error = run(site.stage, "edge-agent", "check", "--config", config)
    assert [line.removeprefix(f"{config}: ") for line in error.splitlines()] == [
        "mqtt[1].password_file: /nowhere/password cannot be read: No such file or directory",
        "hub.ca_file: /nowhere/ca.pem cannot be read: No such file or directory",
        f"hub.connection_string_file: {site.secret} cannot be read: No such file or directory",
    ]
    assert status == 1


# -- the sensors' side


METER = """
[[modbus]]
name = "cabinet"
port = "{tty}"
poll_interval = "100ms"
response_timeout = "100ms"
retry_most = "500ms"

[[modbus.unit]]
device = "meter-1"

[[modbus.unit.register]]
metric = "voltage"
address = 0
type = "f32"
unit = "V"
"""


def start_meter(site, tty):
    meter = site.stage.start(
        "meter", [site.stage.programs / "edge-agent", "simulate", "--meter", "meter-1", "--tty", tty])
    meter.line("edge-agent simulating")
    return meter


def test_a_missing_serial_port_is_named_and_the_rest_runs_on(site):
    tty = site.stage.folder / "meter.tty"
    site.start_hub("hub-2")
    site.start_broker()
    agent = site.start_agent(METER.format(tty=tty))
    line_of(agent, "no Modbus line; will keep trying", "error",
            "advice=check that the adapter is plugged in and that the path is right (ls -l /dev/serial/by-id)",
            "driver=cabinet", f"line={tty}", f"reason=the serial port {tty} is not there")
    connected(agent)
    broker_found(site, agent)
    site.everything_arrives()
    fault = ("meter-1", "raised", f"meter-1 does not answer: the serial port {tty} is not there")
    wait_until("the fault", lambda: fault in site.faults(), every=0.1)
    start_meter(site, tty)
    wait_line(agent, "] Modbus line open")
    wait_until("the fault's end", lambda: ("meter-1", "cleared", "meter-1 answers again") in site.faults(), every=0.1)
    assert agent.is_running


def test_an_unplugged_meter_is_a_fault_that_ends_when_it_is_back(site):
    tty = site.stage.folder / "meter.tty"
    site.start_hub("hub-2")
    site.start_broker()
    meter = start_meter(site, tty)
    agent = site.start_agent(METER.format(tty=tty))
    wait_line(agent, "] Modbus line open")
    connected(agent)
    broker_found(site, agent)
    meter.send("m")
    line_of(agent, "Modbus unit does not answer; asking it less often until it does", "warning",
            "advice=check its power, its wiring and its unit id", "device=meter-1", "driver=cabinet", f"line={tty}",
            "reason=no answer within the response timeout", "unit=1")
    silent = f"meter-1 does not answer: unit 1 on {tty} does not answer: no answer within the response timeout"
    wait_until("the fault", lambda: site.faults() == [("meter-1", "raised", silent)], every=0.1)
    site.everything_arrives()
    meter.send("m")
    line_of(agent, "Modbus unit answers", "info", "device=meter-1", "driver=cabinet", f"line={tty}", "unit=1")
    wait_until("the fault's end", lambda: len(site.faults()) == 2, every=0.1)
    assert site.faults()[1] == ("meter-1", "cleared", "meter-1 answers again")


def test_a_broker_that_is_down_at_the_start_is_named_and_found_when_it_comes(site):
    site.start_hub("hub-2")
    agent = site.start_agent()
    line_of(agent, "no connection to the local broker; will keep trying", "warning",
            "advice=check that the broker runs there (systemctl status mosquitto) and that host and port are right",
            f"broker=127.0.0.1:{site.broker_port}", "driver=plant",
            f"reason=127.0.0.1:{site.broker_port} does not take the connection: Connection refused")
    connected(agent)
    site.start_broker()
    broker_found(site, agent)
    site.everything_arrives()


# -- the hub's side


def test_a_hub_that_is_down_at_the_start_gets_everything_later(site):
    site.start_broker()
    agent = site.start_agent()
    no_link(agent, "warning",
            f"Nothing accepts connections at localhost port {site.ports['mqtt']}. "
            "Start the hub, or correct host and port in the configuration.")
    broker_found(site, agent)
    site.publish(20)
    wait_until("20 readings in the outbox", lambda: site.kept() >= 20)
    site.start_hub("hub-2")
    connected(agent)
    site.everything_arrives()
    wait_until("an empty outbox", lambda: site.kept() == 0)


def test_a_hub_name_that_nobody_knows_is_named(site):
    site.start_broker()
    agent = site.start_agent(host="hub.invalid")
    no_link(agent, "warning",
            "The hub's name hub.invalid cannot be resolved. "
            "Check the spelling of the host name in the configuration and the gateway's DNS server.")
    broker_found(site, agent)
    site.publish(5)
    wait_until("5 readings in the outbox", lambda: site.kept() >= 5)
    site.end(agent)
    site.start_hub("hub-2")
    connected(site.start_agent(name="agent-2"))
    site.everything_arrives()


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def authority(folder, name):
    """A certificate authority: the files of its certificate and its key."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
            "-days", 2, "-keyout", key, "-out", certificate)
    return certificate, key


def issued(folder, signer, names, days):
    """A server certificate by `signer`: the files of its certificate and its key."""
    certificate, key, request = folder / "server.pem", folder / "server-key.pem", folder / "server.csr"
    extensions = folder / "server.ext"
    extensions.write_text(f"subjectAltName={names}\n")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=server", "-keyout",
            key, "-out", request)
    openssl("x509", "-req", "-in", request, "-CA", signer[0], "-CAkey", signer[1], "-days", days, "-extfile", extensions,
            "-out", certificate)
    return certificate, key


@contextlib.contextmanager
def tls_listener(port, certificate, key):
    """A TLS server with this certificate, in the hub's place. It never answers CONNECT."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", port))

    def serve():
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with plain, contextlib.suppress(OSError):
                plain.settimeout(5)
                with context.wrap_socket(plain, server_side=True) as connection:
                    connection.recv(4096)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


CERTIFICATES = [
    ("expired", "DNS:localhost", -1,
     "The certificate of localhost has expired. Renew it at the hub; if it should still be valid, check this gateway's "
     "clock."),
    ("wrong-name", "DNS:other.example", 2,
     "The hub's certificate is not for the name localhost. Use a name that the certificate covers, or give the hub a "
     "certificate for this one."),
]


@pytest.mark.parametrize("names, days, reason", [row[1:] for row in CERTIFICATES], ids=[row[0] for row in CERTIFICATES])
def test_a_certificate_that_does_not_hold_is_named_and_nothing_is_sent(site, tmp_path, names, days, reason):
    hub_authority = (site.ca, site.ca.with_name("ca-key.pem"))
    site.start_broker()
    with tls_listener(site.ports["mqtt"], *issued(tmp_path, hub_authority, names, days)):
        agent = site.start_agent()
        no_link(agent, "error", reason)
        broker_found(site, agent)
        site.publish(5)
        wait_until("5 readings in the outbox", lambda: site.kept() >= 5)
    site.start_hub("hub-2")
    connected(agent)
    site.everything_arrives()


def test_a_certificate_of_an_unknown_authority_is_named(site, tmp_path):
    """The gateway trusts another authority; it reads the file again with every attempt."""
    certificate, _ = authority(tmp_path, "other")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(certificate.read_bytes())
    site.start_hub("hub-2")
    site.start_broker()
    agent = site.start_agent(ca=trusted)
    no_link(agent, "error",
            "The certificate of localhost was signed by an authority that this gateway does not know. "
            f"Copy the hub's CA certificate to {trusted}.")
    broker_found(site, agent)
    site.publish(5)
    wait_until("5 readings in the outbox", lambda: site.kept() >= 5)
    trusted.write_bytes(site.ca.read_bytes())
    connected(agent)
    site.everything_arrives()


def test_a_listener_that_speaks_no_tls_is_named(site):
    site.start_broker()
    agent = site.start_agent(port=site.broker_port)
    no_link(agent, "error",
            "The TLS handshake with localhost failed: unexpected eof while reading. Check that the port is the hub's "
            "MQTT-over-TLS port and that both sides allow TLS 1.2 or 1.3.")
    broker_found(site, agent)
    site.publish(5)
    wait_until("5 readings in the outbox", lambda: site.kept() >= 5)
    site.end(agent)
    site.start_hub("hub-2")
    connected(site.start_agent(name="agent-2"))
    site.everything_arrives()


def test_a_wrong_key_is_named_at_both_ends(site):
    hub = site.start_hub("hub-2")
    site.start_broker()
    right = site.secret.read_text()
    site.write_secret(re.sub("SharedAccessKey=.*", f"SharedAccessKey={OTHER_KEY}", right))
    agent = site.start_agent()
    no_link(agent, "error",
            "The hub does not let gw-1 in (CONNACK code 5). Check that the device exists and is enabled at the hub, that "
            "the key is its own, and that this gateway's clock is right.")
    assert "the token of gw-1 is signed with neither of its two keys" in wait_line(hub, "device=gw-1 ")
    broker_found(site, agent)
    site.publish(5)
    wait_until("5 readings in the outbox", lambda: site.kept() >= 5)
    site.end(agent)
    site.write_secret(right)
    connected(site.start_agent(name="agent-2"))
    site.everything_arrives()


# -- the outbox


def test_a_second_agent_on_the_same_outbox_is_refused_and_the_first_goes_on(site):
    site.start_hub("hub-2")
    site.start_broker()
    agent = site.start_agent()
    broker_found(site, agent)
    assert run(site.stage, "edge-agent", "run", "--config", site.write_config()) == (
        1, f"edge-agent: cannot take the lock in outbox {site.outbox}: another agent, process {agent.process.pid}, is "
        "running on it; stop that one or give this one a file of its own")
    site.everything_arrives()


def test_with_a_full_disk_local_messages_stay_with_the_broker_and_come_by_themselves_when_there_is_room(site, tmp_path):
    with small_disk(tmp_path / "disk", 24) as disk:
        site.outbox = disk.path / "outbox.sqlite"
        broker = site.start_broker()
        agent = site.start_agent()
        broker_found(site, agent)
        site.publish(3)
        wait_until("3 readings in the outbox", lambda: site.kept() >= 3)

        disk.fill()
        for _ in range(1000):
            # What still fits into the files as they are is kept and acknowledged as ever.
            if agent.log_has("readings cannot be kept"):
                break
            before = puback_count(broker)
            site.publish(ballast=16)
            wait_until("an acknowledgement, or the error",
                       lambda: puback_count(broker) > before or agent.log_has("readings cannot be kept"))
        line_of(agent, "readings cannot be kept", "error",
                f"reason=cannot append <\\d+> records in outbox {site.outbox}: the disk is full; free some space, and the "
                r"agent goes on by itself <\(database or disk is full\)|\(no room for the reserve of 2 MiB\)>")
        acknowledged = puback_count(broker)
        site.publish(5)
        wait_until("two further attempts of the broker", lambda: publish_count(broker, site.sent) >= 2)
        assert puback_count(broker) == acknowledged
        assert acknowledged < site.sent
        assert agent.is_running

        line_of(agent, "messages go back to the local broker; will keep trying", "warning",
                "advice=the broker keeps them and repeats them when there is room again",
                f"broker=127.0.0.1:{site.broker_port}", "driver=plant",
                f"reason=the readings cannot be kept: cannot append <\\d+> records in outbox {site.outbox}: the disk is full; "
                r"free some space, and the agent goes on by itself <\(.*\)>")

        disk.free()
        line_of(agent, "the outbox takes readings again", "info")
        line_of(agent, "messages of the local broker are kept again", "info",
                f"broker=127.0.0.1:{site.broker_port}", "driver=plant")
        wait_until("every acknowledgement", lambda: puback_count(broker) >= site.sent)
        # However often it was tried, the log tells it once.
        assert agent.log_path.read_text().count("messages go back to the local broker") == 1
        assert agent.log_path.read_text().count("connected to the local broker") == 1
        site.start_hub("hub-2")
        site.everything_arrives()
        for program in reversed(list(site.stage.running)):
            site.end(program)


def test_an_agent_that_starts_on_a_full_disk_forwards_what_it_has_and_goes_on_when_there_is_room(site, tmp_path):
    with small_disk(tmp_path / "disk", 24) as disk:
        site.outbox = disk.path / "outbox.sqlite"
        site.start_broker()
        agent = site.start_agent()
        broker_found(site, agent)
        site.publish(50)
        wait_until("50 readings in the outbox", lambda: site.kept() >= 50)
        site.end(agent)
        disk.fill()
        agent = site.start_agent(name="agent-2")
        site.start_hub("hub-2")
        connected(agent)
        wait_until("an empty outbox", lambda: site.kept() == 0)
        assert set(range(1, 51)) <= set(Log(site.stage).numbers)
        disk.free()
        site.everything_arrives()
        for program in reversed(list(site.stage.running)):
            site.end(program)


def puback_count(broker):
    """How many messages the agent acknowledged to the broker."""
    return broker.log_path.read_text().count("Received PUBACK from fieldline-plant")


def publish_count(broker, number):
    """How often the broker sent the newest message to the agent."""
    return len(re.findall(r"Sending PUBLISH to fieldline-plant", broker.log_path.read_text())) - number
