"""What is acknowledged is on disk: shown by a trace of system calls, and by taking away what was not synced."""

import contextlib
import json
import os
import random
import re
import subprocess
import sys
import threading
import time

import paho.mqtt.client as mqtt
import pytest

from stage import ROOT, wait_until

sys.path.insert(0, str(ROOT / "Tests/Compatibility"))
from sas import device_token  # noqa: E402

SEED = int(os.environ.get("SEED", random.randrange(1 << 32)))


class Device:
    """One device that publishes numbers and knows which the hub acknowledged."""

    def __init__(self, stage, hub, name):
        self._numbers = {}
        self._acknowledged = set()
        self._client = mqtt.Client(client_id=name, clean_session=False, protocol=mqtt.MQTTv311)
        self._client.username_pw_set(f"localhost/{name}/?api-version=2021-04-12", device_token(stage.device_string(name)))
        self._client.tls_set(ca_certs=str(hub.ca))
        self._client.max_inflight_messages_set(64)
        self._client.on_publish = self._published
        self.connected = threading.Event()
        self._client.on_connect = lambda *_: self.connected.set()
        self._topic = f"devices/{name}/messages/events/"
        self._client.connect("localhost", hub.mqtt, 60)
        self._client.loop_start()
        assert self.connected.wait(20), "no CONNACK"

    def publish(self, number):
        message = self._client.publish(self._topic, json.dumps({"n": number}), qos=1).mid
        assert message not in self._numbers, "too many messages for one connection: identifiers would repeat"
        self._numbers[message] = number

    def _published(self, _client, _userdata, message):
        # Called with paho's own lock held, perhaps before publish() has returned: only note the identifier.
        self._acknowledged.add(message)

    @property
    def acknowledged(self):
        return {self._numbers[message] for message in self._acknowledged.copy() if message in self._numbers}

    def close(self):
        self._client.loop_stop()
        # After a power cut there is nobody to say goodbye to.
        with contextlib.suppress(OSError):
            self._client.disconnect()


def in_log(stage):
    text = stage.hub_command("monitor", "--from-start", "--no-follow", timeout=60)
    return {json.loads(line)["body"]["n"] for line in text.splitlines()}


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    library = tmp_path_factory.mktemp("shim") / "powercut.so"
    source = ROOT / "Tests/Support/powercut.c"
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl", "-lpthread"], check=True)
    return library


def power_cut_loses(stage, shim, rounds, env=None):
    """Pulls the plug `rounds` times in a stream of messages; what was acknowledged and is not in the log."""
    print(f"SEED={SEED}")
    chance = random.Random(SEED)
    acknowledged, number = set(), 0
    for round_number in range(rounds):
        cut = stage.folder / f"cut-{round_number}"
        hub = stage.start_hub(
            name=f"hub-{round_number}",
            env={"LD_PRELOAD": str(shim), "POWERCUT_FILE": str(cut), "POWERCUT_FOLDER": str(stage.folder / "hub"),
                 **(env or {})},
        )
        if round_number == 0:
            stage.hub_command("device", "create", "dev-1")
        device = Device(stage, hub, "dev-1")
        until = time.monotonic() + chance.uniform(0.3, 1.0)
        while time.monotonic() < until:
            number += 1
            device.publish(number)
            if number % 20 == 0:
                time.sleep(0.001)
        wait_until("one acknowledgement", lambda: device.acknowledged, 10)
        cut.touch()
        hub.process.wait(30)
        hub.kill()
        stage.forget(hub)
        device.close()
        acknowledged |= device.acknowledged
        for shared_memory in (stage.folder / "hub").glob("*-shm"):
            shared_memory.unlink()
    stage.start_hub(name="hub-after")
    return acknowledged, acknowledged - in_log(stage)


def test_a_power_cut_loses_nothing_that_was_acknowledged(stage, shim):
    acknowledged, lost = power_cut_loses(stage, shim, rounds=5)
    assert len(acknowledged) > 100
    assert lost == set()


def test_without_the_sync_the_power_cut_test_is_red(stage, shim):
    """The check above can fail: a hub that leaves the fdatasync out loses acknowledged messages."""
    acknowledged, lost = power_cut_loses(
        stage, shim, rounds=2, env={"FIELDLINE_PLANTED_BUG": "hubCommitsWithoutSync"})
    assert len(acknowledged) > 100
    assert lost


def test_fdatasync_returns_before_the_acknowledgement_goes_out(stage, tmp_path):
    """Follows single messages: read from the socket, fdatasync of the log, write to the socket, in this order."""
    trace = tmp_path / "trace"
    hub = stage.start_hub(
        wrapper=["strace", "-D", "-f", "-yy", "-o", trace, "-e", "trace=fdatasync,read,recvfrom,write,writev,sendto,sendmsg"])
    stage.hub_command("device", "create", "dev-1")
    device = Device(stage, hub, "dev-1")
    mark = len(trace.read_text().splitlines())
    for number in range(1, 6):
        device.publish(number)
        wait_until(f"acknowledgement {number}", lambda: number in device.acknowledged, 20)
    device.close()
    assert hub.stop() == 0
    stage.forget(hub)

    sequence = []
    for line in trace.read_text().splitlines()[mark:]:
        socket = f"TCP:[127.0.0.1:{hub.mqtt}->"
        if re.search(r"fdatasync\(\d+<[^>]*log\.sqlite-wal>\)\s+= 0|<\.\.\. fdatasync resumed>\)\s+= 0", line):
            sequence.append("sync")
        elif socket in line and re.search(r"\b(write|writev|sendto|sendmsg)\(", line):
            sequence.append("answer")
        elif socket in line and re.search(r"\b(read|recvfrom)\(.*= [1-9]", line):
            sequence.append("message")
    text = " ".join(sequence)
    acknowledged = re.findall(r"message (?:message )*sync (?:sync )*answer", text)
    assert len(acknowledged) >= 5, text
    assert not re.search(r"message answer(?! message$)", text[: text.rfind("answer")]), text
