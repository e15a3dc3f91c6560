"""What the gateway's link costs: IP bytes in both directions, compressed and not, idle and at the end of a budget."""

import json
import re
import time

import paho.mqtt.client as mqtt
import pytest

from ledger import DEVICE, LIMIT
from stage import wait_until
from test_kill import Site

READINGS = 4000


class MeteredSite(Site):
    """A site whose gateway tells what its connections have cost."""

    def __init__(self, stage, **keys):
        self.keys = keys
        super().__init__(stage)

    def write_config(self):
        config = super().write_config()
        more = "".join(f"{key} = {json.dumps(value)}\n" for key, value in self.keys.items())
        config.write_text(config.read_text().replace("[outbox]", more + "[outbox]", 1) + '\n[log]\nlevel = "debug"\n')
        return config

    def cost(self):
        """IP bytes of all connections so far; the agent is ended."""
        assert self.agent.stop() == 0
        text = self.agent.log_path.read_text()
        self.stage.forget(self.agent)
        return sum(int(sent) + int(received) for sent, received in re.findall(r"ipReceived=(\d+) ipSent=(\d+)", text))

    def publish(self, count, level=LIMIT - 50, first=1):
        client = mqtt.Client(client_id="meter", protocol=mqtt.MQTTv311)
        client.max_inflight_messages_set(200)
        client.connect("127.0.0.1", self.broker.port)
        client.loop_start()
        last = None
        for number in range(first, first + count):
            last = client.publish(f"plant/{DEVICE}/state", json.dumps({"n": number, "level": level + number % 7 / 4}), qos=1)
        last.wait_for_publish(60)
        client.disconnect()
        client.loop_stop()

    def records(self):
        text = self.stage.hub_command("monitor", "--from-start", "--no-follow", timeout=120)
        bodies = [json.loads(line)["body"] for line in text.splitlines()]
        return [record for body in bodies if isinstance(body, dict) for record in body.get("records", [])]

    def arrived(self, count):
        wait_until(f"{count} readings", lambda: sum(r.get("metric") == "n" for r in self.records()) >= count, 60, 0.3)


def cost_of_readings(stage, compression):
    site = MeteredSite(stage, compression=compression)
    site.agent.wait_log("connected to the hub", 60)
    site.publish(READINGS)
    site.arrived(READINGS)
    return site.cost() / (2 * READINGS)


@pytest.fixture(scope="module")
def plain_cost(programs, tmp_path_factory):
    from stage import Stage
    with Stage(programs, tmp_path_factory.mktemp("plain")) as stage:
        yield cost_of_readings(stage, "off")


def test_compressed_batches_cost_less_than_a_third(stage, plain_cost):
    compressed = cost_of_readings(stage, "auto")
    print(f"IP bytes per reading, both ways, with the handshake: plain {plain_cost:.1f}, compressed {compressed:.1f}")
    assert compressed < plain_cost / 3


def test_an_idle_day_stays_under_a_hundred_kilobytes(stage):
    """One ping is measured, and what a connection costs before the first; a day is reckoned from them."""
    site = MeteredSite(stage, keep_alive="5s")
    site.agent.wait_log("the hub keeps what this gateway reported", 60)
    time.sleep(1)
    one = site.cost()
    site.start_agent()
    site.agent.wait_log("the hub keeps what this gateway reported", 60)
    time.sleep(31)
    ping = (site.cost() - one) / 6
    # A token of 24 h: one connection a day. Four questions about the time cost less than a ping each and a half.
    days = {seconds: one + (86_400 / seconds) * ping + 4 * 2 * ping for seconds in (1177, 60)}
    print(f"idle: {one} bytes a connection, {ping:.0f} a ping; a day at 19m37s {days[1177]:.0f}, at 60s {days[60]:.0f}")
    assert 100 < ping < 600 and days[1177] <= 100_000


def test_when_the_bytes_of_the_day_are_spent_only_faults_travel(stage):
    site = MeteredSite(stage, bytes_per_day="20KB", compression="off")
    site.agent.wait_log("connected to the hub", 60)
    site.publish(READINGS)
    site.agent.wait_log("the byte budget of the day is spent; only faults travel until midnight UTC", 60)
    time.sleep(2)
    before = sum(r.get("metric") == "n" for r in site.records())
    assert before < READINGS
    site.publish(1, level=LIMIT + 50, first=READINGS + 1)
    wait_until("the fault", lambda: any("fault" in r for r in site.records()), 30, 0.3)
    assert sum(r.get("metric") == "n" for r in site.records()) == before
    # A restart does not make a new day.
    assert site.agent.stop() == 0
    stage.forget(site.agent)
    site.start_agent()
    site.agent.wait_log("connected to the hub", 60)
    time.sleep(2)
    assert sum(r.get("metric") == "n" for r in site.records()) == before


def test_when_nothing_may_travel_the_link_is_taken_down(stage):
    site = MeteredSite(stage, bytes_per_day="20KB", compression="off", at_end_of_budget="nothing")
    site.agent.wait_log("connected to the hub", 60)
    site.publish(READINGS)
    site.agent.wait_log("the byte budget of the day is spent; nothing travels until midnight UTC", 60)
    site.agent.wait_log("what the connection has cost", 60)
    time.sleep(2)
    assert site.agent.log_path.read_text().count("connected to the hub") == 1
