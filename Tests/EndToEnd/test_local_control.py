"""A person at the machine: actuators taken over and given back by hand, with the hub away, and written down."""

import getpass
import json
import os
import socket
import stat
import subprocess

import paho.mqtt.client as mqtt
import pytest

from stage import free_port, wait_until

CONFIG = """
[hub]
host = "localhost"
port = {hub}
connection_string_file = "{secret}"

[outbox]
path = "{folder}/outbox.sqlite"

[actuation]
socket = "{socket}"

[[mqtt]]
name = "plant"
host = "127.0.0.1"
port = {broker}

[[mqtt.subscription]]
topic = "plant/{{device}}/state"
payload = "json"

[[signal]]
metric = "pressure"
from_unit = "[psi]"
unit = "bar"
low = 0
high = 10

[[actuator]]
name = "fan"
topic = "plant/fan"
fail_safe = "off"
override_max = "1h"

[[actuator]]
name = "valve"
topic = "plant/valve"
fail_safe = "closed"
interlock = ["[boiler-1/pressure] < 2"]
"""


class Machine:
    """A gateway without a hub, and what its relays were told."""

    def __init__(self, stage, tmp_path_factory):
        self.stage = stage
        self.broker = stage.start_broker()
        secret = stage.folder / "gw-1.connection"
        secret.touch(0o600)
        secret.write_text("HostName=localhost;DeviceId=gw-1;SharedAccessKey=c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0")
        self.socket = tmp_path_factory.mktemp("s") / "agent.sock"
        self.config = stage.folder / "edge-agent.toml"
        self.config.write_text(CONFIG.format(
            hub=free_port(), secret=secret, folder=stage.folder, broker=self.broker.port, socket=self.socket))
        self.told = []
        self.client = mqtt.Client(client_id="watch", protocol=mqtt.MQTTv311)
        self.client.on_message = lambda _c, _u, message: self.told.append((message.topic, message.payload.decode()))
        self.client.connect("127.0.0.1", self.broker.port)
        self.client.subscribe("plant/fan")
        self.client.subscribe("plant/valve")
        self.client.loop_start()
        self.agent = stage.start_agent(self.config)
        self.broker.wait_log("plant/+/state")

    def verb(self, *words, env=None):
        return subprocess.run(
            [self.stage.programs / "edge-agent", *words, "--config", str(self.config)], capture_output=True, text=True,
            timeout=60, stdin=subprocess.DEVNULL, env={**os.environ, **(env or {}), "SUDO_USER": ""})

    def position(self, name):
        views = json.loads(self.verb("actuators", "--output", "json").stdout)
        return next(view for view in views if view["actuator"] == name)

    def moves(self):
        return [json.loads(line) for line in self.verb("moves", "--output", "json").stdout.splitlines()]

    def last(self, topic):
        return next((payload for told, payload in reversed(self.told) if told == topic), None)

    def pressure(self, psi):
        self.client.publish("plant/boiler-1/state", json.dumps({"pressure": psi}), qos=1).wait_for_publish(10)


@pytest.fixture
def machine(stage, tmp_path_factory):
    machine = Machine(stage, tmp_path_factory)
    yield machine
    machine.client.loop_stop()


def test_an_actuator_is_taken_over_and_given_back_at_the_machine(machine):
    assert stat.S_IMODE(os.stat(machine.socket).st_mode) == 0o600
    done = machine.verb("override", "fan", "on", "--for", "30m", "--by", "Anna")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    wait_until("the fan", lambda: machine.last("plant/fan") == "on", 20)
    view = machine.position("fan")
    user = getpass.getuser()
    assert view["position"] == "on" and view["override"]["who"] == f"Anna (user {user})"
    assert view["override"]["lasts"] in ("30m", "29m59s") or view["override"]["lasts"].startswith("29m")
    assert "overridden by Anna" in machine.verb("actuators").stdout
    assert machine.verb("override", "fan", "--end").returncode == 0
    assert "override" not in machine.position("fan")
    wait_until("the log", lambda: "override-ended" in [move["event"] for move in machine.moves()], 20)
    found = [(move["event"], move["by"]) for move in machine.moves() if move["event"].startswith("override")]
    assert found == [("override-began", f"override by Anna (user {user})"), ("override-ended", user)]


