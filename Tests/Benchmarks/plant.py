"""What the rows about the gateway share: a site with a hub, a plant's broker and gw-1, its link, and figures of processes."""

import contextlib
import datetime
import json
import os
import pathlib
import random
import selectors
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time
import urllib.request

from stage import Stage

CONFIG = """
[hub]
host = "localhost"
port = {port}
ca_file = "{ca}"
{credentials}
{hub}
[outbox]
path = "{path}"
{outbox}
[actuation]
log = "{path}.moves"
[[mqtt]]
name = "plant"
port = {broker}
[[mqtt.subscription]]
topic = "plant/{{device}}/state"
payload = "json"
{more}
"""


@contextlib.contextmanager
def disk_stage(programs):
    """A stage below the working folder, because /tmp may be memory that never reaches a disk."""
    with tempfile.TemporaryDirectory(dir=os.getcwd(), prefix=".bench-") as folder, Stage(programs, folder) as stage:
        yield stage


class Plant:
    """A hub, a broker and a gateway's configuration; `start` starts the gateway."""

    def __init__(self, stage, children=("sensor-1",), broker=None):
        self.stage, self.hub, self.broker = stage, stage.start_hub(), broker or stage.start_broker()
        stage.hub_command("device", "create", "gw-1", "--gateway")
        for child in children:
            stage.hub_command("device", "create", child, "--parent", "gw-1")
        secret = stage.folder / "secret"
        secret.touch(0o600)
        secret.write_text(stage.device_string("gw-1"))
        self.credentials = f'connection_string_file = "{secret}"'
        self.outbox = stage.folder / "outbox.sqlite"
        self.started = 0

    def start(self, port=None, hub="", outbox="", more="", env=None):
        """`hub`, `outbox` and `more` are lines of the configuration; `port` is the hub's, or what leads there."""
        self.started += 1
        config = self.stage.folder / f"agent-{self.started}.toml"
        config.write_text(CONFIG.format(
            port=port or self.hub.mqtt, ca=self.hub.ca, credentials=self.credentials, hub=hub, path=self.outbox, outbox=outbox,
            broker=self.broker.port, more=more))
        return self.stage.start_agent(config, name=f"agent-{self.started}", env=env)

    def end(self, agent):
        agent.stop()
        self.stage.forget(agent)

    def publish(self, messages, members, publishers=4):
        """Hands so many messages to the broker as fast as it takes them, and waits until it has them."""
        for program in self.publishing(messages, members, publishers):
            program.wait()

    def publishing(self, messages, members, publishers):
        """Values drift, as those of a plant do."""
        chance, levels = random.Random(1), [2000] * members
        lines = self.stage.folder / "lines"
        with open(lines, "w") as out:
            for _ in range(messages // publishers):
                levels = [level + chance.randint(-3, 3) for level in levels]
                out.write(json.dumps({f"m{index}": level / 100 for index, level in enumerate(levels)}) + "\n")
        command = ["mosquitto_pub", "-p", str(self.broker.port), "-q", "1", "-t", "plant/sensor-1/state", "-l"]
        return [self._from(lines, command) for _ in range(publishers)]

    @staticmethod
    def _from(lines, command):
        with open(lines) as source:
            return subprocess.Popen(command, stdin=source)

    def metric(self, name):
        """A number of the hub's /metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.hub.http}/metrics", timeout=20) as answer:
            lines = answer.read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(name + " "))

    def events(self):
        """The hub's log, a line an event."""
        command = [self.stage.programs / "cloud-hub", "monitor", "--from-start", "--no-follow", "--data", self.hub.data]
        with subprocess.Popen([str(item) for item in command], stdout=subprocess.PIPE, text=True) as monitor:
            yield from monitor.stdout

    def batches(self, having=""):
        """The batches of the hub's log whose text has `having`: when the hub took each, and its records."""
        for line in self.events():
            if having in line:
                event = json.loads(line)
                if isinstance(event["body"], dict):
                    yield moment(event["enqueuedTime"]), event["body"].get("records", [])


def moment(text):
    return datetime.datetime.fromisoformat(text).timestamp()


def waiting(outbox):
    """The next sequence, and how many records wait."""
    store = sqlite3.connect(f"file:{outbox}?mode=ro", uri=True)
    try:
        return store.execute("SELECT next_sequence, record_count FROM state").fetchone()
    finally:
        store.close()


# -- processes


def _status(pid, name):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(text.split(f"{name}:")[1].split()[0]) / 1024


def resident(pid):
    """MiB."""
    return _status(pid, "VmRSS")


def peak(pid):
    """The most MiB that were resident so far."""
    return _status(pid, "VmHWM")


def cpu(pid):
    """Seconds of CPU so far, of all its threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def thread_cpu(pid, name="uplink"):
    """Seconds of CPU of one named thread, as the scheduler counts them."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().strip() == name:
            return int((task / "schedstat").read_text().split()[0]) / 1e9
    return 0.0


def middle_and_late(times):
    """Median and p99."""
    times = sorted(times)
    return times[len(times) // 2], times[min(len(times) - 1, int(len(times) * 0.99))]


# -- the link


class Link:
    """A TCP relay on loopback that counts bytes, can cut its connection, and can go away for a while as a dead link does:
    nothing comes through, nobody is told, and what was under way is lost."""

    def __init__(self, target):
        self.target, self.sent, self.received, self.begin = target, 0, 0, None
        self._pair = ()
        self._there = threading.Event()
        self._there.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            client, _ = self._listener.accept()
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client):
        self._there.wait()
        hub = socket.create_connection(("127.0.0.1", self.target))
        for end in (client, hub):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.begin = time.monotonic()
        self.sent = self.received = 0
        self._pair = (client, hub)
        with selectors.DefaultSelector() as ready, client, hub, contextlib.suppress(OSError):
            ready.register(client, selectors.EVENT_READ, hub)
            ready.register(hub, selectors.EVENT_READ, client)
            while self._pass_on(ready, client):
                pass

    def _pass_on(self, ready, client):
        for key, _ in ready.select():
            if not self._there.is_set():
                self._there.wait()
                return False
            piece = key.fileobj.recv(65536)
            key.data.sendall(piece)
            if not piece:
                return False
            if key.fileobj is client:
                self.sent += len(piece)
            else:
                self.received += len(piece)
        return True

    def cut(self):
        # The relay's thread may be faster with the second one.
        with contextlib.suppress(OSError):
            for end in self._pair:
                end.shutdown(socket.SHUT_RDWR)

    def go_away(self):
        self._there.clear()

    def come_back(self):
        self._there.set()
