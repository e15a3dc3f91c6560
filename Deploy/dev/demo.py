#!/usr/bin/env python3
"""The whole way on one computer: simulated sensors, a gateway, a hub, a service desk.

Started by `make demo`. With --once no person is needed: every step is done and checked, and the exit status says whether
all of them worked.
"""

import argparse
import contextlib
import os
import re
import select
import signal
import sys
import tempfile
import termios
import threading
import time
import tty

from stage import Browser, Stage, StageError, free_port, wait_until

THERMOSTAT, METER, GATEWAY = "thermostat-1", "meter-1", "gateway-1"
ROOT_CONFIG = """\
# The demo's gateway. Deploy/config/edge-agent.toml explains every key.
[hub]
host = "localhost"
port = {hub}
ca_file = "{ca}"
connection_string_file = "{secret}"

[outbox]
path = "{outbox}"

[[mqtt]]
name = "plant"
host = "127.0.0.1"
port = {broker}

[[mqtt.subscription]]
topic = "plant/{{device}}/state"
payload = "json"
units = {{ temperature = "Cel", humidity = "%" }}

[[mqtt.command]]
name = "Reset"
topic = "plant/{{device}}/cmd/reset"
payload = '{{"id": {{id}}}}'
answer_topic = "plant/{{device}}/answer"

[[mqtt.command]]
name = "SetValue"
topic = "plant/{{device}}/cmd/set"
payload = '{{"id": {{id}}, "target": {{payload.Reading.Temperature}}}}'
answer_topic = "plant/{{device}}/answer"

[[mqtt.command]]
name = "Notify"
topic = "plant/{{device}}/cmd/notify"
payload = '{{"id": {{id}}, "message": {{payload.Message}}}}'
answer_topic = "plant/{{device}}/answer"

[[modbus]]
name = "cabinet"
port = "{tty}"
baud = 19200
poll_interval = "500ms"

[[modbus.unit]]
device = "{meter}"
unit = 1

[[modbus.unit.register]]
metric = "voltage"
address = 0
table = "holding"
type = "f32"
unit = "V"

[[modbus.unit.register]]
metric = "current"
address = 2
table = "holding"
type = "f32"
unit = "A"

[[rule]]
name = "overheat"
device = "{thermostat}"
metric = "temperature"
when = "> 70"
hysteresis = 5
severity = "critical"
message = "{{device}} is at {{value}}, above {{limit}}"
then = [{{ publish = "plant/{thermostat}/relay", payload = "on" }}]
"""


class Site:
    """The running demo."""

    def __init__(self, stage):
        self.stage = stage
        self.broker = stage.start_broker()
        self.sensors = stage.start(
            "sensors",
            [stage.programs / "edge-agent", "simulate", "--broker-port", self.broker.port, "--thermostat", THERMOSTAT,
             "--meter", METER, "--overheat-after", "8s"],
        )
        self.tty = self.sensors.line("edge-agent simulating").split("tty=")[1].split()[0]
        self.hub = stage.start_hub()
        stage.hub_command("device", "create", GATEWAY, "--gateway")
        for child in (THERMOSTAT, METER):
            stage.hub_command("device", "create", child, "--parent", GATEWAY)
        self.agent = stage.start_agent(self._config())
        self.link = stage.hub_command("sign-in", "--user", "demo")

    def _config(self):
        secret = self.stage.folder / "gateway-1.connection"
        secret.touch(mode=0o600)
        secret.write_text(self.stage.device_string(GATEWAY))
        config = self.stage.folder / "edge-agent.toml"
        config.write_text(ROOT_CONFIG.format(
            hub=self.hub.mqtt, ca=self.hub.ca, secret=secret, outbox=self.stage.folder / "outbox.sqlite",
            broker=self.broker.port, tty=self.tty, thermostat=THERMOSTAT, meter=METER))
        return config

    def dead(self):
        return [program.name for program in self.stage.running if not program.is_running]


class Steps:
    """The steps of --once: a line each, with the time it took."""

    def __init__(self):
        self.failed = 0

    def step(self, words, action):
        begin = time.monotonic()
        try:
            result = action()
        except (StageError, OSError, AssertionError) as error:
            self.failed += 1
            print(f"FAILED  {time.monotonic() - begin:6.2f} s  {words}\n        {error}", flush=True)
            return None
        print(f"ok      {time.monotonic() - begin:6.2f} s  {words}", flush=True)
        return result


