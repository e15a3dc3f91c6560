"""The hub's rows: what it takes in, its handshakes, a storm of devices, and the ways of a request to one device."""

import json
import os
import ssl
import subprocess
import urllib.request

import devices
from sas import service_token
from stage import Stage, broker_program, can_connect, free_port, wait_until


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
