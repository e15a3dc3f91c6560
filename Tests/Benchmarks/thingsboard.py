"""CPU of a reading and memory beside thingsboard-gateway from PyPI, with its SQLite storage; a mosquitto stands in for its
server. It talks to it without TLS, which is in its favour. Each value has a time of its own: of two that it hears in the same
millisecond it keeps one."""

import json
import os
import pathlib
import subprocess
import threading
import time

from plant import Plant, cpu, disk_stage, peak, resident, waiting
from stage import ROOT, broker_program, can_connect, free_port, wait_until
from wire import Client, Sensor

VENV = ROOT / ".build/tools/thingsboard-gateway"
REQUIREMENTS = pathlib.Path(__file__).with_name("thingsboard-requirements.txt")
SENSORS, RATE, SECONDS, MOST = 10, 20, 20, 20_000

NO_LIMITS = {"rateLimits": {}, "gatewayRateLimits": {}, "maxPayloadSize": 65536, "maxInflightMessages": 100}


def body(number):
    return b'{"n":%d,"ts":%d}' % (number, 1_790_000_000_000 + number)


def installed():
    """The interpreter that has it, or None with the reason told."""
    made = subprocess.run([ROOT / "Tests/Support/venv", VENV, REQUIREMENTS], capture_output=True, text=True)
    if made.returncode == 0:
        return VENV / "bin/python"
    reason = (made.stderr.strip() or "no reason given").splitlines()[-1]
    print(f"thingsboard-gateway  could not be installed: {reason}", flush=True)
    return None


class Theirs:
    name = "thingsboard-gateway"

    def __init__(self, stage, python):
        self.stage, self.python = stage, python
        self.broker, self.server = stage.start_broker(), free_port()
        config = stage.folder / "server.conf"
        config.write_text(
            f"user root\nlistener {self.server} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_inflight_messages 0\n"
            "max_queued_messages 0\nset_tcp_nodelay true\n")
        stage.start("server", [broker_program(), "-c", config])
        wait_until("the server's stand-in", lambda: can_connect(self.server), 10)
        self.count = 0
        self._server = Client(self.server, "server")
        self._server.subscribe("v1/#")
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        """Counts what came, and answers the question for limits: there are none."""
        while True:
            try:
                topic, body = self._server.message()
            except OSError:
                return
            if topic == "v1/gateway/telemetry":
                self.count += sum(len(item.get("values", item)) for items in json.loads(body).values() for item in items)
            elif topic.startswith("v1/devices/me/rpc/request/"):
                self._server.publish(topic.replace("request", "response"), json.dumps(NO_LIMITS).encode())

    def start(self):
        folder = self.stage.folder / "thingsboard"
        (folder / "config").mkdir(parents=True)
        (folder / "logs").mkdir()
        (folder / "data").mkdir()
        for name, content in (("tb_gateway", self._gateway(folder)), ("plant", self._connector()), ("logs", self._logs())):
            (folder / f"config/{name}.json").write_text(json.dumps(content))
        code = ("import os; os.chdir(os.environ['HERE']); from thingsboard_gateway.tb_gateway import daemon; daemon()")
        self.program = self.stage.start(
            "thingsboard", [self.python, "-c", code],
            env={**os.environ, "HERE": str(folder), "TB_GW_CONFIG_DIR": str(folder / "config")})
        return self.program.process.pid

    def _gateway(self, folder):
        return {
            "thingsboard": {
                "host": "127.0.0.1", "port": self.server, "remoteShell": False, "remoteConfiguration": False,
                "statistics": {"enable": False}, "maxPayloadSizeBytes": 65536, "minPackSendDelayMS": 50, "minPackSizeToSend": 500,
                "security": {"type": "accessToken", "accessToken": "token"}, "qos": 1,
                "reportStrategy": {"type": "ON_RECEIVED"}},
            "storage": {"type": "sqlite", "data_file_path": f"{folder}/data/", "max_read_records_count": 1000},
            "grpc": {"enabled": False},
            "connectors": [{"name": "plant", "type": "mqtt", "configuration": "plant.json"}]}

    def _connector(self):
        return {
            "broker": {"host": "127.0.0.1", "port": self.broker.port, "clientId": "thingsboard", "version": 5,
                       "maxMessageNumberPerWorker": 10, "maxNumberOfWorkers": 100, "security": {"type": "anonymous"}},
            "mapping": [{
                "topicFilter": "plant/+/state", "subscriptionQos": 1,
                "converter": {
                    "type": "json",
                    "deviceInfo": {
                        "deviceNameExpressionSource": "topic", "deviceNameExpression": "(?<=plant/)(.*?)(?=/state)",
                        "deviceProfileExpressionSource": "constant", "deviceProfileExpression": "default"},
                    "sendDataOnlyOnChange": False, "timeout": 60000, "attributes": [],
                    "timeseries": [{"type": "double", "key": "n", "value": "${n}"}]}}]}

    @staticmethod
    def _logs():
        """Warnings only, which is in its favour."""
        return {"version": 1, "disable_existing_loggers": False,
                "handlers": {"console": {"class": "logging.StreamHandler", "level": "WARNING", "stream": "ext://sys.stdout"}},
                "root": {"handlers": ["console"], "level": "WARNING"}, "loggers": {}}

    def ready(self):
        wait_until("the subscription", lambda: self.broker.log_has("plant/+/state"), 60)
        time.sleep(3)

    def arrived(self, made):
        return self.count >= made


