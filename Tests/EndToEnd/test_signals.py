"""Every kind of signal from the broker to the hub: what arrives is within the stated error of what was sent, windows and
expressions are right, a fault has its context whole, and the figures say what was saved."""

import bisect
import collections
import datetime
import json
import math
import random
import re
import subprocess
import time

import paho.mqtt.client as mqtt

from stage import wait_until
from test_kill import agent_config

DEVICE = "plant-1"
DOOR, BAND, PERCENT = 0.25, 0.5, 2.0
SIGNALS = f"""
[signals]
state_interval = "1s"

[[signal]]
device = "{DEVICE}"
metric = "door"
swinging_door = {DOOR}
context_max = 6000

[[signal]]
device = "{DEVICE}"
metric = "band"
deadband = {BAND}
context_max = 6000

[[signal]]
device = "{DEVICE}"
metric = "share"
deadband = 0
deadband_percent = {PERCENT}
context_max = 6000

[[signal]]
device = "{DEVICE}"
metric = "state"
keep = "changes"
context_max = 6000

[[signal]]
device = "{DEVICE}"
metric = "hot"
from_unit = "[degF]"
unit = "Cel"
high = 100

[[signal]]
device = "{DEVICE}"
metric = "pulses"
keep = "none"
counter = true
counter_wrap = 65536
[[signal.window]]
length = "2s"
aggregates = ["rate", "count", "min", "max", "mean", "sum", "first", "last", "stddev", "p50"]

[[signal]]
device = "{DEVICE}"
metric = "both"
keep = "all"
expression = "band + share * 2"

[[rule]]
name = "alarm"
device = "{DEVICE}"
metric = "alarm"
when = "> 0"
"""


class Site:
    def __init__(self, stage):
        self.stage = stage
        self.broker = stage.start_broker()
        self.hub = stage.start_hub()
        stage.hub_command("device", "create", "gw-1", "--gateway")
        stage.hub_command("device", "create", DEVICE, "--parent", "gw-1")
        secret = stage.folder / "gw-1.connection"
        secret.touch(0o600)
        secret.write_text(stage.device_string("gw-1"))
        text = agent_config(
            broker=self.broker.port, hub=self.hub.mqtt, ca=self.hub.ca, secret=secret, outbox=stage.folder / "outbox.sqlite")
        self.config = stage.folder / "edge-agent.toml"
        self.config.write_text(text.partition("[[rule]]")[0] + SIGNALS)
        self.lives = 0
        self.start()
        self.client = mqtt.Client(client_id="plant", protocol=mqtt.MQTTv311)
        self.client.connect("127.0.0.1", self.broker.port)
        self.client.loop_start()
        self.sent = []

    def start(self):
        self.lives += 1
        self.agent = self.stage.start_agent(self.config, name=f"agent-{self.lives}")
        self.broker.wait_log("plant/+/state")

    def send(self, **values):
        self.client.publish(f"plant/{DEVICE}/state", json.dumps(values), qos=1).wait_for_publish(20)
        self.sent.append(values)

    def records(self):
        text = self.stage.hub_command("monitor", "--from-start", "--no-follow", timeout=120)
        found = {}
        for line in text.splitlines():
            body = json.loads(line)["body"]
            for record in body.get("records", []) if isinstance(body, dict) else []:
                if record["device"] == DEVICE:
                    assert record["seq"] not in found, "twice"
                    found[record["seq"]] = record
        return [found[seq] for seq in sorted(found, key=int)]

    def of(self, metric):
        return [record for record in self.records() if record.get("metric") == metric and "value" in record]


def seconds(record):
    return datetime.datetime.fromisoformat(record["time"]).timestamp()


