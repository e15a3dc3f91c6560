"""One outage for two systems: the link goes away, the gateway is killed in the middle, the link comes back. Counted at the
far end: what was lost and doubled, how long the backlog took, and how much memory the gateway had at most."""

import collections
import subprocess
import threading
import time

from plant import Link, Plant, disk_stage, peak, waiting
from stage import broker_program, can_connect, free_port, wait_until
from wire import Client, Sensor

SENSORS, RATE = 10, 50
BEFORE, UNTIL_KILL, AFTER_KILL, AFTER = 5, 10, 10, 5
# Both notice a dead link and try again as fast as this.
KEEP_ALIVE, RETRY = 10, 1

EVERY_SECOND = "max_queued_messages 0\nautosave_interval 1\n"
EACH_CHANGE = EVERY_SECOND + "autosave_on_changes true\n"


class Agent:
    """edge-agent beside the plant's broker; at the far end a cloud-hub, which drops what comes twice."""

    name = "edge-agent"

    def __init__(self, stage, broker=None):
        self.plant = Plant(stage, [f"sensor-{number}" for number in range(SENSORS)], broker)
        self.link, self.port = Link(self.plant.hub.mqtt), self.plant.broker.port
        self.agent, self.most = None, 0.0

    def start(self):
        self.agent = self.plant.start(self.link.port, f'keep_alive = "{KEEP_ALIVE}s"\nreconnect_most = "{RETRY}s"')
        return self

    def ready(self):
        self.agent.wait_log("connected to the local broker")
        self.agent.wait_log("connected to the hub")
        wait_until("the subscription", lambda: self.plant.broker.log_has("plant/+/state"))

    def kill(self):
        self.measure()
        self.agent.kill()
        self.plant.stage.forget(self.agent)

    def measure(self):
        self.most = max(self.most, peak(self.agent.process.pid))

    def drained(self, made):
        """Until the hub has everything, or nothing has come for five seconds."""
        last, since = None, time.monotonic()
        while time.monotonic() < since + 5:
            now = waiting(self.plant.outbox)
            if now[1] == 0 and now[0] > made:
                break
            if now != last:
                last, since = now, time.monotonic()
            time.sleep(0.1)
        time.sleep(1)

    def arrivals(self):
        found = collections.defaultdict(list)
        for at, records in self.plant.batches():
            for record in records:
                if record.get("metric") == "n":
                    found[record["device"], int(float(record["value"]))].append(at)
        return found

    def remark(self, _):
        return f"{self.plant.metric('fieldline_log_repeats_total'):,.0f} came twice and were dropped by the hub"


class Board(Agent):
    """The same with the plant's broker on the same board, which is killed with the agent."""

    name = "edge-agent, the plant's broker (saved every second) killed with it"

    def __init__(self, stage):
        self.lives, self.own_port = 0, free_port()
        (stage.folder / "kept").mkdir()
        (stage.folder / "board.conf").write_text(
            f"user root\nlistener {self.own_port} 127.0.0.1\nallow_anonymous true\nlog_type all\nset_tcp_nodelay true\n"
            f"persistence true\npersistence_location {stage.folder}/kept/\n{EVERY_SECOND}")
        super().__init__(stage, self.broker(stage))

    def broker(self, stage):
        self.lives += 1
        broker = stage.start(f"board-{self.lives}", [broker_program(), "-c", stage.folder / "board.conf"])
        broker.port = self.own_port
        wait_until("the board's broker", lambda: can_connect(self.own_port), 10)
        return broker

    def kill(self):
        super().kill()
        self.plant.broker.kill()
        self.plant.stage.forget(self.plant.broker)
        self.plant.broker = self.broker(self.plant.stage)


