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
payload = '{{"id": {{id}}, "target": {{payload.Reading.Temperature:number}}}}'
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
        self.link = self.new_link()

    def _config(self):
        secret = self.stage.folder / "gateway-1.connection"
        secret.touch(mode=0o600)
        secret.write_text(self.stage.device_string(GATEWAY))
        config = self.stage.folder / "edge-agent.toml"
        config.write_text(ROOT_CONFIG.format(
            hub=self.hub.mqtt, ca=self.hub.ca, secret=secret, outbox=self.stage.folder / "outbox.sqlite",
            broker=self.broker.port, tty=self.tty, thermostat=THERMOSTAT, meter=METER))
        return config

    def new_link(self):
        """Plain HTTP on loopback, so that no certificate warning meets the first look."""
        return self.stage.hub_command("sign-in", "--user", "demo")

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

    def ended(command, status, words, before=0):
        """Waits for the newest command of that name to end with the sensor's own answer; `before` are older ones."""
        def look():
            rows = [row for row in person.commands(alert["id"]) if row[0] == command and row[1] != "In Progress"]
            return rows[-1] if len(rows) > before else None
        _, seen, reason = wait_until(f"the end of {command}", look, 15)
        assert seen == status and words in reason, f"{command} ended as {seen}: {reason}"

    def command(name, status, words, **fields):
        before = sum(row[0] == name for row in person.commands(alert["id"]))
        person.send_command(alert["id"], name, **fields)
        ended(name, status, words, before)

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
    steps.step("Notification: a text reaches the thermostat", lambda: command(
        "Notification", "Sent", "&quot;done&quot;:&quot;notify&quot;", message="Somebody is on the way"))
    steps.step("Set Values: the thermostat takes a new target", lambda: command(
        "Set Values", "Sent", "&quot;done&quot;:&quot;set&quot;", temperature="22.5"))
    steps.step("Set Values: a wrong target fails with the thermostat's own words", lambda: command(
        "Set Values", "Error", "from 5 to 35", temperature="99"))
    steps.step("Reset Thermostat is sent from the alert", lambda: person.send_command(alert["id"], "Reset Thermostat"))
    steps.step("the connector took it to the thermostat, which answers", lambda: ended(
        "Reset Thermostat", "Sent", "&quot;done&quot;:&quot;reset&quot;"))
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

{site.link}

Devices shows live values. In some seconds {THERMOSTAT} passes 70 °C: its
relay closes by itself, and an alert appears on the page. Open the alert and
press Reset Thermostat; Set Values and Notification work too.

Keys here:  m  pull the meter's plug, or put it back    o  overheat again
            l  a new sign-in link                       q  end (so does Ctrl-C)

Configuration, logs and data, until the end: {site.stage.folder}
""", flush=True)
    plugged = True
    with raw_keys() as key:
        while True:
            dead = site.dead()
            if dead:
                raise StageError(f"{', '.join(dead)} ended by itself; see {site.stage.folder}/{dead[0]}.log")
            pressed = key(0.5)
            if pressed == "q":
                return
            if pressed == "l":
                print(f"a new link:\n\n{site.new_link()}\n", flush=True)
            if pressed == "o":
                site.sensors.send("o")
                print("thermostat: its heater sticks; it will pass 70 °C within seconds", flush=True)
            if pressed == "m":
                site.sensors.send("m")
                plugged = not plugged
                print("meter: " + ("its plug is back; the alert closes" if plugged else
                                   "its plug is pulled; an alert appears"), flush=True)


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
    # The terminal may close, or somebody may end the demo from elsewhere: everything ends in order all the same.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    # A shell that starts it in the background has it ignore Ctrl-C; whoever sends it then means it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    steps = Steps()
    try:
        with Stage(options.programs, bound=True) as stage:
            if options.once:
                site = steps.step("broker, sensors, hub and gateway start", lambda: Site(stage))
                if site:
                    once(site, steps)
                steps.step("everything ends when it is told to", stage.stop)
            else:
                print("starting the broker, the sensors, the hub and the gateway …", flush=True)
                attended(Site(stage))
        if not options.once:
            print("ended: everything that the demo started", flush=True)
    except KeyboardInterrupt:
        print("\nended: everything that the demo started", flush=True)
    except StageError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 1 if steps.failed else 0


if __name__ == "__main__":
    sys.exit(main())
