"""A gateway whose clock is wrong, and the hub's certificate: the clock is named when it is at fault, a certificate that is
good opens the way, and one that has ended is never trusted for long. And what waits for the time: commands that expire,
readings of an earlier run."""

import datetime
import http.server
import os
import ssl
import threading
import time
import urllib.parse

import paho.mqtt.client as mqtt
import pytest

from certificates import made
from clients import HubUnderTest
from ledger import DEVICE, Publisher
from stage import broker_program, can_connect, free_port, wait_until
from test_clock import HOUR, ShiftedSite, assert_right, off, shift_library  # noqa: F401
from test_kill import agent_config

DAY = 24 * HOUR
NAMES = ("DNS:localhost", "IP:127.0.0.1")


class Visit:
    """A gateway that comes to a hub, each with a clock or a certificate that may be wrong."""

    def __init__(self, stage, library, starts, ends, shift):
        self.stage, self.library = stage, library
        first = stage.start_hub(name="first")
        assert first.stop() == 0
        stage.forget(first)
        own = made(stage.folder / "own", "localhost", starts, ends, names=NAMES)
        # Not the hub's own authority: this certificate it never renews.
        (first.data / "tls/server.pem").write_bytes(own.path.read_bytes())
        (first.data / "tls/server-key.pem").write_bytes(own.key.read_bytes())
        self.hub = HubUnderTest(stage)
        stage.hub_command("device", "create", "gw-1", "--gateway")
        self.file = stage.folder / "shift"
        self.shift(shift)
        secret = stage.folder / "gw-1.connection"
        secret.touch(0o600)
        secret.write_text(stage.device_string("gw-1"))
        text = agent_config(
            broker=free_port(), hub=self.hub.process.mqtt, ca=own.path, secret=secret, outbox=stage.folder / "outbox.sqlite")
        self.config = stage.folder / "edge-agent.toml"
        self.config.write_text(text.replace("[outbox]", f"https_port = {self.hub.process.https}\n[outbox]", 1))
        self.lives = 0
        self.start()

    def shift(self, seconds):
        new = self.file.with_suffix(".new")
        new.write_text(str(int(seconds)))
        os.rename(new, self.file)

    def start(self):
        self.lives += 1
        env = {"LD_PRELOAD": str(self.library), "CLOCKSHIFT_FILE": str(self.file)}
        self.agent = self.stage.start_agent(self.config, name=f"agent-{self.lives}", env=env)

    def stop(self):
        assert self.agent.stop() == 0
        self.stage.forget(self.agent)

    def connects(self):
        self.agent.wait_log("connected to the hub", 60)


