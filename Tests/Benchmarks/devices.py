"""The hub's rows of `bench.py`: many devices, and the ways of a request to one device and back."""

import http.client
import json
import ssl
import subprocess
import threading
import time
import urllib.request

from sas import parts, service_token

API = "api-version=2021-04-12"


class Bench:
    """hub-bench against one hub, in a process of its own."""

    def __init__(self, programs, hub, key, prefix="bench"):
        self.program, self.hub, self.prefix = programs / "hub-bench", hub, prefix
        self.credentials = ["--hub-name", "localhost", "--sas-key", key, "--sas-policy", "device"]

    def start(self, mode, *arguments):
        command = [self.program, mode, "--port", self.hub.mqtt, "--server-pid", self.hub.process.pid,
                   "--prefix", self.prefix, *arguments, *self.credentials]
        return subprocess.Popen(
            [str(item) for item in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, mode, *arguments):
        return result(self.start(mode, *arguments))


def result(process):
    """What it says in its last line."""
    out, error = process.communicate(timeout=600)
    lines = [line for line in out.splitlines() if line.startswith("{")]
    if not lines:
        raise SystemExit(f"hub-bench failed: {error}")
    return json.loads(lines[-1])


def ready(process):
    if process.stdout.readline() != "ready\n":
        raise SystemExit(f"hub-bench failed: {process.communicate()[1]}")


def policy_key(stage):
    return parts(stage.hub_command("connection-string", "--policy", "device"))["SharedAccessKey"]


class Service:
    """The service API over one connection that stays open."""

    def __init__(self, stage, hub):
        self.token = service_token(stage.hub_command("connection-string"))
        self.connection = http.client.HTTPSConnection(
            "localhost", hub.https, context=ssl.create_default_context(cafile=str(hub.ca)))

    def call(self, method, path, body):
        self.connection.request(
            method, f"{path}?{API}", json.dumps(body), {"Authorization": self.token, "Content-Type": "application/json"})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path} was answered {answer.status}: {text[:300]}")
        return json.loads(text) if text else None


def handshakes(load, peer, peer_port, hub, seconds=8):
    """Full handshakes a second, then such as take up an earlier session; `load` runs hub-bench and gives its result."""
    for name, extra in (("full", []), ("resumed", ["--resume"])):
        arguments = ["--connections", 32, "--seconds", seconds, *extra]
        them = load("handshakes", peer_port, peer.process.pid, arguments, [])
        us = load("handshakes", hub.mqtt, hub.process.pid, arguments, [])
        ratio = us["handshakesPerSecond"] / them["handshakesPerSecond"]
        print(f"handshakes {name:8}  cloud-hub {us['handshakesPerSecond']:7,.0f}/s ({us['serverMicrosecondsPerHandshake']:.0f} µs "
              f"CPU, {us['resumed']:,} resumed)   mosquitto {them['handshakesPerSecond']:7,.0f}/s "
              f"({them['serverMicrosecondsPerHandshake']:.0f} µs CPU, {them['resumed']:,} resumed)   ratio {ratio:.2f} (budget 1.0)",
              flush=True)


def storm(bench, metrics, connections=10_000, steady=100):
    """Everybody comes back at once, while some who never went away send telemetry."""
    quiet = bench.start("paced", "--connections", steady, "--rate", 10, "--seconds", 8)
    ready(quiet)
    before = result(quiet)
    watched = bench.start("paced", "--connections", steady, "--rate", 10, "--seconds", 25)
    ready(watched)
    come = bench.run("storm", "--connections", connections, "--first", steady, "--seconds", 1)
    during = result(watched)
    count = metrics()
    print(f"storm {come['connected']:6,}         {come['seconds']:.1f} s until all were in (budget 60), p50 {come['p50']:,.0f} ms, "
          f"p99 {come['p99']:,.0f} ms, {come['retries']} tried again; CPU hub {come['serverCPU']:.1f} s, client "
          f"{come['clientCPU']:.1f} s; at most {count['in_progress_peak']:.0f} handshakes at once, {count['gone_total']:.0f} gone, "
          f"{count['refused_total']:.0f} refused", flush=True)
    print(f"  telemetry of {steady}   acknowledged after p50 {during['p50']:.1f} ms, p99 {during['p99']:.1f} ms, at most "
          f"{during['max']:.0f} ms; without a storm {before['p50']:.1f}, {before['p99']:.1f}, {before['max']:.0f} ms",
          flush=True)


def handshake_metrics(hub):
    """What /metrics says of handshakes, by the rest of the name."""
    with urllib.request.urlopen(f"http://127.0.0.1:{hub.http}/metrics", timeout=20) as answer:
        lines = [line.split() for line in answer.read().decode().splitlines()]
    prefix = "fieldline_handshakes_"
    return {line[0].removeprefix(prefix): float(line[1]) for line in lines if line and line[0].startswith(prefix)}


def idle(bench, connections=10_000, seconds=30):
    found = bench.run("idle", "--connections", connections, "--seconds", seconds)
    print(f"idle connections     {found['bytesPerConnection'] / 1024:.1f} KiB each over {connections:,} (budget 20), "
          f"{found['serverCPUShare'] * 100:.1f} % of a core over {seconds} s (budget 2)", flush=True)


def methods(bench, stage, hub, calls=2_000):
    device = bench.start("methods", "--connections", 1, "--seconds", 120)
    ready(device)
    service, times = Service(stage, hub), []
    body = {"methodName": "echo", "payload": {"n": 1}, "responseTimeoutInSeconds": 10}
    for _ in range(calls):
        begin = time.perf_counter()
        service.call("POST", f"/twins/{bench.prefix}-0/methods", body)
        times.append(time.perf_counter() - begin)
    device.terminate()
    device.communicate()
    times = sorted(times[calls // 10:])
    print(f"direct method        round trip over HTTPS p50 {times[len(times) // 2] * 1000:.1f} ms, "
          f"p99 {times[int(len(times) * 0.99)] * 1000:.1f} ms (budget 2, 5)", flush=True)


def patches(bench, connections=500, window=32):
    found = bench.run("load", "--patch", "--connections", connections, "--window", window, "--bytes", 40, "--seconds", 8)
    print(f"reported patches     {found['acknowledgedPerSecond']:,.0f}/s durable over {connections} × {window} "
          f"({found['serverMicrosecondsPerMessage']:.1f} µs CPU; budget 20,000/s)", flush=True)


def fanout(bench, stage, hub, connections=10_000, callers=4):
    """One desired property of each device is changed by the service, a request for each."""
    devices = bench.start("fanout", "--connections", connections, "--seconds", 300)
    ready(devices)
    begin, done = time.monotonic(), [0.0] * callers

    def change(caller):
        service = Service(stage, hub)
        for number in range(caller, connections, callers):
            service.call("PATCH", f"/twins/{bench.prefix}-{number}", {"properties": {"desired": {"interval": number}}})
        done[caller] = time.monotonic()

    threads = [threading.Thread(target=change, args=(caller,)) for caller in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = result(devices)
    print(f"desired changes      {found['told']:,} devices told {found['last'] - begin:.1f} s after the first of {connections:,} "
          f"requests, {max(0, found['last'] - max(done)) * 1000:.0f} ms after the last was answered", flush=True)
