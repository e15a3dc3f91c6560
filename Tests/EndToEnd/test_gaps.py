"""What the hub has lost and the gateway keeps no more: the gap closes, and the loss is counted and told."""

import contextlib
import json
import re
import shutil
import sqlite3

from clients import wait_line
from ledger import Log, Publisher, wait_for_last
from stage import Browser, wait_until
from test_kill import Site


def rows(site):
    return json.loads(site.stage.hub_command("device", "gaps", "gw-1", "--output", "json"))


def trace(site, sequence):
    return json.loads(site.stage.hub_command("trace", "gw-1", str(sequence), "--output", "json"))


class ForgettingSite(Site):
    """The hub asks for gaps soon; the gateway keeps nothing for a replay, or as its configuration says."""

    replay_keep = "0s"

    def start_hub(self):
        config = self.stage.folder / "hub.toml"
        config.write_text('[event_log]\ngap_wait = "1s"\n')
        self.lives += 1
        self.hub = self.stage.start_hub("--config", config, name=f"hub-{self.lives}", **self.ports)
        return self.hub

    def write_config(self):
        config = super().write_config()
        config.write_text(config.read_text().replace("[outbox]\n", f'[outbox]\nreplay_keep = "{self.replay_keep}"\n'))
        return config

    def stop_hub(self):
        assert self.hub.stop() == 0
        self.stage.forget(self.hub)

    def wait_stored(self):
        before = self.stored()
        wait_until("readings that pass", lambda: self.stored() > before + 5, 30)


def with_a_hub_restored_from_an_older_copy(stage, kind):
    """Readings, a copy of the hub, more readings, and the copy in the hub's place."""
    site = kind(stage)
    publisher = Publisher(site.broker.port, pace=0.02)
    site.wait_stored()
    site.stop_hub()
    shutil.copytree(stage.folder / "hub", stage.folder / "hub-copy")
    with contextlib.closing(sqlite3.connect(stage.folder / "hub-copy/log.sqlite")) as log:
        stored = b"".join(chunk for chunk, in log.execute("SELECT bytes FROM event"))
    site.last_copied = max(int(number) for number in re.findall(rb'"seq":"(\d+)"', stored))
    site.start_hub()
    site.wait_stored()
    site.stop_hub()
    shutil.rmtree(stage.folder / "hub")
    shutil.copytree(stage.folder / "hub-copy", stage.folder / "hub")
    site.start_hub()
    site.wait_stored()
    return site, publisher


class KeepingSite(ForgettingSite):
    """Keeps what was acknowledged for an hour."""

    replay_keep = "1h"


def test_what_nobody_has_any_more_is_declared_counted_and_told(stage):
    site, publisher = with_a_hub_restored_from_an_older_copy(stage, ForgettingSite)
    told = wait_line(site.hub, "records of a gateway are lost: it keeps them no more", seconds=60)
    count, first = int(re.search(r"lost=(\d+)", told).group(1)), site.last_copied + 1
    row = wait_until("a gap that closes", lambda: [row for row in rows(site) if row["missing"] == "0"], 60, every=0.2)[0]
    assert row["lost"] == str(count)
    assert [trace(site, number)["state"] for number in (first - 1, first, first + count - 1, first + count)] == [
        "stored", "dropped", "dropped", "stored"]
    browser = Browser(f"http://127.0.0.1:{site.hub.http}")
    assert browser.open_link(stage.hub_command("sign-in"))
    assert f"{count} records of this gateway were lost" in browser.page("/")
    publisher.finish()


def test_what_the_gateway_keeps_comes_again_and_nothing_is_lost(stage):
    site, publisher = with_a_hub_restored_from_an_older_copy(stage, KeepingSite)
    wait_line(site.hub, "a gateway was asked for records that are missing", seconds=30)
    wait_until("no gap", lambda: rows(site) == [], 60, every=0.2)
    publisher.finish()
    wait_for_last(stage, publisher)
    wait_until("every number once", lambda: sorted(Log(stage).numbers) == list(range(1, publisher.sent + 1)), 30, every=0.5)
