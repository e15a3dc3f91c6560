"""The gateway's word to the local broker holds: a trace of system calls, and a power cut that takes what was not synced."""

import os
import random
import re
import sqlite3
import time

from ledger import Log, Publisher, wait_for_last
from stage import wait_until
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
