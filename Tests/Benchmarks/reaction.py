"""From the PUBLISH of a sensor to the PUBLISH of the relay that a rule on the gateway moves, on one broker."""

import json
import os
import subprocess
import time

from plant import Plant, disk_stage, middle_and_late
from wire import Client

RULE = """
[[actuator]]
name = "relay"
topic = "plant/relay"
interlock = ["[door-1/open] == 0"]
[[rule]]
name = "too-high"
device = "sensor-1"
expression = "level > 100 and [door-1/open] == 0"
then = [{ publish = "plant/relay", payload = "1" }]
finally = [{ publish = "plant/relay", payload = "0" }]
"""


def awaits(client, body):
    """Until the relay is told this."""
    while not client.message()[1].endswith(body):
        pass


def run(plant, env=None, runs=300, pause=0.02):
    agent = plant.start(more=RULE, env=env)
    agent.wait_log("connected to the local broker")
    relay = Client(plant.broker.port, "relay")
    relay.subscribe("plant/relay")
    relay.socket.settimeout(30)
    sensor = Client(plant.broker.port, "sensor")
    sensor.publish("plant/door-1/state", b'{"open": 0}')
    time.sleep(1)
    times = []
    for number in range(runs):
        level, told = (150, b"1") if number % 2 == 0 else (0, b"0")
        begin = time.perf_counter()
        sensor.publish("plant/sensor-1/state", json.dumps({"level": level}).encode())
        awaits(relay, told)
        times.append((time.perf_counter() - begin) * 1000)
        time.sleep(pause)
    plant.end(agent)
    relay.close()
    sensor.close()
    return middle_and_late(times[2:])


def measure(programs):
    with disk_stage(programs) as stage:
        plant = Plant(stage, ["sensor-1", "door-1"])
        library = stage.folder / "slowsync.so"
        source = os.path.join(os.path.dirname(__file__), "slowsync.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
        for what, delay, pause in (("disk as it is", 0, 0.02), ("every fsync 50 ms longer", 50, 0.2)):
            env = {**os.environ, "LD_PRELOAD": str(library), "SLOWSYNC_MS": str(delay)} if delay else None
            middle, late = run(plant, env, 300 if delay == 0 else 100, pause)
            print(f"reaction             p50 {middle:.2f} ms, p99 {late:.2f} ms from a sensor's PUBLISH to the relay's, "
                  f"{what} (budget p99 10 ms)", flush=True)
        print("reaction             polled buses: the poll interval (1 s by default, 50 ms at least) and the bus time come on top",
              flush=True)
