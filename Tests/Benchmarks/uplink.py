"""Figures of the gateway's uplink alone: its thread's CPU time, its reconnects, and its bytes on the wire."""

import contextlib
import json
import os
import pathlib
import selectors
import socket
import sqlite3
import subprocess
import threading
import time

from stage import Stage, free_port, wait_until

CONFIG = """
[hub]
host = "localhost"
port = {port}
ca_file = "{ca}"
keep_alive = "{keep_alive}"
reconnect_first = "50ms"
reconnect_most = "50ms"
{credentials}
[outbox]
path = "{outbox}"
[[mqtt]]
name = "plant"
port = {broker}
[[mqtt.subscription]]
topic = "plant/{{device}}/state"
payload = "json"
"""


class Meter:
    """A TCP relay on loopback that counts bytes, remembers when a connection came, and can cut it."""

    def __init__(self, target):
        self.target, self.sent, self.received, self.begin = target, 0, 0, None
        self._pair = ()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            client, _ = self._listener.accept()
            self.begin = time.monotonic()
            self.sent = self.received = 0
            hub = socket.create_connection(("127.0.0.1", self.target))
            for end in (client, hub):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pair = (client, hub)
            self._relay(client, hub)

    def _relay(self, client, hub):
        with selectors.DefaultSelector() as ready, client, hub:
            ready.register(client, selectors.EVENT_READ, hub)
            ready.register(hub, selectors.EVENT_READ, client)
            while True:
                for key, _ in ready.select():
                    try:
                        piece = key.fileobj.recv(65536)
                        key.data.sendall(piece)
                    except OSError:
                        return
                    if not piece:
                        return
                    if key.fileobj is client:
                        self.sent += len(piece)
                    else:
                        self.received += len(piece)

    def cut(self):
        # The relay's thread may be faster with the second one.
        with contextlib.suppress(OSError):
            for end in self._pair:
                end.shutdown(socket.SHUT_RDWR)


