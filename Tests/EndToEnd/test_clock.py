"""A gateway whose clock is wrong finds the time with its hub's help: nothing lost, order kept, qualities told."""

import datetime
import json
import os
import subprocess
import time

import pytest

from ledger import DEVICE, Publisher
from stage import ROOT, wait_until
from test_kill import Site

HOUR = 3600


@pytest.fixture(scope="module")
def shift_library(tmp_path_factory):
    library = tmp_path_factory.mktemp("clock") / "clockshift.so"
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", library, ROOT / "Tests/Support/clockshift.c"], check=True)
    return library


class ShiftedSite(Site):
    """A site whose gateway has a wall clock of its own."""

    def __init__(self, stage, library, shift=0, websocket=False):
        self.file = stage.folder / "shift"
        self.websocket = websocket
        self.shift(shift)
        super().__init__(stage, agent_env={"LD_PRELOAD": str(library), "CLOCKSHIFT_FILE": str(self.file)})

    def shift(self, seconds):
        """In one step: a file that is half written would be another jump."""
        new = self.file.with_suffix(".new")
        new.write_text(str(int(seconds)))
        os.rename(new, self.file)

    def write_config(self):
        config = super().write_config()
        text = config.read_text()
        if self.websocket:
            text = text.replace(f'port = {self.ports["mqtt"]}\n', f'port = {self.ports["https"]}\n', 1)
            more = 'transport = "websocket"\n'
        else:
            more = f'https_port = {self.ports["https"]}\n'
        config.write_text(text.replace("[outbox]", more + "[outbox]", 1))
        return config

    def records(self):
        """What arrived of the numbers, by sequence."""
        text = self.stage.hub_command("monitor", "--from-start", "--no-follow", timeout=120)
        found = {}
        for line in text.splitlines():
            body = json.loads(line)["body"]
            for record in body.get("records", []) if isinstance(body, dict) else []:
                if record["device"] == DEVICE and record.get("metric") == "n":
                    assert record["seq"] not in found
                    found[int(record["seq"])] = record
        return [found[sequence] for sequence in sorted(found)]

    def arrived(self, publisher):
        """All that was published, in order and once."""
        publisher.finish()
        wait_until("the last reading", lambda: (self.records() or [{"value": 0}])[-1]["value"] == str(publisher.sent), 60, 0.5)
        records = self.records()
        assert [int(record["value"]) for record in records] == list(range(1, publisher.sent + 1))
        return records


def off(record, now):
    """How far a record's time is from now; seconds."""
    return datetime.datetime.fromisoformat(record["time"]).timestamp() - now


def quality(record):
    return record.get("clock", "synchronised")


def assert_right(records, began):
    """Every record has the time that it had, whatever the clock said then: what was stamped wrong was mended."""
    for record in records:
        assert quality(record) == "synchronised" and -5 < off(record, began) < 300, record


def test_a_gateway_that_starts_in_1970_asks_for_the_date_and_is_let_in(stage, shift_library):
    site = ShiftedSite(stage, shift_library, shift=60 - time.time())
    began = time.time()
    publisher = Publisher(site.broker.port, pace=0.01)
    line = site.agent.wait_log("the clock of this gateway was behind and is corrected", 60)
    assert "wasFrom=nothing" in line.replace("'", "") and "quality=synchronised" in line
    site.agent.wait_log("connected to the hub", 60)
    time.sleep(1)
    records = site.arrived(publisher)
    assert quality(records[-1]) == "synchronised" and abs(off(records[-1], time.time())) < 60
    assert_right(records, began)
    # The first refusal is answered by a correction, not by waiting.
    assert site.agent.log_path.read_text().count("no link to the hub") <= 2


@pytest.mark.parametrize("shift, word", [
    (HOUR, "ahead"), (-2 * HOUR, "behind"), (-HOUR * 24 * 3, "behind"), (HOUR * 24 * 3650, "ahead")])
def test_a_clock_that_is_off_at_the_start_is_corrected_by_the_hub(stage, shift_library, shift, word):
    site = ShiftedSite(stage, shift_library, shift=shift)
    began = time.time()
    publisher = Publisher(site.broker.port, pace=0.01)
    site.agent.wait_log(f"the clock of this gateway was {word} and is corrected", 60)
    site.agent.wait_log("connected to the hub", 60)
    time.sleep(1)
    records = site.arrived(publisher)
    assert quality(records[-1]) == "synchronised" and abs(off(records[-1], time.time())) < 60
    assert_right(records, began)


def test_jumps_while_running_move_nothing(stage, shift_library):
    site = ShiftedSite(stage, shift_library)
    publisher = Publisher(site.broker.port, pace=0.01)
    site.agent.wait_log("the time of this gateway is known better", 60)
    began = time.time()
    wait_until("a reading of the right time", lambda: any(quality(r) == "synchronised" for r in site.records()), 60, 0.5)
    for shift in (HOUR, -HOUR, 60 - time.time(), 10 * HOUR, 0):
        site.shift(shift)
        time.sleep(0.5)
    # A new connection while the clock is wrong: the token is made with the time that is known.
    site.shift(-5 * HOUR)
    site.kill("hub")
    site.agent.wait_log("connected to the hub", 60)
    time.sleep(1)
    records = site.arrived(publisher)
    assert_right(records, began - 60)
    times = [off(record, 0) for record in records]
    assert times == sorted(times), "no jump shows"
    assert site.hub.log_path.read_text().count("expired") == 0


def test_the_last_time_that_was_known_is_where_a_restart_in_1970_begins(stage, shift_library):
    site = ShiftedSite(stage, shift_library)
    began = time.time()
    publisher = Publisher(site.broker.port, pace=0.01)
    site.agent.wait_log("the time of this gateway is known better", 60)
    wait_until("readings", lambda: len(site.records()) > 20, 60, 0.5)
    site.hub.stop()
    site.stage.forget(site.hub)
    site.agent.kill()
    site.stage.forget(site.agent)
    site.shift(60 - time.time())
    site.start_agent()
    time.sleep(2)
    site.start_hub()
    site.agent.wait_log("connected to the hub", 60)
    records = site.arrived(publisher)
    assert_right(records, began)
    assert not site.hub.log_has("expired"), "the time that was kept is good for a token"


def test_over_a_websocket_the_date_is_asked_for_at_the_same_port(stage, shift_library):
    site = ShiftedSite(stage, shift_library, shift=-3 * HOUR, websocket=True)
    site.agent.wait_log("the clock of this gateway was behind and is corrected", 60)
    site.agent.wait_log("connected to the hub", 60)
