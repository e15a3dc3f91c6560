"""Hub and gateway killed at random moments in a stream of readings: nothing lost, nothing doubled, no fault twice."""

import contextlib
import os
import random
import signal
import sqlite3
import threading
import time

import pytest

from ledger import DEVICE, LIMIT, Log, Publisher, wait_for_last
from stage import Browser, StageError, free_port, wait_until

SEED = int(os.environ.get("SEED", random.randrange(1 << 32)))
KILLS = int(os.environ.get("KILLS", 50))


class Site:
    """Broker, hub and gateway with one sensor whose level breaches a rule."""

    def __init__(self, stage, agent_env=None, hub_env=None):
        self.stage, self.agent_env, self.hub_env = stage, agent_env, hub_env
        self.broker = stage.start_broker()
        self.ports = {"mqtt": free_port(), "https": free_port(), "http": free_port()}
        self.lives = 0
        self.hub = self.start_hub()
        stage.hub_command("device", "create", "gw-1", "--gateway")
        stage.hub_command("device", "create", DEVICE, "--parent", "gw-1")
        self.config = self.write_config()
        self.agent = self.start_agent()
        # From here on the broker keeps for the agent what it cannot deliver.
        self.broker.wait_log("fieldline-plant 1 plant/+/state")

    def write_config(self):
        folder = self.stage.folder
        secret = folder / "gw-1.connection"
        secret.touch(0o600)
        secret.write_text(self.stage.device_string("gw-1"))
        config = folder / "edge-agent.toml"
        config.write_text(agent_config(
            broker=self.broker.port, hub=self.ports["mqtt"], ca=self.hub.ca, secret=secret, outbox=folder / "outbox.sqlite"))
        return config

    def start_hub(self):
        self.lives += 1
        self.hub = self.stage.start_hub(name=f"hub-{self.lives}", env=self.hub_env, **self.ports)
        return self.hub

    def start_agent(self):
        self.lives += 1
        self.agent = self.stage.start_agent(self.config, name=f"agent-{self.lives}", env=self.agent_env)
        return self.agent

    def kill(self, which):
        program = getattr(self, which)
        program.kill()
        self.stage.forget(program)
        self.start_hub() if which == "hub" else self.start_agent()

    def stored(self):
        """How many events the hub's log has. Read where they are stored: it must be cheap, and needs no running hub."""
        with contextlib.closing(sqlite3.connect(f"file:{self.stage.folder}/hub/log.sqlite?mode=ro", uri=True)) as log:
            return log.execute("SELECT count(*) FROM event").fetchone()[0]

    def alerts(self):
        """Every alert row of the service desk, open or closed. Read where they are stored: a page shows the newest only."""
        with contextlib.closing(sqlite3.connect(f"file:{self.stage.folder}/hub/desk.sqlite?mode=ro", uri=True)) as desk:
            return [row for row, in desk.execute("SELECT msdyn_iotalertid FROM msdyn_iotalert")]


def agent_config(broker, hub, ca, secret, outbox):
    return f"""
[hub]
host = "localhost"
port = {hub}
ca_file = "{ca}"
connection_string_file = "{secret}"
reconnect_first = "100ms"
reconnect_most = "1s"

[outbox]
path = "{outbox}"

[[mqtt]]
name = "plant"
host = "127.0.0.1"
port = {broker}
reconnect_first = "100ms"
reconnect_most = "1s"

[[mqtt.subscription]]
topic = "plant/{{device}}/state"
payload = "json"

[[rule]]
name = "too-high"
device = "{DEVICE}"
metric = "level"
when = "> {LIMIT}"
severity = "critical"
message = "{{device}} {{metric}} is {{value}}"
"""


def differences(stage, site, publisher, patience=30):
    """Ends the stream, waits until the log and, `patience` seconds at most, the alert rows have all, and says what differs."""
    publisher.finish()
    wait_for_last(stage, publisher)

    def settled():
        return len(site.alerts()) >= publisher.breaches
    with contextlib.suppress(StageError):
        wait_until("the alerts", settled, patience, every=0.5)
    return Log(stage).problems(publisher, site.alerts())


def test_kills_at_random_moments_lose_and_double_nothing(stage):
    print(f"SEED={SEED}")
    chance = random.Random(SEED)
    site = Site(stage)
    publisher = Publisher(site.broker.port, pace=0.004)
    order = ["hub", "agent"] * KILLS
    chance.shuffle(order)
    for which in order:
        time.sleep(chance.uniform(0.0, 0.4))
        site.kill(which)
    assert differences(stage, site, publisher) == []


