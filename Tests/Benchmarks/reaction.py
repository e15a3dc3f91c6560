"""From the PUBLISH of a sensor to the PUBLISH of the relay that a rule on the gateway moves, on one broker."""

import json
import os
import socket
import struct
import subprocess
import time

from stage import Stage

CONFIG = """
[hub]
host = "localhost"
port = {hub}
ca_file = "{ca}"
connection_string_file = "{secret}"
[outbox]
path = "{folder}/outbox-{name}.sqlite"
[actuation]
log = "{folder}/actuation-{name}.log"
[[mqtt]]
name = "plant"
port = {broker}
[[mqtt.subscription]]
topic = "plant/{{device}}/state"
payload = "json"
[[actuator]]
name = "relay"
topic = "plant/relay"
interlock = ["[door-1/open] == 0"]
[[rule]]
name = "too-high"
device = "sensor-1"
expression = "level > 100 and [door-1/open] == 0"
then = [{{ publish = "plant/relay", payload = "1" }}]
finally = [{{ publish = "plant/relay", payload = "0" }}]
"""


class Client:
    """As much MQTT 3.1.1 as this needs: QoS 1 out, QoS 0 in."""

    def __init__(self, port, name):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer, self.number = b"", 0
        self.send(0x10, self.text("MQTT") + b"\x04\x02\x00\x3c" + self.text(name))
        assert self.packet()[0] == 2

    @staticmethod
    def text(value):
        return struct.pack(">H", len(value)) + value.encode()

    def send(self, first, body):
        assert len(body) < 128
        self.socket.sendall(bytes([first, len(body)]) + body)

    def packet(self):
        while len(self.buffer) < 2 or len(self.buffer) < 2 + self.buffer[1]:
            piece = self.socket.recv(4096)
            assert piece, "the broker has left"
            self.buffer += piece
        length = self.buffer[1]
        found = self.buffer[0] >> 4, self.buffer[2:2 + length]
        self.buffer = self.buffer[2 + length:]
        return found

    def subscribe(self, topic):
        self.send(0x82, b"\x00\x01" + self.text(topic) + b"\x00")
        assert self.packet()[0] == 9

    def publish(self, topic, body):
        self.number = self.number % 65535 + 1
        self.send(0x32, self.text(topic) + struct.pack(">H", self.number) + body.encode())

    def awaits(self, body):
        """Until the relay is told this."""
        while True:
            kind, content = self.packet()
            if kind == 3 and content.endswith(body.encode()):
                return


def run(stage, hub, broker, secret, name, env=None, runs=300, pause=0.02):
    config = stage.folder / f"{name}.toml"
    config.write_text(CONFIG.format(
        hub=hub.mqtt, ca=hub.ca, secret=secret, folder=stage.folder, broker=broker.port, name=name))
    agent = stage.start_agent(config, name=name, env=env)
    agent.wait_log("connected to the local broker")
    relay = Client(broker.port, f"relay-{name}")
    relay.subscribe("plant/relay")
    relay.socket.settimeout(30)
    sensor = Client(broker.port, f"sensor-{name}")
    sensor.publish("plant/door-1/state", json.dumps({"open": 0}))
    time.sleep(1)
    times = []
    for number in range(runs):
        level, told = (150, "1") if number % 2 == 0 else (0, "0")
        begin = time.perf_counter()
        sensor.publish("plant/sensor-1/state", json.dumps({"level": level}))
        relay.awaits(told)
        times.append((time.perf_counter() - begin) * 1000)
        time.sleep(pause)
    agent.stop()
    stage.forget(agent)
    times = sorted(times[2:])
    return times[len(times) // 2], times[int(len(times) * 0.99)]


def measure(programs):
    with Stage(programs) as stage:
        broker, hub = stage.start_broker(), stage.start_hub()
        stage.hub_command("device", "create", "gw-1", "--gateway")
        for child in ("sensor-1", "door-1"):
            stage.hub_command("device", "create", child, "--parent", "gw-1")
        secret = stage.folder / "secret"
        secret.touch(0o600)
        secret.write_text(stage.device_string("gw-1"))
        library = stage.folder / "slowsync.so"
        source = os.path.join(os.path.dirname(__file__), "slowsync.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
        for what, delay, pause in (("disk as it is", 0, 0.02), ("every fsync 50 ms longer", 50, 0.2)):
            env = {**os.environ, "LD_PRELOAD": str(library), "SLOWSYNC_MS": str(delay)} if delay else None
            middle, late = run(stage, hub, broker, secret, f"reaction-{delay}", env, 300 if delay == 0 else 100, pause)
            print(f"reaction             p50 {middle:.2f} ms, p99 {late:.2f} ms from a sensor's PUBLISH to the relay's, "
                  f"{what} (budget p99 10 ms)", flush=True)
        print("reaction             polled buses: the poll interval (1 s by default, 50 ms at least) and the bus time come on top",
              flush=True)