class Ours:
    """To a hub by TLS."""

    name = "edge-agent"

    def __init__(self, stage):
        self.plant = Plant(stage, [f"sensor-{number}" for number in range(SENSORS)])
        self.broker = self.plant.broker

    def start(self):
        # The line belongs to the subscription, the last table of what stands before it.
        self.program = self.plant.start(more='members = { n = "n" }')
        return self.program.process.pid

    def ready(self):
        self.program.wait_log("connected to the hub")
        wait_until("the subscription", lambda: self.broker.log_has("plant/+/state"))
        time.sleep(3)

    def arrived(self, made):
        next_sequence, count = waiting(self.plant.outbox)
        return count == 0 and next_sequence > made


def burst(broker, folder, count):
    """Publishes so many as fast as the broker takes them, from four publishers."""
    lines = folder / "burst"
    lines.write_bytes(b"".join(body(1_000_000 + number) + b"\n" for number in range(count // 4)))
    load = []
    for number in range(4):
        with open(lines) as source:
            load.append(subprocess.Popen(
                ["mosquitto_pub", "-p", str(broker.port), "-q", "1", "-t", f"plant/sensor-{number}/state", "-l"], stdin=source))
    return load


def run(gateway, folder):
    pid = gateway.start()
    gateway.ready()
    idle = resident(pid)
    before, begin = cpu(pid), time.monotonic()
    sensors = [Sensor(gateway.broker.port, f"plant/sensor-{number}/state", RATE, body) for number in range(SENSORS)]
    time.sleep(SECONDS)
    for sensor in sensors:
        sensor.fall_silent()
    made = sum(sensor.finish() for sensor in sensors)
    wait_until("every reading", lambda: gateway.arrived(made), 60, every=0.05)
    steady, took, then = (cpu(pid) - before) / made, time.monotonic() - begin, resident(pid)
    before, begin = cpu(pid), time.monotonic()
    load = burst(gateway.broker, folder, MOST)
    wait_until("every reading", lambda: gateway.arrived(made + MOST), 120, every=0.02)
    rate, each = MOST / (time.monotonic() - begin), (cpu(pid) - before) / MOST
    for publisher in load:
        publisher.wait()
    print(f"{gateway.name:20} {steady * 1e6:,.0f} µs CPU a reading at {made / took:.0f}/s; {rate:,.0f}/s at most with {each * 1e6:,.0f} µs, "
          f"{1 / each:,.0f} a CPU second; {idle:.1f} MiB resident idle, {then:.1f} at the steady pace, {peak(pid):.1f} at most",
          flush=True)
    return steady, each, then


def measure(programs):
    python = installed()
    with disk_stage(programs) as stage:
        ours = run(Ours(stage), stage.folder)
    if not python:
        return
    with disk_stage(programs) as stage:
        theirs = run(Theirs(stage, python), stage.folder)
    print("  ratio              {:.0f} × the CPU at the steady pace, {:.0f} × at most, {:.1f} × the memory".format(
        *(them / us for them, us in zip(theirs, ours))), flush=True)
