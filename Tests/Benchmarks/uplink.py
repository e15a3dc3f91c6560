"""Figures of the gateway's uplink alone: its thread's CPU time, its reconnects, and its bytes on the wire."""

import os
import re
import subprocess
import time

from plant import Link, Plant, disk_stage, resident, thread_cpu, waiting
from stage import free_port, wait_until

# Reconnects are measured, not waited for.
FAST = 'reconnect_first = "50ms"\nreconnect_most = "50ms"'


def drain(plant, members=100, messages=4000):
    """A backlog that gathered without a hub, from the connection until the last acknowledgement."""
    agent = plant.start(free_port(), hub=FAST)
    agent.wait_log("connected to the local broker")
    plant.publish(messages, members)
    wait_until("the backlog", lambda: waiting(plant.outbox)[1] == members * messages, 120, every=0.1)
    plant.end(agent)
    agent = plant.start(hub=FAST)
    wait_until("the connection", lambda: agent.log_has("connected to the hub"), every=0.001)
    begin, before = time.monotonic(), thread_cpu(agent.process.pid)
    wait_until("an empty outbox", lambda: waiting(plant.outbox)[1] == 0, 120, every=0.005)
    took, used, count = time.monotonic() - begin, thread_cpu(agent.process.pid) - before, members * messages
    print(f"uplink backlog       {count / took:9,.0f} readings/s, {used / count * 1e6:.2f} µs CPU of its thread each, "
          f"{resident(agent.process.pid):.1f} MiB resident", flush=True)
    plant.end(agent)


def live(plant, messages=40_000):
    """One reading a message, as fast as the local broker passes them on."""
    agent = plant.start(hub=FAST)
    agent.wait_log("connected to the hub")
    agent.wait_log("connected to the local broker")
    last = waiting(plant.outbox)[0] + messages
    begin, before = time.monotonic(), thread_cpu(agent.process.pid)
    plant.publish(messages, 1, publishers=8)
    wait_until("an empty outbox", lambda: waiting(plant.outbox) == (last, 0), 120, every=0.005)
    took, used = time.monotonic() - begin, thread_cpu(agent.process.pid) - before
    print(f"uplink live          {messages / took:9,.0f} readings/s, {used / messages * 1e6:.2f} µs CPU of its thread each", flush=True)
    plant.end(agent)


def reconnects(plant, name, rounds=20):
    """From the TCP connection until the hub has accepted CONNECT, and the bytes until the subscriptions stand."""
    meter = Link(plant.hub.mqtt)
    agent = plant.start(meter.port, hub=FAST)
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
    plant.end(agent)


def idle(plant, seconds=60):
    """What keep-alive alone costs, counted at a ping every 5 s and told for one every 60 s."""
    meter = Link(plant.hub.mqtt)
    agent = plant.start(meter.port, hub='keep_alive = "5s"')
    agent.wait_log("connected to the hub")
    time.sleep(3)
    sent, received, before = meter.sent, meter.received, thread_cpu(agent.process.pid)
    time.sleep(seconds)
    out, back = (meter.sent - sent) * 5 / seconds, (meter.received - received) * 5 / seconds
    used = thread_cpu(agent.process.pid) - before
    print(f"uplink idle          {out:.0f} B out and {back:.0f} B in a ping, {(out + back) * 1440 / 1024:.0f} KiB a day of TLS at one "
          f"ping a minute, {used / seconds * 1e6:.0f} µs CPU a second, {resident(agent.process.pid):.1f} MiB resident", flush=True)
    plant.end(agent)


def ip_bytes(plant, keep_alive, compression, work):
    """IP bytes of everything that one life of the gateway sends and receives, by its own word when it ends."""
    agent = plant.start(hub=f'keep_alive = "{keep_alive}s"\ncompression = "{compression}"', more='[log]\nlevel = "debug"')
    agent.wait_log("the hub keeps what this gateway reported", 60)
    work()
    plant.end(agent)
    log = agent.log_path.read_text()
    return sum(int(sent) + int(received) for sent, received in re.findall(r"ipReceived=(\d+) ipSent=(\d+)", log))


def a_day(plant, seconds=60):
    """A connection that does nothing, and what each ping adds to it; with a token of 24 h it is one connection a day."""
    one = ip_bytes(plant, 5, "auto", lambda: time.sleep(1))
    ping = (ip_bytes(plant, 5, "auto", lambda: time.sleep(seconds + 1)) - one) / (seconds / 5)
    # The time is asked for four times a day, which is less than two pings each.
    longest, minute = ((one + (86_400 / every + 8) * ping) / 1000 for every in (1177, 60))
    print(f"uplink idle day      {longest:.0f} KB of IP both ways at a ping every 19m37s (budget 100), {minute:.0f} KB at one a minute; "
          f"{one} B a connection, {ping:.0f} B a ping", flush=True)


def a_reading(plant, messages=2000):
    """With what the connection costs taken off."""
    def many():
        plant.publish(messages, 2)
        wait_until("an empty outbox", lambda: waiting(plant.outbox)[1] == 0, 60)

    def single():
        for _ in range(20):
            plant.publish(1, 1, publishers=1)
            wait_until("an empty outbox", lambda: waiting(plant.outbox)[1] == 0, 60)
            time.sleep(0.5)
    figures = []
    for compression in ("off", "auto"):
        none = ip_bytes(plant, 60, compression, lambda: time.sleep(1))
        found = [(ip_bytes(plant, 60, compression, work) - none) / count for work, count in ((many, 2 * messages), (single, 20))]
        figures.append("{:.0f} B in batches and {:.0f} B alone".format(*found))
    print(f"uplink a reading     {figures[0]} as plain JSON, {figures[1]} compressed; IP bytes both ways", flush=True)


def by_certificate(plant):
    """gw-1 by an X.509 certificate on a key file."""
    folder = plant.stage.folder
    certificate, key = folder / "gw.pem", folder / "gw.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
                    "/CN=gw-2", "-days", "2", "-keyout", key, "-out", certificate], check=True, capture_output=True)
    os.chmod(key, 0o600)
    shown = subprocess.run(["openssl", "x509", "-in", certificate, "-noout", "-fingerprint", "-sha256"],
                           check=True, capture_output=True, text=True).stdout
    plant.stage.hub_command("device", "create", "gw-2", "--thumbprint", shown.split("=")[1].strip().replace(":", "").lower())
    plant.credentials = f'device_id = "gw-2"\ncertificate_file = "{certificate}"\nkey_file = "{key}"'
    plant.outbox = folder / "outbox-2.sqlite"


def measure(programs):
    with disk_stage(programs) as stage:
        plant = Plant(stage)
        drain(plant)
        live(plant)
        idle(plant)
        a_day(plant)
        a_reading(plant)
        reconnects(plant, "token")
        by_certificate(plant)
        reconnects(plant, "certificate")
