"""An outbox that an older agent made: what waits in it arrives, its epoch and its state stay, and it is renewed."""

import contextlib
import json
import sqlite3
import subprocess

import pytest

from stage import wait_until
from test_failures_agent import Site

# The tables of version 1, as the agent made them.
VERSION_1 = """
PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;
CREATE TABLE identity(id INTEGER PRIMARY KEY CHECK(id = 1), epoch BLOB NOT NULL) STRICT;
CREATE TABLE state(
    id INTEGER PRIMARY KEY CHECK(id = 1), next_sequence INTEGER NOT NULL, stored_bytes INTEGER NOT NULL,
    record_count INTEGER NOT NULL, wall_milliseconds INTEGER) STRICT;
CREATE TABLE row(
    first INTEGER PRIMARY KEY, count INTEGER NOT NULL, lane INTEGER NOT NULL, fragments BLOB NOT NULL) STRICT;
CREATE INDEX row_faults ON row(first) WHERE lane = 1;
CREATE TABLE dropped(start INTEGER PRIMARY KEY, count INTEGER NOT NULL) STRICT;
CREATE TABLE kept(key TEXT PRIMARY KEY, bytes BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE receipt(id INTEGER PRIMARY KEY, wall_milliseconds INTEGER NOT NULL, bytes BLOB NOT NULL) STRICT;
CREATE TABLE command(
    id INTEGER PRIMARY KEY, message_id TEXT NOT NULL UNIQUE, device TEXT NOT NULL, name TEXT NOT NULL,
    payload BLOB NOT NULL, expires_milliseconds INTEGER, state INTEGER NOT NULL, outcome TEXT) STRICT;
INSERT INTO identity VALUES(1, x'0123456789abcdef');
PRAGMA application_id = 1179406146; PRAGMA user_version = 1;
"""


def fragment(sequence, number, ballast):
    """The first of a row is a numbered reading, the others are ballast when there is any."""
    metric, value = ("ballast", {"text": "x" * ballast}) if number is None else ("n", str(number))
    return json.dumps({"seq": str(sequence), "device": "sensor-1", "metric": metric, "value": value,
                       "time": "2026-11-21T08:53:00.250Z"}, separators=(",", ":"))


def older_outbox(path, rows, each, ballast):
    """Numbered readings, and a run that was dropped before them."""
    with contextlib.closing(sqlite3.connect(path)) as store:
        store.executescript(VERSION_1)
        first, size = 11, 0
        for row in range(rows):
            numbers = [row + 1] + [None] * (each - 1) if ballast else [row * each + place + 1 for place in range(each)]
            body = ",".join(fragment(first + place, number, ballast) for place, number in enumerate(numbers)).encode()
            store.execute("INSERT INTO row VALUES(?, ?, 0, ?)", (first, each, body))
            first, size = first + each, size + len(body) + 64
        if rows:
            store.execute("INSERT INTO dropped VALUES(1, 10)")
        store.execute("INSERT INTO state VALUES(1, ?, ?, ?, 1795000000000)", (first, size, rows * each))
        store.commit()


@pytest.mark.parametrize("rows, each, ballast", [(0, 0, 0), (40, 250, 0), (320, 15, 4000)],
                         ids=["empty", "small", "larger than is written anew"])
def test_an_outbox_of_an_older_agent_drains_and_goes_on(stage, rows, each, ballast):
    site = Site(stage)
    older_outbox(site.outbox, rows, each, ballast)
    site.outbox.chmod(0o600)
    site.sent = rows if ballast else rows * each
    site.start_broker()
    agent = site.start_agent()
    assert site.kept() >= rows * each
    shown = subprocess.run([stage.programs / "edge-agent", "status", "--config", stage.folder / "edge-agent.toml"],
                           capture_output=True, text=True, check=True).stdout
    assert "epoch        0123456789abcdef" in shown
    agent.wait_log("connected to the local broker")
    site.broker.wait_log("Sending SUBACK to fieldline-plant")
    site.publish(3)
    site.start_hub("hub-2")
    site.everything_arrives(60)
    wait_until("an empty outbox", lambda: site.kept() == 0, 30)
    if rows:
        site.end(agent)
        site.start_agent(name="agent-2")
        site.everything_arrives(60)
    with contextlib.closing(sqlite3.connect(f"file:{site.outbox}?mode=ro", uri=True)) as store:
        assert store.execute("PRAGMA user_version").fetchone() == (2,)
        assert ballast or store.execute("PRAGMA page_size").fetchone() == (1024,)