def test_what_cannot_be_is_said(machine):
    def refused(*words, code=1):
        done = machine.verb("override", *words)
        assert done.returncode == code and done.stdout == ""
        return done.stderr
    assert "there is no actuator pump; there are: fan, valve" in refused("pump", "1", "--for", "5m")
    assert "an override lasts at most 1h" in refused("fan", "on", "--for", "2h")
    assert "fan is not overridden" in refused("fan", "--end")
    assert "--for <duration> is missing" in refused("fan", "on", code=2)
    assert "<value> is missing" in refused("fan", "--for", "5m", code=2)
    assert "it goes with no value" in refused("fan", "on", "--end", code=2)
    assert "<actuator> is missing" in refused("--end", code=2)
    machine.agent.stop()
    machine.stage.forget(machine.agent)
    assert not machine.socket.exists()
    assert f"the running agent cannot be asked at {machine.socket}" in refused("fan", "on", "--for", "5m")


def test_a_file_that_lies_where_the_socket_should_be_is_left_as_it_is(machine):
    machine.agent.stop()
    machine.stage.forget(machine.agent)
    machine.socket.write_text("something dear")
    agent = machine.stage.start_agent(machine.config, name="agent-2")
    agent.wait_log("there is no local socket for 'edge-agent override'")
    agent.wait_log("there is something that is no socket; it is left as it is")
    assert machine.socket.read_text() == "something dear"


def test_strangers_at_the_socket_do_no_harm(machine):
    for words in (b"", b"\n", b"{}\n", b'{"method": "ReplayRange"}\n', b"x" * 10_000, b'{"method": "override", "payload": 7}\n'):
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.settimeout(20)
            visitor.connect(str(machine.socket))
            try:
                visitor.sendall(words)
                visitor.shutdown(socket.SHUT_WR)
                answer = visitor.recv(65_536)
            except ConnectionError:
                answer = b""
            assert answer == b"" or json.loads(answer)["status"] == 400, words
    assert machine.position("fan")["position"] in ("off", None)


def test_an_interlock_reads_the_unit_of_its_signal_and_nothing_out_of_range(machine):
    """29 psi are 2 bar; the sensor speaks psi, the technician bar. -5000 psi are -345 bar, which is less than 2, but nothing
    that a sensor can have seen: the valve stays where an unknown pressure puts it."""
    machine.pressure(25)
    wait_until("the valve may open", lambda: "blocked" not in machine.position("valve"), 20)
    assert machine.verb("override", "valve", "open", "--for", "5m").returncode == 0
    wait_until("the valve", lambda: machine.last("plant/valve") == "open", 20)
    machine.pressure(30)
    wait_until("the interlock", lambda: machine.last("plant/valve") == "closed", 20)
    assert "blocked" in machine.position("valve")
    machine.pressure(25)
    wait_until("the valve may open again", lambda: "blocked" not in machine.position("valve"), 20)
    machine.pressure(-5000)
    wait_until("the interlock again", lambda: "blocked" in machine.position("valve"), 20)
    done = machine.verb("override", "valve", "open", "--for", "5m")
    assert done.returncode == 1 and "boiler-1/pressure" in done.stderr


def test_an_interlock_on_what_is_worked_out_is_refused_by_check(machine):
    text = machine.config.read_text().replace(
        "[[actuator]]", '[[signal]]\ndevice = "boiler-1"\nmetric = "half"\nexpression = "pressure / 2"\n\n[[actuator]]', 1)
    machine.config.write_text(text.replace("[boiler-1/pressure] < 2", "[boiler-1/half] < 2"))
    done = machine.verb("check")
    assert done.returncode == 1
    assert "boiler-1/half is worked out by a [[signal]]" in done.stderr