def test_what_arrives_is_within_the_stated_error_of_what_was_sent(stage):
    """Each reading carries its number in `mark`, which is kept whole: its time is that of its message."""
    site = Site(stage)
    chance = random.Random(11)
    door, band, share, pulses = 20.0, 5.0, 100.0, 65_400
    for number in range(400):
        door += chance.uniform(-0.15, 0.15) + (8 if number == 200 else 0)
        band += chance.uniform(-0.3, 0.3)
        share *= 1 + chance.uniform(-0.01, 0.01)
        pulses = (pulses + chance.randrange(0, 5)) % 65_536
        site.send(
            mark=number, door=round(door, 4), band=round(band, 4), share=round(share, 4), state="ab"[number // 50 % 2],
            hot=212 if number % 7 else 300, pulses=pulses)
        time.sleep(0.01)
    wait_until("the last mark", lambda: len(site.of("mark")) == 400, 60, 0.5)
    # What is held waits for its heartbeat; the fault's context has it.
    site.send(mark=400, alarm=1)
    wait_until("the fault", lambda: any("fault" in record for record in site.records()), 60, 0.5)
    whole = site.records()
    times = {int(record["value"]): seconds(record) for record in whole if record.get("metric") == "mark"}
    at_first_fault = next(int(record["seq"]) for record in whole if "fault" in record)

    # A fault's context brings what was left out within the last minute, each with its own time. What was kept before it is
    # what the reduction let pass. On a slow machine the run is longer than the minute.
    alarm = next(seconds(record) for record in whole if "fault" in record)
    lately = [values for number, values in enumerate(site.sent[:400]) if times[number] >= alarm - 55]
    context = first_context(whole, at_first_fault)

    def points(metric, until=1 << 63):
        return sorted((seconds(record), float(record["value"])) for record in whole
                      if record.get("metric") == metric and "value" in record and int(record["seq"]) < until)

    early = {metric: points(metric, context) for metric in ("door", "band", "share")}
    for metric in ("door", "band", "share"):
        assert 2 <= len(early[metric]) < 250, f"{metric} saves something: {len(early[metric])}"
        found = collections.Counter(value for _, value in points(metric))
        assert not collections.Counter(values[metric] for values in lately) - found, f"{metric} is not all there"
        assert not found - collections.Counter(values[metric] for values in site.sent[:400]), f"{metric} has others"
    check_door(early["door"], points("door"))
    check_held(early["band"], points("band"), lambda held: BAND)
    check_held(early["share"], points("share"), lambda held: abs(held) * PERCENT / 100)
    changes = [record["value"] for record in whole if record.get("metric") == "state" and int(record["seq"]) < at_first_fault]
    assert len(changes) >= 8
    hot = [record for record in whole if record.get("metric") == "hot"]
    assert {record["value"] for record in hot if record.get("quality", "good") == "good"} == {"100"}
    assert all(record["unit"] == "Cel" for record in hot)
    assert {record.get("quality") for record in hot if float(record["value"]) > 100} == {"bad"}
    assert sum(record.get("quality") == "bad" for record in hot) == sum(values["hot"] == 300 for values in site.sent[:400])
    both = [record for record in whole if record.get("metric") == "both"]
    assert len(both) >= 400 and all(abs(float(record["value"])) < 1e6 for record in both)
    check_windows(whole, times, site.sent[:400])
    check_figures(site)
    site.client.loop_stop()


def first_context(whole, fault):
    """The sequence of the first record that the fault brought along: its time is before that of the one before it."""
    last, found = 0.0, fault
    for record in whole:
        if int(record["seq"]) >= fault:
            break
        if record.get("metric") == "mark":
            last = max(last, seconds(record))
            found = int(record["seq"]) + 1
    return found


def check_door(kept, raw):
    """Straight lines between what was kept pass every reading at no more than the bound; what came after the last kept one
    is still held."""
    moments = [moment for moment, _ in kept]
    for moment, value in raw:
        if moment > moments[-1]:
            continue
        place = bisect.bisect_left(moments, moment)
        if moments[place] == moment:
            line = [kept_value for kept_at, kept_value in kept if kept_at == moment]
            assert min(abs(one - value) for one in line) <= DOOR + 1e-9
            continue
        (start, first), (end, last) = kept[place - 1], kept[place]
        line = first + (last - first) * (moment - start) / (end - start)
        assert abs(line - value) <= DOOR + 1e-6, (moment, value, line)


def check_held(kept, raw, bound):
    """What was kept last tells every reading, as far as the bound goes."""
    for moment, value in raw:
        place = bisect.bisect_left(kept, (moment, -math.inf))
        candidates = [held for held_at, held in kept[max(place - 1, 0):] if held_at <= moment]
        assert min(abs(held - value) - bound(held) for held in candidates) <= 1e-9, (moment, value, candidates)


def check_windows(whole, times, sent):
    results = {}
    for record in whole:
        if record.get("metric", "").startswith("pulses."):
            results.setdefault(seconds(record), {})[record["metric"][7:]] = record
    ends = sorted(results)
    assert len(ends) >= 2 and all(end % 2 == 0 for end in ends)
    assert sum(float(results[end]["count"]["value"]) for end in ends) <= len(sent)
    rates = [float(result["rate"]["value"]) for result in results.values() if "rate" in result]
    assert rates and all(0 <= rate < 1000 for rate in rates), "the wrap at 65536 is no step back"
    assert all(result["rate"].get("quality", "good") == "good" for result in results.values() if "rate" in result)
    for end in ends:
        # A message's readings are stamped one after the other: near an edge nobody can say here on which side they are.
        def between(start, stop):
            return [values["pulses"] for number, values in enumerate(sent) if start <= times[number] < stop]
        surely, perhaps = between(end - 1.95, end - 0.05), between(end - 2.05, end + 0.05)
        result = {name: float(record["value"]) for name, record in results[end].items()}
        assert len(surely) <= result["count"] <= len(perhaps)
        assert result["first"] in perhaps and result["last"] in perhaps
        assert min(perhaps) <= result["min"] <= min(surely, default=65_536)
        assert max(surely, default=0) <= result["max"] <= max(perhaps)
        assert math.isclose(result["sum"], result["mean"] * result["count"], rel_tol=1e-9)
        assert result["min"] <= result["p50"] <= result["max"] and result["min"] <= result["mean"] <= result["max"]


def check_figures(site):
    assert site.agent.stop() == 0
    site.stage.forget(site.agent)
    done = subprocess.run(
        [site.stage.programs / "edge-agent", "status", "--config", site.config], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for metric, bound in (("door", "0.25 (straight lines)"), ("band", "0.5 (last value holds)")):
        line = next(line for line in done.stdout.splitlines() if re.search(rf"\b{DEVICE}\b.*\b{metric}\b", line))
        assert bound in line, line


def test_the_minute_before_a_fault_outlives_a_clean_restart(stage):
    site = Site(stage)
    for number in range(60):
        site.send(mark=number, door=20 + number % 2 * 0.01)
        time.sleep(0.005)
    wait_until("the marks", lambda: len(site.of("mark")) == 60, 60, 0.5)
    assert len(site.of("door")) < 5
    assert site.agent.stop() == 0
    stage.forget(site.agent)
    site.start()
    site.send(mark=60, alarm=1)
    wait_until("the context", lambda: len(site.of("door")) == 60, 60, 0.5)
    marks = [seconds(record) for record in site.of("mark")[:60]]
    for own, mark in zip(sorted(seconds(record) for record in site.of("door")), marks, strict=True):
        assert abs(own - mark) < 0.5, "each at its own time"
    site.client.loop_stop()
