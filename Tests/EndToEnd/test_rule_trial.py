"""`edge-agent rule test` fires what the gateway fires: behind [[signal]], in named time zones, with conditions that end."""

import datetime
import subprocess
import zoneinfo

import pytest


def trial(programs, tmp_path, toml, *words, readings=None):
    file = tmp_path / "rules.toml"
    file.write_text(toml)
    if readings:
        (tmp_path / readings[0]).write_text(readings[1])
        words += ("--readings", tmp_path / readings[0])
    done = subprocess.run([programs / "edge-agent", "rule", "test", file, *words], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


BEHIND_SIGNALS = """
[[signal]]
device = "oven-1"
metric = "temperature"
from_unit = "[degF]"
unit = "Cel"
high = 400
keep = "none"
[[signal.window]]
length = "1m"
aggregates = ["mean"]

[[signal]]
device = "oven-1"
metric = "excess"
expression = "temperature - 60"

[[rule]]
name = "hot"
device = "oven-1"
metric = "temperature"
when = "> 70"
[[rule.case]]
name = "212 degrees Fahrenheit are 100 Celsius, and 1000 cannot be"
input = ["0s 68", "10s 212", "20s 50", "30s 1000"]
expect = ["10s raised", "20s cleared"]

[[rule]]
name = "mean"
device = "oven-1"
metric = "temperature.mean"
when = "> 90"
[[rule.case]]
name = "a window's result is watched when the window ends"
start = "2026-11-16T08:00:00Z"
input = ["1s temperature 212", "59s temperature 212"]
until = "2m"
expect = ["1m raised"]

[[rule]]
name = "worked-out"
device = "oven-1"
metric = "excess"
when = "> 20"
[[rule.case]]
name = "what an expression makes of it"
input = ["0s temperature 140", "5s temperature 212"]
expect = ["5s raised"]
"""


def test_rules_are_tried_behind_the_signals(programs, tmp_path):
    code, out, err = trial(programs, tmp_path, BEHIND_SIGNALS)
    assert (code, err) == (0, ""), out
    assert "3 cases, 0 failed" in out


def test_recorded_readings_go_through_the_signals_and_what_a_gateway_sent_does_not(programs, tmp_path):
    raw = "time,device,metric,value\n2026-11-16T08:00:00Z,oven-1,temperature,212\n"
    code, out, _ = trial(programs, tmp_path, BEHIND_SIGNALS, "--rule", "hot", readings=("raw.csv", raw))
    assert code == 0 and "hot  oven-1  raised  value 100" in out
    sent = '{"seq":"1","device":"oven-1","metric":"temperature","value":"69","unit":"Cel","time":"2026-11-16T08:00:00Z"}\n'
    code, out, _ = trial(programs, tmp_path, BEHIND_SIGNALS, "--rule", "hot", readings=("sent.jsonl", sent))
    assert code == 0 and "[[signal]] was applied there" in out and "0 events of 1 rules" in out


BY_DAY = """
[[rule]]
name = "door"
device = "door-1"
metric = "open"
when = "== 1"
active = ["daily 08:00-18:00"]
time_zone = "{zone}"
[[rule.case]]
name = "over the change"
start = "{start}"
input = ["0s 1"]
until = "48h"
expect = {expect}
"""


def edges(start, zone):
    """When a day from 08:00 to 18:00 begins and ends there, within two days, as Python's zoneinfo has it."""
    if zone[0] in "+-":
        place = datetime.datetime.fromisoformat(f"2026-01-01T00:00:00{zone}").tzinfo
    else:
        place = zoneinfo.ZoneInfo(zone)
    begin = datetime.datetime.fromisoformat(start)
    found, was = [], False
    for minute in range(48 * 60):
        now = (begin + datetime.timedelta(minutes=minute)).astimezone(place)
        if (8 <= now.hour < 18) != was:
            was = not was
            text = "".join(f"{n}{unit}" for n, unit in ((minute // 60, "h"), (minute % 60, "m")) if n) or "0s"
            found.append(f"{text} {'raised' if was else 'cleared'}")
    return found


@pytest.mark.parametrize("start", ["2026-03-28T00:00:00Z", "2026-10-24T00:00:00Z", "2026-04-04T00:00:00Z"])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe", "America/New_York", "Asia/Kolkata", "+01:00"])
def test_a_schedule_in_a_named_zone_knows_summer_time(programs, tmp_path, start, zone):
    expect = str(edges(start, zone)).replace("'", '"')
    code, out, err = trial(programs, tmp_path, BY_DAY.format(start=start, zone=zone, expect=expect))
    assert (code, err) == (0, ""), out


def test_a_zone_that_this_machine_does_not_know_is_an_error_with_what_to_do(programs, tmp_path):
    text = BY_DAY.format(start="2026-03-28T00:00:00Z", zone="Europe/Atlantis", expect="[]")
    code, out, err = trial(programs, tmp_path, text)
    assert code == 1 and out == ""
    assert "rule door: time_zone: this machine knows no time zone Europe/Atlantis: correct the name, or run apt install tzdata" in err


def test_a_condition_of_its_own_ends_the_fault_of_an_expression(programs, tmp_path):
    code, out, _ = trial(programs, tmp_path, """
[[rule]]
name = "fan"
device = "oven-1"
expression = "temperature > 70 and [door-1/open] == 0"
clear_when = "temperature < 65 or [door-1/open] == 1"
[[rule.case]]
name = "it does not flutter"
input = ["0s [door-1/open] 0", "1s temperature 71", "2s temperature 69", "3s temperature 71", "4s temperature 64"]
expect = ["1s raised", "4s cleared"]
""".replace("[door-1/open] 0\"", "door-1/open 0\""))
    assert code == 0, out