def thread_cpu(pid, name="uplink"):
    """Seconds of CPU of one named thread, as the scheduler counts them."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().strip() == name:
            return int((task / "schedstat").read_text().split()[0]) / 1e9
    return 0.0


def resident(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def waiting(outbox):
    store = sqlite3.connect(f"file:{outbox}?mode=ro", uri=True)
    try:
        return store.execute("SELECT next_sequence, record_count FROM state").fetchone()
    finally:
        store.close()


class Site:
    def __init__(self, stage):
        self.stage, self.hub, self.broker = stage, stage.start_hub(), stage.start_broker()
        stage.hub_command("device", "create", "gw-1", "--gateway")
        stage.hub_command("device", "create", "sensor-1", "--parent", "gw-1")
        secret = stage.folder / "secret"
        secret.touch(0o600)
        secret.write_text(stage.device_string("gw-1"))
        self.credentials = f'connection_string_file = "{secret}"'
        self.outbox = stage.folder / "outbox.sqlite"
        self.started = 0

    def start(self, port, keep_alive="60s"):
        config = self.stage.folder / "uplink.toml"
        config.write_text(CONFIG.format(
            port=port, ca=self.hub.ca, keep_alive=keep_alive, credentials=self.credentials, outbox=self.outbox,
            broker=self.broker.port))
        self.started += 1
        return self.stage.start_agent(config, name=f"uplink-{self.started}")

    def end(self, agent):
        agent.stop()
        self.stage.forget(agent)

    def publish(self, messages, members, publishers=4):
        lines = self.stage.folder / "lines"
        lines.write_text((json.dumps({f"m{index}": index + 0.5 for index in range(members)}) + "\n") * (messages // publishers))
        for program in [subprocess.Popen(
                ["mosquitto_pub", "-p", str(self.broker.port), "-q", "1", "-t", "plant/sensor-1/state", "-l"], stdin=open(lines))
                for _ in range(publishers)]:
            program.wait()


def drain(site, members=100, messages=4000):
    """A backlog that gathered without a hub, from the connection until the last acknowledgement."""
    agent = site.start(free_port())
    agent.wait_log("connected to the local broker")
    site.publish(messages, members)
    wait_until("the backlog", lambda: waiting(site.outbox)[1] == members * messages, 120, every=0.1)
    site.end(agent)
    agent = site.start(site.hub.mqtt)
    wait_until("the connection", lambda: agent.log_has("connected to the hub"), every=0.001)
    begin, before = time.monotonic(), thread_cpu(agent.process.pid)
    wait_until("an empty outbox", lambda: waiting(site.outbox)[1] == 0, 120, every=0.005)
    took, used, count = time.monotonic() - begin, thread_cpu(agent.process.pid) - before, members * messages
    print(f"uplink backlog       {count / took:9,.0f} readings/s, {used / count * 1e6:.2f} µs CPU of its thread each, "
          f"{resident(agent.process.pid):.1f} MiB resident", flush=True)
    site.end(agent)


def live(site, messages=40_000):
    """One reading a message, as fast as the local broker passes them on."""
    agent = site.start(site.hub.mqtt)
    agent.wait_log("connected to the hub")
    agent.wait_log("connected to the local broker")
    last = waiting(site.outbox)[0] + messages
    begin, before = time.monotonic(), thread_cpu(agent.process.pid)
    site.publish(messages, 1, publishers=8)
    wait_until("an empty outbox", lambda: waiting(site.outbox) == (last, 0), 120, every=0.005)
    took, used = time.monotonic() - begin, thread_cpu(agent.process.pid) - before
    print(f"uplink live          {messages / took:9,.0f} readings/s, {used / messages * 1e6:.2f} µs CPU of its thread each", flush=True)
    site.end(agent)


def reconnects(site, name, rounds=20):
    """From the TCP connection until the hub has accepted CONNECT, and the bytes until the subscriptions stand."""
    meter = Meter(site.hub.mqtt)
    agent = site.start(meter.port)
    found = []
    for number in range(1, rounds + 2):
        wait_until("a connection", lambda: agent.log_path.read_text().count("connected to the hub") == number, every=0.0005)
        took = time.monotonic() - meter.begin
        time.sleep(0.3)
        found.append((took, meter.sent, meter.received, thread_cpu(agent.process.pid)))
        meter.cut()
    each = (found[-1][3] - found[0][3]) / rounds
    later = sorted(found[1:])[rounds // 2]
    print(f"uplink {name:13} first {found[0][0] * 1000:.1f} ms, {found[0][1]:,} B out, {found[0][2]:,} B in; again (median of {rounds}) "
          f"{later[0] * 1000:.1f} ms, {later[1]:,} B out, {later[2]:,} B in, {each * 1000:.2f} ms CPU", flush=True)
    site.end(agent)


def idle(site, seconds=60):
    """What keep-alive alone costs, counted at a ping every 5 s and told for one every 60 s."""
    meter = Meter(site.hub.mqtt)
    agent = site.start(meter.port, keep_alive="5s")
    agent.wait_log("connected to the hub")
    time.sleep(3)
    sent, received, before = meter.sent, meter.received, thread_cpu(agent.process.pid)
    time.sleep(seconds)
    out, back = (meter.sent - sent) * 5 / seconds, (meter.received - received) * 5 / seconds
    used = thread_cpu(agent.process.pid) - before
    print(f"uplink idle          {out:.0f} B out and {back:.0f} B in a ping, {(out + back) * 1440 / 1024:.0f} KiB a day of TLS at one "
          f"ping a minute, {used / seconds * 1e6:.0f} µs CPU a second, {resident(agent.process.pid):.1f} MiB resident", flush=True)
    site.end(agent)


def by_certificate(site):
    """gw-1 by an X.509 certificate on a key file."""
    folder = site.stage.folder
    certificate, key = folder / "gw.pem", folder / "gw.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
                    "/CN=gw-2", "-days", "2", "-keyout", key, "-out", certificate], check=True, capture_output=True)
    os.chmod(key, 0o600)
    shown = subprocess.run(["openssl", "x509", "-in", certificate, "-noout", "-fingerprint", "-sha256"],
                           check=True, capture_output=True, text=True).stdout
    site.stage.hub_command("device", "create", "gw-2", "--thumbprint", shown.split("=")[1].strip().replace(":", "").lower())
    site.credentials = f'device_id = "gw-2"\ncertificate_file = "{certificate}"\nkey_file = "{key}"'
    site.outbox = folder / "outbox-2.sqlite"


def measure(programs):
    with Stage(programs) as stage:
        site = Site(stage)
        drain(site)
        live(site)
        idle(site)
        reconnects(site, "token")
        by_certificate(site)
        reconnects(site, "certificate")
