"""The whole gateway: readings a second, alerts, memory and start."""

import contextlib
import json
import subprocess
import time

from plant import Plant, cpu, disk_stage, peak, resident, waiting
from stage import Browser, wait_until

RULE = """
[[rule]]
name = "too-high"
device = "sensor-1"
metric = "level"
when = "> 100"
message = "{value}"
"""

# Something of everything that a site may have.
EVERYTHING = RULE + """
[[mqtt.command]]
name = "Reset"
topic = "plant/{device}/reset"
[[modbus]]
name = "cabinet"
port = "TTY"
poll_interval = "250ms"
[[modbus.unit]]
device = "meter-1"
[[modbus.unit.register]]
metric = "voltage"
address = 0
type = "f32"
unit = "V"
[[actuator]]
name = "fan"
topic = "plant/fan/set"
interlock = ["[sensor-1/level] < 1000"]
minimum_on = "1s"
fail_safe = 0
[[rule]]
name = "no-voltage"
device = "meter-1"
metric = "voltage"
when = "silent"
for = "10s"
[[rule]]
name = "both"
device = "sensor-1"
expression = "level > 90 and [meter-1/voltage] > 200"
then = [{ publish = "plant/fan/set", payload = "1" }]
finally = [{ publish = "plant/fan/set", payload = "0" }]
[[signal]]
device = "sensor-1"
metric = "level"
swinging_door = 0.1
[[signal.window]]
length = "10s"
aggregates = ["mean", "p95"]
[[signal]]
device = "sensor-1"
metric = "twice"
expression = "level * 2"
"""


def measure(programs):
    with disk_stage(programs) as stage:
        plant = Plant(stage)
        agent = plant.start(more=RULE)
        begin = time.monotonic()
        agent.wait_log("connected to the hub")
        alerts(plant)
        wait_until("a minute of running", lambda: time.monotonic() - begin > 60, 90, every=1)
        print(f"gateway memory       {resident(agent.process.pid):.1f} MiB resident after a minute (budget 20)", flush=True)
        throughput(plant, agent, messages=100_000, members=1, publishers=8)
        throughput(plant, agent, messages=4_000, members=100, publishers=4)


def publish(broker, body):
    subprocess.run(
        ["mosquitto_pub", "-p", str(broker.port), "-q", "1", "-t", "plant/sensor-1/state", "-m", json.dumps(body)], check=True)


def alerts(plant, runs=50):
    """From the breaching PUBLISH being handed to the local broker until the alert row is on the page."""
    person = Browser(f"http://127.0.0.1:{plant.hub.http}")
    person.open_link(plant.stage.hub_command("sign-in"))
    times = []
    for number in range(runs):
        publish(plant.broker, {"level": 150 + number})
        begin = time.monotonic()
        wait_until("an open alert", lambda: person.alerts("open"), 10, every=0.005)
        times.append(time.monotonic() - begin)
        publish(plant.broker, {"level": 0})
        wait_until("no open alert", lambda: not person.alerts("open"), 10, every=0.005)
    times.sort()
    print(f"breach to alert      p50 {times[runs // 2] * 1000:.0f} ms, p95 {times[int(runs * 0.95)] * 1000:.0f} ms "
          f"over {runs} runs (budget p95 1000 ms)", flush=True)


def throughput(plant, agent, messages, members, publishers):
    """Readings a second from local MQTT (QoS 1) until the hub has acknowledged all of them."""
    count = messages // publishers * publishers * members
    last = waiting(plant.outbox)[0] + count
    before, begin = cpu(agent.process.pid), time.monotonic()
    load = plant.publishing(messages, members, publishers)
    wait_until("an empty outbox", lambda: waiting(plant.outbox) == (last, 0), 120, every=0.01)
    took, used = time.monotonic() - begin, cpu(agent.process.pid) - before
    for publisher in load:
        publisher.wait()
    print(f"gateway {members:4} a message {count / took:9,.0f} readings/s end to end, {count / max(used, 0.01):,.0f} per CPU second "
          f"of the agent (budget 20,000/s on one core), {resident(agent.process.pid):.1f} MiB resident", flush=True)


def footprint(programs, starts=9):
    """MQTT, Modbus, rules, signals, an actuator and the outbox, with a hub; no backlog."""
    with disk_stage(programs) as stage:
        plant = Plant(stage, ["sensor-1", "meter-1"])
        tty = stage.folder / "tty"
        stage.start("simulate", [programs / "edge-agent", "simulate", "--meter", "meter-1", "--tty", tty])
        wait_until("the meter's line", tty.exists, 10)
        times = [start(plant, EVERYTHING.replace("TTY", str(tty))) for _ in range(starts)]
        ready, forwarded = (sorted(column)[starts // 2] for column in zip(*times))
        print(f"gateway start        ready after {ready * 1000:.0f} ms, its first reading durable at the hub after "
              f"{forwarded * 1000:.0f} ms (budget 500 ms; median of {starts})", flush=True)
        agent = plant.start(more=EVERYTHING.replace("TTY", str(tty)))
        agent.wait_log("connected to the hub")
        for number in range(60):
            publish(plant.broker, {"level": 80 + number % 30})
            time.sleep(0.5)
        print(f"gateway memory       {resident(agent.process.pid):.1f} MiB resident with MQTT, Modbus, rules, signals, actuator and "
              f"outbox, {peak(agent.process.pid):.1f} at most (budget 20)", flush=True)
        plant.end(agent)


def start(plant, more):
    """Seconds until the gateway says that it is ready, and until the hub has a reading of the meter."""
    known = plant.metric("fieldline_log_events_total")
    begin = time.monotonic()
    agent = plant.start(more=more)
    ready = time.monotonic() - begin
    wait_until("a reading at the hub", lambda: plant.metric("fieldline_log_events_total") > known, 20, every=0.005)
    forwarded = time.monotonic() - begin
    with contextlib.suppress(Exception):
        plant.end(agent)
    return ready, forwarded