@pytest.mark.parametrize("name, starts, ends, shift, word", [
    ("in 1970, before it begins", -DAY, DAY, None, "behind"),
    ("an hour ahead, after its end", -DAY, HOUR // 2, HOUR, "ahead"),
    ("ten years ahead", -DAY, DAY, 3650 * DAY, "ahead"),
    ("two days behind, before it begins", -DAY, DAY, -2 * DAY, "behind"),
], ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "")
def test_a_good_certificate_is_taken_whatever_the_clock_says_and_the_clock_is_named(
        stage, shift_library, name, starts, ends, shift, word):  # noqa: F811
    visit = Visit(stage, shift_library, starts, ends, shift if shift is not None else 60 - time.time())
    visit.agent.wait_log(f"the clock of this gateway was {word} and is corrected", 60)
    visit.connects()


def test_a_guess_that_was_kept_keeps_nobody_out(stage, shift_library):  # noqa: F811
    """Ten years ahead and offline; then the machine is started again, still ahead."""
    visit = Visit(stage, shift_library, -DAY, DAY, 3650 * DAY)
    visit.connects()
    visit.stop()
    visit.hub.process.stop()
    stage.forget(visit.hub.process)
    outbox = stage.folder / "outbox.sqlite"
    for file in outbox.parent.glob(outbox.name + "*"):
        file.unlink()
    visit.start()
    visit.agent.wait_log("no link to the hub", 30)
    visit.stop()
    visit.start()
    visit.hub.process = stage.start_hub(
        name="again", **{port: getattr(visit.hub.process, port) for port in ("mqtt", "https", "http")})
    visit.agent.wait_log("the clock of this gateway was ahead and is corrected", 60)
    visit.connects()


@pytest.mark.parametrize("shift", [0, None, -36 * HOUR, 3650 * DAY], ids=["right", "in-1970", "when-it-was-good", "ahead"])
def test_a_certificate_that_has_ended_is_not_trusted_and_the_right_one_is_blamed(stage, shift_library, shift):  # noqa: F811
    visit = Visit(stage, shift_library, -2 * DAY, -DAY, shift if shift is not None else 60 - time.time())
    if shift == -36 * HOUR:
        # It is let in while the clock says that all is well; the hub says what time it is, and that ends it.
        visit.agent.wait_log("the clock of this gateway was behind and is corrected", 60)
    visit.agent.wait_log("The certificate of localhost has expired", 60)
    begun = visit.agent.log_path.read_text()
    time.sleep(3)
    assert visit.agent.log_path.read_text()[len(begun):].count("connected to the hub") == 0
    # What is known now is known after a restart in 1970, too.
    visit.stop()
    visit.shift(60 - time.time())
    visit.start()
    visit.agent.wait_log("The certificate of localhost has expired", 60)
    time.sleep(2)
    assert not visit.agent.log_has("connected to the hub")


def test_readings_of_earlier_runs_get_their_time_when_it_is_learned(stage, shift_library):  # noqa: F811
    """Three runs, each with another wrong clock, the first two killed with everything unsent."""
    site = ShiftedSite(stage, shift_library)
    site.agent.wait_log("the time of this gateway is known better", 60)
    began = time.time()
    for program in (site.hub, site.agent):
        program.kill()
        site.stage.forget(program)
    # What the first run has learned is not there any more.
    for file in stage.folder.glob("outbox.sqlite*"):
        file.unlink()
    publisher = Publisher(site.broker.port, pace=0.02)
    for shift in (-2 * HOUR, 3 * HOUR, 60 - time.time()):
        site.shift(shift)
        site.start_agent()
        before = publisher.sent
        wait_until("readings of this run", lambda: publisher.sent > before + 60, 60, 0.1)
        if shift > 0 or shift == -2 * HOUR:
            site.agent.kill()
            site.stage.forget(site.agent)
    site.start_hub()
    site.agent.wait_log("connected to the hub", 60)
    records = site.arrived(publisher)
    assert_right(records, began)
    times = [off(record, began) for record in records]
    assert times == sorted(times) and times[-1] - times[0] > 2, "each at its own time"


class QuietHub:
    """A hub that knows nothing about the time: a broker with TLS. Its web server says the date when it runs."""

    def __init__(self, stage, library, shift):
        self.stage = stage
        own = made(stage.folder / "own", "localhost", -DAY, DAY, names=NAMES)
        self.own = own
        self.port, self.plain, self.https = free_port(), free_port(), free_port()
        config = stage.folder / "quiet.conf"
        config.write_text(
            ("user root\n" if os.geteuid() == 0 else "") +
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\ncertfile {own.path}\nkeyfile {own.key}\n"
            f"listener {self.plain} 127.0.0.1\nallow_anonymous true\n"
            "log_type error\nlog_type warning\nlog_type notice\nlog_type information\nlog_type subscribe\n")
        self.process = stage.start("quiet-hub", [broker_program(), "-c", config])
        wait_until("the quiet hub", lambda: can_connect(self.plain), 10)
        self.plant = stage.start_broker()
        (stage.folder / "shift").write_text(str(int(shift)))
        secret = stage.folder / "gw-1.connection"
        secret.touch(0o600)
        secret.write_text("HostName=localhost;DeviceId=gw-1;SharedAccessKey=c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0")
        text = agent_config(
            broker=self.plant.port, hub=self.port, ca=own.path, secret=secret, outbox=stage.folder / "outbox.sqlite")
        head, rule, tail = text.partition("[[rule]]")
        command = '[[mqtt.command]]\nname = "Set"\ntopic = "plant/{device}/set"\n\n'
        config = stage.folder / "edge-agent.toml"
        config.write_text((head + command + rule + tail).replace("[outbox]", f"https_port = {self.https}\n[outbox]", 1))
        self.seen = []
        self.sensor = mqtt.Client(client_id="watch", protocol=mqtt.MQTTv311)
        self.sensor.on_message = lambda _c, _u, message: self.seen.append(message.payload.decode())
        self.sensor.connect("127.0.0.1", self.plant.port)
        self.sensor.subscribe(f"plant/{DEVICE}/set", qos=1)
        self.sensor.loop_start()
        self.agent = stage.start_agent(
            config, env={"LD_PRELOAD": str(library), "CLOCKSHIFT_FILE": str(stage.folder / "shift")})
        self.agent.wait_log("connected to the hub", 60)
        self.process.wait_log("devicebound/#", 30)
        self.sensor.publish(f"plant/{DEVICE}/state", '{"n": 1}', qos=1).wait_for_publish()

    def command(self, payload, ends=None):
        """A cloud-to-device command of the sensor, as the hub sends it; its end counts in seconds from now."""
        bag = [("$.mid", payload), ("method-name", "Set")]
        if ends is not None:
            end = datetime.datetime.fromtimestamp(time.time() + ends, datetime.timezone.utc)
            bag.append(("$.exp", end.strftime("%Y-%m-%dT%H:%M:%SZ")))
        text = "&".join(f"{urllib.parse.quote(key)}={urllib.parse.quote(value)}" for key, value in bag)
        client = mqtt.Client(client_id="back-end", protocol=mqtt.MQTTv311)
        client.connect("127.0.0.1", self.plain)
        client.loop_start()
        client.publish(f"$fieldline/{DEVICE}/devices/{DEVICE}/messages/devicebound/{text}", payload, qos=1).wait_for_publish(10)
        client.disconnect()
        client.loop_stop()

    def date_server(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.own.files)

        class Answers(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", self.https), Answers)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server


@pytest.mark.parametrize("shift", [-2 * HOUR, 2 * HOUR], ids=["behind", "ahead"])
def test_a_command_is_neither_expired_nor_executed_by_a_guess(stage, shift_library, shift):  # noqa: F811
    hub = QuietHub(stage, shift_library, shift)
    hub.command("first")
    wait_until("the command that never expires", lambda: "first" in hub.seen, 30)
    hub.command("good", ends=HOUR)
    hub.command("late", ends=6)
    hub.command("behind them")
    hub.agent.wait_log("a command that expires waits until this gateway knows the time", 30)
    time.sleep(7)
    assert hub.seen == ["first"], "nobody knows the time yet, and nothing overtakes at one device"
    server = hub.date_server()
    try:
        wait_until("the commands", lambda: "behind them" in hub.seen, 60)
        assert hub.seen == ["first", "good", "behind them"]
        assert hub.agent.log_has("a command came too late and was not executed")
    finally:
        server.shutdown()
        hub.sensor.loop_stop()


def test_over_a_websocket_the_time_comes_with_the_first_answer(stage, shift_library):  # noqa: F811
    """Nothing but port 443 is open, and the token is still good: no other question is asked."""
    site = ShiftedSite(stage, shift_library, shift=-HOUR // 4, websocket=True)
    line = site.agent.wait_log("the clock of this gateway was behind and is corrected", 60)
    assert "hub's date" in line
    site.agent.wait_log("connected to the hub", 60)
