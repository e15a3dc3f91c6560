"""The gateway's word to the local broker holds: a trace of system calls, and a power cut that takes what was not synced."""

import json
import os
import random
import re
import sqlite3
import threading
import time

import paho.mqtt.client as mqtt
import pytest

from ledger import DEVICE, Log, Publisher, wait_for_last
from stage import ROOT, wait_until
from test_durability import shim  # noqa: F401
from test_kill import Site

SEED = int(os.environ.get("SEED", random.randrange(1 << 32)))


def power_cut_loses(stage, shim, rounds, env=None, outbox=""):
    """Pulls the gateway's plug `rounds` times in a stream of readings, with the hub down, so that the outbox is the only
    place where they are; the numbers that never reach the hub."""
    print(f"SEED={SEED}")
    chance = random.Random(SEED)
    site = Site(stage)
    for program in (site.agent, site.hub):
        assert program.stop() == 0
        stage.forget(program)
    site.config.write_text(site.config.read_text().replace("[outbox]\n", f"[outbox]\n{outbox}\n"))
    publisher = Publisher(site.broker.port)
    for number in range(rounds):
        cut = stage.folder / f"cut-{number}"
        agent = stage.start_agent(
            site.config, name=f"agent-cut-{number}",
            env={"LD_PRELOAD": str(shim), "POWERCUT_FILE": str(cut),
                 "POWERCUT_FOLDER": str(stage.folder / "outbox.sqlite"), **(env or {})})
        agent.wait_log("connected to the local broker")
        time.sleep(chance.uniform(0.2, 0.8))
        cut.touch()
        agent.process.wait(30)
        agent.kill()
        stage.forget(agent)
        (stage.folder / "outbox.sqlite-shm").unlink(missing_ok=True)
    publisher.finish()
    site.start_agent()
    site.start_hub()
    wait_for_last(stage, publisher)
    numbers = Log(stage).numbers
    return publisher.sent, set(range(1, publisher.sent + 1)) - set(numbers), len(numbers) - len(set(numbers))


def test_a_power_cut_loses_nothing_that_the_local_broker_was_acknowledged(stage, shim):  # noqa: F811
    sent, lost, doubled = power_cut_loses(stage, shim, rounds=5)
    assert sent > 100
    assert (lost, doubled) == (set(), 0)


def default_interval():
    """As the sample configuration has it."""
    sample = (ROOT / "Deploy/config/edge-agent.toml").read_text()
    return re.search(r'^#= commit_interval = "(\w+)"', sample, re.M).group(1)


def seconds(interval):
    number, unit = re.fullmatch(r"(\d+)(ms|s)", interval).groups()
    return int(number) / (1000 if unit == "ms" else 1)


class Disk:
    """Writes and syncs a file of its own beside the outbox, again and again: how slow the disk and the machine are just now,
    whatever the gateway does."""

    def __init__(self, folder):
        self.worst = 0.0
        self.path = folder / "probe"
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.probe, daemon=True)
        self.thread.start()

    def probe(self):
        with self.path.open("wb", buffering=0) as file:
            while not self.over.is_set():
                begun = time.monotonic()
                file.write(b"x" * 4096)
                os.fdatasync(file.fileno())
                time.sleep(0.02)
                self.worst = max(self.worst, time.monotonic() - begun - 0.02)

    def end(self):
        """The longest that one sync took, in seconds."""
        self.over.set()
        self.thread.join(60)
        self.path.unlink()
        return self.worst


