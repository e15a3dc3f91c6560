#!/usr/bin/env python3
"""Figures and ratios of this machine; prints, and never fails for being slow. Started by `make bench`."""

import argparse
import json
import os
import pathlib
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
import ssl

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Deploy/dev"), str(ROOT / "Tests/Compatibility")]

import devices  # noqa: E402
import outbox  # noqa: E402
import reaction  # noqa: E402
import uplink  # noqa: E402
from sas import service_token  # noqa: E402
from stage import Browser, Stage, broker_program, free_port, can_connect, wait_until  # noqa: E402

AGENT = """
[hub]
host = "localhost"
port = {hub}
ca_file = "{ca}"
connection_string_file = "{secret}"
[outbox]
path = "{outbox}"
[[mqtt]]
name = "plant"
port = {broker}
[[mqtt.subscription]]
topic = "plant/{{device}}/state"
payload = "json"
[[rule]]
name = "too-high"
device = "sensor-1"
metric = "level"
when = "> 100"
message = "{{value}}"
"""


def resident(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) * 1024


def cpu(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def create_devices(stage, hub, count):
    """Bulk creation over the service API, a hundred at a time."""
    context = ssl.create_default_context(cafile=str(hub.ca))
    token = service_token(stage.hub_command("connection-string"))
    for start in range(0, count, 100):
        body = [{"id": f"bench-{i}", "importMode": "create", "status": "enabled"} for i in range(start, min(count, start + 100))]
        request = urllib.request.Request(
            f"https://localhost:{hub.https}/devices?api-version=2021-04-12", json.dumps(body).encode(),
            {"Authorization": token, "Content-Type": "application/json"}, method="POST")
        urllib.request.urlopen(request, context=context).read()


def start_tls_broker(stage, hub):
    """mosquitto with the hub's certificate, a password file and no persistence."""
    port, folder = free_port(), stage.folder / "peer"
    folder.mkdir()
    (folder / "passwords").write_text("")
    subprocess.run(["mosquitto_passwd", "-b", folder / "passwords", "bench", "bench"], check=True)
    os.chmod(folder / "passwords", 0o644)
    for name in ("server.pem", "server-key.pem"):
        (folder / name).write_bytes((hub.data / "tls" / name).read_bytes())
        os.chmod(folder / name, 0o644)
    for path in (stage.folder, folder):
        os.chmod(path, 0o755)
    (folder / "mosquitto.conf").write_text(
        f"listener {port} 127.0.0.1\ncertfile {folder}/server.pem\nkeyfile {folder}/server-key.pem\n"
        f"password_file {folder}/passwords\nallow_anonymous false\npersistence false\nmax_inflight_messages 0\n"
        "max_queued_messages 0\nset_tcp_nodelay true\n")
    broker = stage.start("peer", [broker_program(), "-c", folder / "mosquitto.conf"])
    wait_until("the peer's listener", lambda: can_connect(port), 10)
    return broker, port


def load(programs, mode, port, pid, arguments, credentials):
    command = [programs / "hub-bench", mode, "--port", port, "--server-pid", pid, "--prefix", "bench", *arguments, *credentials]
    done = subprocess.run([str(item) for item in command], capture_output=True, text=True, timeout=300)
    if not done.stdout:
        raise SystemExit(f"hub-bench failed: {done.stderr}")
    return json.loads(done.stdout)


def ingest(programs):
    with Stage(programs) as stage:
        hub = stage.start_hub()
        create_devices(stage, hub, 2000)
        ours = ["--hub-name", "localhost", "--sas-key", devices.policy_key(stage), "--sas-policy", "device"]
        theirs = ["--user", "bench", "--password", "bench"]
        peer, port = start_tls_broker(stage, hub)
        for connections, window, budget in ((100, 32, 4.0), (2000, 1, 1.2)):
            arguments = ["--connections", connections, "--window", window, "--bytes", 200, "--seconds", 8]
            them = load(programs, "load", port, peer.process.pid, arguments, theirs)
            us = load(programs, "load", hub.mqtt, hub.process.pid, arguments, ours)
            ratio = us["acknowledgedPerSecond"] / them["acknowledgedPerSecond"]
            print(f"ingest {connections:5} × {window:2}   cloud-hub {us['acknowledgedPerSecond']:9,.0f}/s "
                  f"({us['serverMicrosecondsPerMessage']:.2f} µs CPU)   mosquitto {them['acknowledgedPerSecond']:9,.0f}/s "
                  f"({them['serverMicrosecondsPerMessage']:.2f} µs CPU)   ratio {ratio:.2f} (budget {budget})", flush=True)


def handshakes(programs):
    with Stage(programs) as stage:
        hub = stage.start_hub()
        peer, port = start_tls_broker(stage, hub)
        devices.handshakes(lambda *arguments: load(programs, *arguments), peer, port, hub)


def storm(programs, connections=10_000, steady=100):
    with Stage(programs) as stage:
        hub = stage.start_hub()
        create_devices(stage, hub, connections + steady)
        bench = devices.Bench(programs, hub, devices.policy_key(stage))
        devices.storm(bench, lambda: devices.handshake_metrics(hub), connections, steady)
        # A fresh hub, so that nothing that was used before hides what a connection costs.
        stage.running.remove(hub)
        hub.stop()
        hub = stage.start_hub(name="idle-hub")
        devices.idle(devices.Bench(programs, hub, devices.policy_key(stage)), connections)


def twins(programs, connections=10_000):
    with Stage(programs) as stage:
        hub = stage.start_hub()
        create_devices(stage, hub, connections)
        bench = devices.Bench(programs, hub, devices.policy_key(stage))
        devices.methods(bench, stage, hub)
        devices.patches(bench)
        devices.fanout(bench, stage, hub, connections)


def gateway(programs):
    with Stage(programs) as stage:
        broker, hub = stage.start_broker(), stage.start_hub()
        stage.hub_command("device", "create", "gw-1", "--gateway")
        stage.hub_command("device", "create", "sensor-1", "--parent", "gw-1")
        secret = stage.folder / "secret"
        secret.touch(0o600)
        secret.write_text(stage.device_string("gw-1"))
        config = stage.folder / "agent.toml"
        config.write_text(AGENT.format(
            hub=hub.mqtt, ca=hub.ca, secret=secret, outbox=stage.folder / "outbox.sqlite", broker=broker.port))
        agent = stage.start_agent(config)
        begin = time.monotonic()
        agent.wait_log("connected to the hub")
        alerts(stage, hub, broker)
        wait_until("a minute of running", lambda: time.monotonic() - begin > 60, 90, every=1)
        print(f"gateway memory       {resident(agent.process.pid) / 2**20:.1f} MiB resident after a minute (budget 20)", flush=True)
        throughput(stage, broker, agent, messages=100_000, members=1, publishers=8)
        throughput(stage, broker, agent, messages=4_000, members=100, publishers=4)


def publish(broker, body):
    subprocess.run(
        ["mosquitto_pub", "-p", str(broker.port), "-q", "1", "-t", "plant/sensor-1/state", "-m", json.dumps(body)], check=True)


def alerts(stage, hub, broker, runs=50):
    """From the breaching PUBLISH being handed to the local broker until the alert row is on the page."""
    person = Browser(f"http://127.0.0.1:{hub.http}")
    person.open_link(stage.hub_command("sign-in"))
    times = []
    for number in range(runs):
        publish(broker, {"level": 150 + number})
        begin = time.monotonic()
        wait_until("an open alert", lambda: person.alerts("open"), 10, every=0.005)
        times.append(time.monotonic() - begin)
        publish(broker, {"level": 0})
        wait_until("no open alert", lambda: not person.alerts("open"), 10, every=0.005)
    times.sort()
    print(f"breach to alert      p50 {times[runs // 2] * 1000:.0f} ms, p95 {times[int(runs * 0.95)] * 1000:.0f} ms "
          f"over {runs} runs (budget p95 1000 ms)", flush=True)


def throughput(stage, broker, agent, messages, members, publishers):
    """Readings a second from local MQTT (QoS 1) until the hub has acknowledged all of them."""
    outbox = stage.folder / "outbox.sqlite"
    body = json.dumps({f"m{index}": index + 0.5 for index in range(members)})
    lines = stage.folder / "lines"
    lines.write_text((body + "\n") * (messages // publishers))
    count = messages // publishers * publishers * members
    last = waiting(outbox)[0] + count
    before, begin = cpu(agent.process.pid), time.monotonic()
    load = []
    for _ in range(publishers):
        with open(lines) as source:
            load.append(subprocess.Popen(
                ["mosquitto_pub", "-p", str(broker.port), "-q", "1", "-t", "plant/sensor-1/state", "-l"], stdin=source))
    wait_until("an empty outbox", lambda: waiting(outbox) == (last, 0), 120, every=0.01)
    took, used = time.monotonic() - begin, cpu(agent.process.pid) - before
    for publisher in load:
        publisher.wait()
    print(f"gateway {members:4} a message {count / took:9,.0f} readings/s end to end, {count / max(used, 0.01):,.0f} per CPU second "
          f"of the agent (budget 20,000/s on one core), {resident(agent.process.pid) / 2**20:.1f} MiB resident", flush=True)


def rules(programs):
    """Evaluations a second of the rule evaluator alone; prints a line a kind."""
    subprocess.run([programs / "rule-bench"], check=True)


def signals(programs):
    """Time and allocations of expressions and of the pipeline with typical signals; fails when an expression allocates."""
    subprocess.run([programs / "signal-bench"], check=True)


def waiting(outbox):
    """The next sequence, and how many records wait."""
    store = sqlite3.connect(f"file:{outbox}?mode=ro", uri=True)
    try:
        return store.execute("SELECT next_sequence, record_count FROM state").fetchone()
    finally:
        store.close()


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--programs", required=True, type=pathlib.Path, help="the folder of cloud-hub and hub-bench")
    options.add_argument("--agent", required=True, type=pathlib.Path, help="edge-agent as it goes to a board")
    rows = {"ingest": ingest, "handshakes": handshakes, "storm": storm, "twins": twins, "gateway": gateway,
            "rules": rules, "reaction": reaction.measure, "signals": signals, "uplink": uplink.measure,
            "outbox": outbox.measure}
    options.add_argument("--only", choices=rows, help="one part of it")
    options = options.parse_args()
    print(f"edge-agent           {options.agent.stat().st_size / 2**20:.1f} MiB with Swift's libraries in it (wanted 15)")
    print(f"cloud-hub            {(options.programs / 'cloud-hub').stat().st_size / 2**20:.1f} MiB, not stripped", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        programs = pathlib.Path(folder)
        (programs / "edge-agent").symlink_to(options.agent.resolve())
        for name in ("cloud-hub", "hub-bench", "outbox-bench", "rule-bench", "signal-bench"):
            (programs / name).symlink_to((options.programs / name).resolve())
        for name, row in rows.items():
            if options.only in (None, name):
                row(programs)


if __name__ == "__main__":
    main()