def once(site, steps):
    person = Browser(f"http://127.0.0.1:{site.hub.http}")
    alert = {}

    def open_alert(words):
        def look():
            found = [entry for entry in person.alerts("open") if words in entry[1]]
            return found[0] if found else None
        return look

    def sign_in():
        assert person.open_link(site.link), "the one-time link did not open the pages"
        assert not Browser(person.base).open_link(site.link), "the one-time link opened the pages a second time"

    def overheated():
        alert["id"], alert["title"] = wait_until("an alert about the thermostat", open_alert(THERMOSTAT), 30)

    def obeyed():
        wait_until("the command's end", lambda: [row for row in person.commands(alert["id"]) if row[1] == "Sent"], 15)

    def closed():
        wait_until("the alert's end", lambda: alert["id"] in [row[0] for row in person.alerts("closed")], 30)

    def cooled():
        wait_until("a temperature below the limit", lambda: temperature(person) < 70, 15)

    steps.step("the one-time link opens the pages, once", sign_in)
    steps.step("the thermostat's temperature is live", lambda: wait_until(
        "a temperature", lambda: person.metric(THERMOSTAT, "temperature"), 15))
    steps.step("the meter's voltage is live", lambda: wait_until(
        "a voltage", lambda: person.metric(METER, "voltage"), 15))
    steps.step("the thermostat overheats and an alert appears", overheated)
    steps.step("the edge rule closed the relay by itself", lambda: wait_until(
        "a closed relay", lambda: (person.metric(THERMOSTAT, "relay") or "").startswith(("closed", "true")), 10))
    steps.step("Reset Thermostat is sent from the alert", lambda: person.send_command(alert["id"], "Reset Thermostat"))
    steps.step("the connector took it to the thermostat", obeyed)
    steps.step("the thermostat obeyed: it is cool again", cooled)
    steps.step("the alert is closed", closed)
    steps.step("the meter's plug is pulled", lambda: site.sensors.send("m"))
    steps.step("an alert says that the meter does not answer", lambda: alert.update(
        meter=wait_until("an alert about the meter", open_alert(METER), 15)[0]))
    steps.step("the plug is put back", lambda: site.sensors.send("m"))
    steps.step("the meter's alert is closed", lambda: wait_until(
        "the alert's end", lambda: alert["meter"] in [row[0] for row in person.alerts("closed")], 15))
    steps.step("every program still runs", lambda: wait_until("nothing dead", lambda: not site.dead(), 1))


def temperature(person):
    text = person.metric(THERMOSTAT, "temperature") or "1000"
    return float(re.match(r"[-0-9.eE+]+", text).group())


def attended(site):
    """Until Ctrl-C: keys pull the meter's plug and heat the thermostat."""
    print(f"""
    Open this link, once, within fifteen minutes:

        http://127.0.0.1:{site.hub.http}{site.link.split(str(site.hub.http), 1)[1]}

    Devices shows live values. In some seconds {THERMOSTAT} passes 70 °C: its relay closes by itself and an alert
    appears under Alerts. Open it and press Reset Thermostat.

    Keys here:  m  pull the meter's plug, or put it back     o  overheat now     q or Ctrl-C  end
    Everything is in {site.stage.folder}
""", flush=True)
    with raw_keys() as key:
        while True:
            dead = site.dead()
            if dead:
                raise StageError(f"{', '.join(dead)} ended by itself; see {site.stage.folder}/{dead[0]}.log")
            pressed = key(0.5)
            if pressed == "q":
                return
            if pressed in ("m", "o"):
                site.sensors.send(pressed)
                print({"m": "meter: plug pulled or put back", "o": "thermostat: overheating"}[pressed], flush=True)


@contextlib.contextmanager
def raw_keys():
    """A function that waits for one key; without a terminal it only waits."""
    if not sys.stdin.isatty():
        yield lambda seconds: time.sleep(seconds)
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield lambda seconds: sys.stdin.read(1) if select.select([sys.stdin], [], [], seconds)[0] else None
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--programs", required=True, help="the folder with cloud-hub and edge-agent")
    options.add_argument("--once", action="store_true", help="no person: do and check every step, then end")
    options = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    steps = Steps()
    try:
        with Stage(options.programs) as stage:
            if options.once:
                site = steps.step("broker, sensors, hub and gateway start", lambda: Site(stage))
                if site:
                    once(site, steps)
                steps.step("everything ends when it is told to", stage.stop)
            else:
                attended(Site(stage))
    except KeyboardInterrupt:
        print("\nended: everything that the demo started", flush=True)
    except StageError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 1 if steps.failed else 0


if __name__ == "__main__":
    sys.exit(main())
