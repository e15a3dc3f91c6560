"""The whole gateway with millions of readings waiting, and a real hub behind TLS that has each batch durable."""

import re
import subprocess
import time

from plant import Plant, cpu, disk_stage, middle_and_late, moment, peak, resident, waiting
from stage import free_port, wait_until
from wire import Sensor

FILLERS = [f"line-{number}-sensor" for number in range(10)]
OUTBOX = 'quota = "4GiB"'


def filled(plant, readings):
    """`outbox-bench` writes what would have gathered without a hub: 100 readings a commit, drifting."""
    command = [plant.stage.programs / "outbox-bench", "fill", plant.outbox, str(readings), "100"]
    subprocess.run([str(item) for item in command], check=True, capture_output=True)


def drain(plant, readings=2_000_000, rate=100):
    """With a live sensor beside it."""
    filled(plant, readings)
    size = plant.outbox.stat().st_size
    agent = plant.start(outbox=OUTBOX)
    programs = (("agent", agent), ("hub", plant.hub), ("broker", plant.broker))
    before = [cpu(program.process.pid) for _, program in programs]
    sensor = Sensor(plant.broker.port, "plant/sensor-1/state", rate)
    wait_until("the end of the backlog", lambda: waiting(plant.outbox)[1] < rate, 300, every=0.1)
    used = [cpu(program.process.pid) - start for (_, program), start in zip(programs, before)]
    most = peak(agent.process.pid)
    live = sensor.finish()
    wait_until("an empty outbox", lambda: waiting(plant.outbox)[1] == 0, 30)
    plant.end(agent)
    drained(plant, readings, size, most, list(zip((name for name, _ in programs), used)), live)


def drained(plant, readings, size, most, used, live):
    """What the hub's log says of it. What was made before the link came is backlog, too."""
    begin = end = count = 0
    ages = []
    for line in plant.events():
        here = line.count('"device":"line-')
        if here:
            at = moment(re.search(r'"enqueuedTime":"([^"]+)"', line).group(1))
            begin, end, count = begin or at, at, count + here
    for at, records in plant.batches('"sensor-1"'):
        ages += [(at - moment(record["time"])) * 1000 for record in records
                 if record["device"] == "sensor-1" and begin <= moment(record["time"]) <= end]
    middle, late = middle_and_late(ages)
    took = max(end - begin, 0.001)
    costs = ", ".join(f"{name} {seconds / readings * 1e6:.2f} µs" for name, seconds in used)
    print(f"backlog drain        {count / took:,.0f} readings/s of {count:,} ({size / 2**20:.0f} MiB; budget 50,000) into the hub's "
          f"log, all on {subprocess.getoutput('nproc')} cores; CPU of a reading: {costs}; {most:.1f} MiB resident at most", flush=True)
    print(f"  live meanwhile     {len(ages):,} readings made in that time (of {live:,}) at the hub after p50 {middle:.0f} ms, p99 {late:.0f} ms, at most "
          f"{max(ages):.0f} ms (budget 1000 ms)", flush=True)


def open_many(plant, readings=10_000_000):
    filled(plant, readings)
    size = plant.outbox.stat().st_size
    agent = plant.start(free_port(), outbox=OUTBOX)
    agent.wait_log("connected to the local broker")
    time.sleep(5)
    alone = resident(agent.process.pid)
    plant.end(agent)
    begin = time.monotonic()
    agent = plant.start(outbox=OUTBOX)
    ready = time.monotonic() - begin
    wait_until("readings at the hub", lambda: plant.metric("fieldline_log_events_total") > 0, 30, every=0.005)
    seen = time.monotonic() - begin
    time.sleep(10)
    busy, most = resident(agent.process.pid), peak(agent.process.pid)
    plant.end(agent)
    print(f"backlog start        ready after {ready * 1000:.0f} ms, first of {readings:,} waiting readings ({size / 2**20:.0f} MiB) at the "
          f"hub after {seen * 1000:.0f} ms (budget 500 ms)", flush=True)
    print(f"backlog memory       {alone:.1f} MiB resident without a hub, {busy:.1f} while it drains, {most:.1f} at most (budget 25)",
          flush=True)


def measure(programs):
    for row in (drain, open_many):
        with disk_stage(programs) as stage:
            row(Plant(stage, ["sensor-1", *FILLERS]))