class Bridge:
    """mosquitto with a bridge and persistence; at the far end a mosquitto with a subscriber."""

    def __init__(self, stage, name, settings):
        self.stage, self.name, self.settings = stage, f"mosquitto, {name}", settings
        self.port, self.process, self.most, self.lives = free_port(), None, 0.0, 0
        far = self._start_far()
        self.link = Link(far)
        self._found, self._sink = collections.defaultdict(list), Client(self.plain, "far-end")
        self._sink.subscribe("plant/#", qos=1)
        threading.Thread(target=self._listen, daemon=True).start()
        self.config = stage.folder / "bridge.conf"
        (stage.folder / "kept").mkdir()
        self.config.write_text(
            f"user root\nlistener {self.port} 127.0.0.1\nallow_anonymous true\n"
            f"persistence true\npersistence_location {stage.folder}/kept/\n{settings}"
            f"connection far\naddress localhost:{self.link.port}\nbridge_cafile {stage.folder}/far.pem\n"
            f"topic plant/# out 1\ncleansession false\nnotifications false\n"
            f"keepalive_interval {KEEP_ALIVE}\nrestart_timeout {RETRY}\n")

    def _start_far(self):
        """By TLS for the bridge, as the hub is for the agent; without limits, so that nothing is lost there."""
        folder, port, self.plain = self.stage.folder, free_port(), free_port()
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
             "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2", "-keyout", folder / "far.key",
             "-out", folder / "far.pem"], check=True, capture_output=True)
        (folder / "far.conf").write_text(
            f"user root\nlistener {self.plain} 127.0.0.1\nlistener {port} 127.0.0.1\ncertfile {folder}/far.pem\n"
            f"keyfile {folder}/far.key\nallow_anonymous true\npersistence false\nmax_inflight_messages 0\n"
            "max_queued_messages 0\nset_tcp_nodelay true\n")
        self.stage.start("far", [broker_program(), "-c", folder / "far.conf"])
        wait_until("the far broker", lambda: can_connect(port) and can_connect(self.plain), 10)
        return port

    def _listen(self):
        try:
            while True:
                topic, body = self._sink.message()
                self._found[topic.split("/")[1], int(body[5:-1])].append(time.time())
        except OSError:
            return

    def start(self):
        self.lives += 1
        self.process = self.stage.start(f"bridge-{self.lives}", [broker_program(), "-c", self.config])
        return self

    def ready(self):
        wait_until("the bridge's listener", lambda: can_connect(self.port), 10)
        probe = Client(self.port, "probe")

        def is_through():
            probe.publish("plant/probe/state", b'{"n":0}')
            return ("probe", 0) in self._found
        wait_until("a message through the bridge", is_through, 20, every=0.2)
        probe.close()

    def kill(self):
        self.measure()
        self.process.kill()
        self.stage.forget(self.process)

    def measure(self):
        self.most = max(self.most, peak(self.process.process.pid))

    def drained(self, made):
        most, since = 0, time.monotonic()
        while most < made and time.monotonic() < since + 10:
            time.sleep(0.1)
            if len(self._found) - 1 > most:
                most, since = len(self._found) - 1, time.monotonic()

    def arrivals(self):
        return {key: times for key, times in list(self._found.items()) if key[0] != "probe"}

    def remark(self, doubled):
        return "nothing drops what comes twice"


def run(gateway):
    gateway.start().ready()
    sensors = [Sensor(gateway.port, f"plant/sensor-{number}/state", RATE) for number in range(SENSORS)]
    time.sleep(BEFORE)
    gateway.link.go_away()
    time.sleep(UNTIL_KILL)
    gateway.kill()
    gateway.start()
    time.sleep(AFTER_KILL)
    gateway.link.come_back()
    back, by_then = time.time(), [sensor.made for sensor in sensors]
    time.sleep(AFTER)
    for sensor in sensors:
        sensor.fall_silent()
    made = [sensor.finish() for sensor in sensors]
    gateway.drained(sum(made))
    gateway.measure()
    found = gateway.arrivals()
    report(gateway, found, made, by_then, back)


def report(gateway, found, made, by_then, back):
    expected = {(f"sensor-{place}", number) for place, count in enumerate(made) for number in range(1, count + 1)}
    backlog = [times[0] for (device, number), times in found.items() if number <= by_then[int(device.split("-")[1])]]
    doubled = sum(len(times) - 1 for times in found.values())
    print(f"outage               {gateway.name}: {len(expected):,} values, {len(expected - set(found)):,} lost, {doubled:,} doubled "
          f"({gateway.remark(doubled)}); what waited was there {max(backlog) - back:.1f} s after the link; at most "
          f"{gateway.most:.1f} MiB resident", flush=True)


BRIDGES = (
    ("as it is configured by default (1,000 messages queued, saved every 30 min)", ""),
    ("queue unlimited, saved every 30 min", "max_queued_messages 0\n"),
    ("queue unlimited, saved every second", EVERY_SECOND),
    ("queue unlimited, saved at each change", EACH_CHANGE),
)


def measure(programs):
    seconds = UNTIL_KILL + AFTER_KILL
    print(f"outage               {SENSORS} sensors × {RATE}/s at QoS 1; no link for {seconds} s, the gateway killed and started again "
          f"after {UNTIL_KILL} s of them; both ask for a sign of life every {KEEP_ALIVE} s and try again every {RETRY} s; "
          "lost is what the local broker had acknowledged", flush=True)
    for gateway in (Agent, Board):
        with disk_stage(programs) as stage:
            run(gateway(stage))
    for name, settings in BRIDGES:
        with disk_stage(programs) as stage:
            run(Bridge(stage, name, settings))