def test_an_hour_glass_of_hub_outage_leaves_no_gap(stage):
    """With the hub down for a minute the gateway keeps everything."""
    site = Site(stage)
    publisher = Publisher(site.broker.port, pace=0.02)
    wait_until("the first readings", lambda: Log(stage).numbers, 20, every=0.2)
    site.hub.stop()
    stage.forget(site.hub)
    down = threading.Event()
    down.wait(60)
    site.start_hub()
    publisher.finish()
    wait_for_last(stage, publisher)
    wait_until("the alerts", lambda: len(site.alerts()) >= publisher.breaches, 30, every=0.5)
    browser = Browser(f"http://127.0.0.1:{site.ports['http']}")
    assert browser.open_link(stage.hub_command("sign-in"))
    assert browser.missing() == []
    assert Log(stage).problems(publisher, site.alerts()) == []


def unread_bytes(port):
    """What lies in the receive queues of the connections to this port of ours. Source: proc(5), /proc/net/tcp."""
    unread, established = 0, "01"
    with open("/proc/net/tcp", encoding="ascii") as table:
        next(table)
        for row in table:
            _, local, _, state, queues = row.split()[:5]
            if state == established and int(local.split(":")[1], 16) == port:
                unread += int(queues.split(":")[1], 16)
    return unread


# The moments at which a kill does most harm. Each is brought about, not hit by chance.


def wait_for_stream(site):
    """Until readings pass from the sensor to the hub's log."""
    before = site.stored()
    wait_until("readings that pass", lambda: site.stored() > before, 30)


def stop_reading(site):
    """Freezes the hub with a batch in its socket that it has not read. A hub that has read a whole window of batches before
    it was frozen gets no further one: then it goes on and is frozen again."""
    def frozen():
        wait_for_stream(site)
        site.hub.process.send_signal(signal.SIGSTOP)
        with contextlib.suppress(StageError):
            return wait_until("bytes that the frozen hub does not read", lambda: unread_bytes(site.ports["mqtt"]), 2)
        site.hub.process.send_signal(signal.SIGCONT)
        return False
    wait_until("a hub that is frozen before it reads", frozen, 60)


def sent_and_not_read(site):
    """The hub dies before it has read what the gateway sent."""
    stop_reading(site)
    site.kill("hub")


def stored_and_not_heard(site):
    """The gateway dies after the hub stored a batch and before the gateway heard of it."""
    stop_reading(site)
    site.agent.process.send_signal(signal.SIGSTOP)
    before = site.stored()
    site.hub.process.send_signal(signal.SIGCONT)
    wait_until("events that the frozen gateway does not hear of", lambda: site.stored() > before, 20)
    site.kill("agent")


def in_the_stream(which):
    """The program dies while readings pass through it."""
    def moment(site):
        wait_for_stream(site)
        site.kill(which)
    return moment


def fault_open(site):
    """The gateway dies while a fault is open that it has told of."""
    with site.publisher.held_in_breach():
        wait_until("the open fault", lambda: len(site.alerts()) == site.publisher.breaches, 30, every=0.2)
        site.kill("agent")
        last = site.publisher.sent
    wait_until("one more reading of the breach", lambda: site.publisher.sent > last, 20)


# Bugs planted in debug builds: whose they are, the moment that brings them out, and what differs then.
PLANTED = [
    ("hub", "hubAcknowledgesBeforeCommit", in_the_stream("hub"), "lost"),
    ("hub", "hubKeepsRepeats", stored_and_not_heard, "doubled"),
    ("agent", "agentForgetsWhenSent", sent_and_not_read, "lost"),
    ("agent", "agentAcknowledgesBeforeDurable", in_the_stream("agent"), "lost"),
    ("agent", "agentForgetsRuleState", fault_open, "faults"),
]


def stream_with_moments(stage, moments, patience=30, **options):
    site = Site(stage, **options)
    publisher = site.publisher = Publisher(site.broker.port, pace=0.004)
    wait_until("the first readings", site.stored, 20)
    for moment in moments:
        moment(site)
    return differences(stage, site, publisher, patience)


def test_kills_at_the_worst_moments_lose_and_double_nothing(stage):
    assert stream_with_moments(stage, [row[2] for row in PLANTED] * 2) == []


@pytest.mark.parametrize("program, bug, moment, expected", PLANTED, ids=[row[1] for row in PLANTED])
def test_a_planted_bug_is_caught(stage, program, bug, moment, expected):
    """The comparison can fail: each planted bug shows as the difference that it makes."""
    problems = stream_with_moments(stage, [moment], patience=2, **{f"{program}_env": {"FIELDLINE_PLANTED_BUG": bug}})
    assert any(problem.startswith(expected) for problem in problems), problems