@pytest.mark.parametrize("interval", sorted({default_interval(), "300ms", "2s"}))
def test_a_power_cut_costs_what_was_read_within_the_commit_interval_when_nobody_repeats_it(stage, shim, interval):  # noqa: F811
    """QoS 0: the broker forgets what it has passed on, as a polled meter does. Older readings are all there."""
    site = Site(stage)
    for program in (site.agent, site.hub):
        assert program.stop() == 0
        stage.forget(program)
    site.config.write_text(site.config.read_text().replace("[outbox]\n", f'[outbox]\ncommit_interval = "{interval}"\n'))
    cut = stage.folder / "cut"
    agent = stage.start_agent(
        site.config, name="agent-cut",
        env={"LD_PRELOAD": str(shim), "POWERCUT_FILE": str(cut), "POWERCUT_FOLDER": str(stage.folder / "outbox.sqlite")})
    agent.wait_log("connected to the local broker")
    client = mqtt.Client(client_id="qos-0", protocol=mqtt.MQTTv311)
    client.connect("127.0.0.1", site.broker.port, 60)
    client.loop_start()
    disk = Disk(stage.folder)
    sent = []
    end = time.monotonic() + 2.5 * seconds(interval) + 1
    while time.monotonic() < end:
        sent.append(time.monotonic())
        client.publish(f"plant/{DEVICE}/state", json.dumps({"n": len(sent)}), qos=0).wait_for_publish(10)
        time.sleep(0.005)
    pulled = time.monotonic()
    cut.touch()
    agent.process.wait(30)
    stalled = disk.end()
    agent.kill()
    stage.forget(agent)
    client.disconnect()
    client.loop_stop()
    (stage.folder / "outbox.sqlite-shm").unlink(missing_ok=True)
    site.start_agent()
    site.start_hub()
    wait_until("an empty outbox", lambda: kept(stage.folder / "outbox.sqlite") == 0, 60)
    numbers = Log(stage).numbers
    assert len(numbers) == len(set(numbers))
    lost = set(range(1, len(sent) + 1)) - set(numbers)
    ages = [pulled - sent[number - 1] for number in lost]
    print(f"{interval}: {len(lost)} of {len(sent)} lost, the oldest {max(ages, default=0) * 1000:.0f} ms before the cut")
    # Beside the interval: the way through the broker, and the commit itself, which syncs once or, with a checkpoint, twice.
    assert max(ages, default=0) <= seconds(interval) + 1.0 + 2 * stalled, f"the disk took up to {stalled:.3f} s for a sync"


def test_without_the_sync_the_power_cut_test_of_the_gateway_is_red(stage, shim):  # noqa: F811
    """The check above can fail: a gateway that leaves the fdatasync out loses what it acknowledged."""
    sent, lost, _ = power_cut_loses(stage, shim, rounds=2, env={"FIELDLINE_PLANTED_BUG": "agentCommitsWithoutSync"})
    assert sent > 100
    assert lost


def test_fdatasync_of_the_outbox_returns_before_the_local_acknowledgement_goes_out(stage, tmp_path):
    """Follows single readings: read from the broker's socket, fdatasync of the outbox, write to the socket, in this order."""
    site = Site(stage)
    for program in (site.agent, site.hub):
        assert program.stop() == 0
        stage.forget(program)
    # A commit for each reading, so that each can be followed.
    site.config.write_text(site.config.read_text().replace("[outbox]\n", '[outbox]\ncommit_interval = "0s"\n'))
    trace = tmp_path / "trace"
    agent = stage.start(
        "agent-traced",
        ["strace", "-D", "-f", "-yy", "-o", trace, "-e", "trace=fdatasync,fsync,read,recvfrom,write,writev,sendto,sendmsg",
         stage.programs / "edge-agent", "run", "--config", site.config])
    agent.line("edge-agent ready")
    agent.wait_log("connected to the local broker")
    publisher = Publisher(site.broker.port, pace=0.2)
    wait_until("ten messages in the outbox", lambda: kept(stage.folder / "outbox.sqlite") >= 20, 30)
    publisher.finish()
    wait_until("the last reading", lambda: kept(stage.folder / "outbox.sqlite") >= 2 * publisher.sent, 20)
    assert agent.stop() == 0
    stage.forget(agent)

    socket = re.compile(rf"TCP:\[127\.0\.0\.1:\d+->127\.0\.0\.1:{site.broker.port}\]")
    sequence = []
    for line in trace.read_text().splitlines():
        if re.search(r"f(data)?sync\(\d+<[^>]*outbox\.sqlite-wal>\)\s+= 0|<\.\.\. fdatasync resumed>\)\s+= 0", line):
            sequence.append("sync")
        elif socket.search(line) and re.search(r"\b(write|writev|sendto|sendmsg)\(", line):
            sequence.append("answer")
        elif socket.search(line) and re.search(r"\b(read|recvfrom)\(.*= [1-9]", line):
            sequence.append("message")
    text = " ".join(sequence)
    # CONNECT and SUBSCRIBE have their own exchange before the first reading.
    readings = text[text.index("message sync"):]
    acknowledged = re.findall(r"message (?:message )*sync (?:sync )*answer", readings)
    assert len(acknowledged) >= 10, text
    assert not re.search(r"message answer", readings[: readings.rindex("sync")]), text


def kept(path):
    """How many records wait in the outbox."""
    store = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return store.execute("SELECT record_count FROM state").fetchone()[0]
    finally:
        store.close()
