"""A stream of readings whose every value is known, and the comparison with what arrived."""

import contextlib
import json
import threading

import paho.mqtt.client as mqtt

from stage import StageError, wait_until

DEVICE = "sensor-1"
LIMIT = 100


class Publisher:
    """Publishes numbered readings to the plant's broker at QoS 1 and writes down which ones the broker has.

    Every `period` readings the level goes above the limit, and back again half a period later, so that the number of
    faults is known too.
    """

    def __init__(self, port, period=100, pace=0.002):
        self.period, self.pace = period, pace
        self.sent = 0
        self.breaches = 0
        self._acknowledged_count = 0
        self._stop = threading.Event()
        self._hold, self._held, self._go_on = threading.Event(), threading.Event(), threading.Event()
        self._client = mqtt.Client(client_id="ledger", clean_session=True, protocol=mqtt.MQTTv311)
        self._client.max_inflight_messages_set(200)
        self._client.on_publish = self._acknowledged
        self._client.connect("127.0.0.1", port, 60)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _acknowledged(self, _client, _userdata, _message):
        self._acknowledged_count += 1  # only ever on paho's own thread

    def _run(self):
        while not self._stop.wait(self.pace):
            number = self.sent + 1
            place = number % self.period
            if place == self.period // 2:
                self.breaches += 1
            level = LIMIT + 50 if place >= self.period // 2 else LIMIT - 50
            body = json.dumps({"n": number, "level": level})
            self._client.publish(f"plant/{DEVICE}/state", body, qos=1)
            self.sent = number
            if place == self.period * 3 // 4 and self._hold.is_set():
                self._held.set()
                self._go_on.wait()

    @contextlib.contextmanager
    def held_in_breach(self):
        """Publishes nothing inside the block, which begins in the middle of a breach."""
        self._held.clear()
        self._go_on.clear()
        self._hold.set()
        try:
            wait_until("the middle of a breach", self._held.is_set, 30)
            yield
        finally:
            self._hold.clear()
            self._go_on.set()

    def finish(self):
        """Ends with a quiet level, so that every fault is cleared, and waits for the broker's acknowledgements."""
        self._stop.set()
        self._thread.join()
        self.sent += 1
        body = json.dumps({"n": self.sent, "level": LIMIT - 50})
        self._client.publish(f"plant/{DEVICE}/state", body, qos=1)
        wait_until("the broker's acknowledgements", lambda: self._acknowledged_count == self.sent, 30)
        self._client.disconnect()
        self._client.loop_stop()


class Log:
    """What the hub's log holds, read through the command line."""

    def __init__(self, stage):
        text = stage.hub_command("monitor", "--from-start", "--no-follow", timeout=120)
        self.numbers, self.raised, self.cleared = [], [], []
        for line in text.splitlines():
            body = json.loads(line)["body"]
            for record in body.get("records", []) if isinstance(body, dict) else []:
                if record["device"] != DEVICE:
                    continue
                if record.get("metric") == "n":
                    self.numbers.append(int(float(record["value"])))
                elif "fault" in record:
                    states = {"raised": self.raised, "cleared": self.cleared}
                    states[record["fault"]["state"]].append(record["fault"]["id"])

    def problems(self, publisher, alerts):
        """Everything that differs between the ledger, the log and the alert rows; empty when nothing does."""
        found = []
        missing = set(range(1, publisher.sent + 1)) - set(self.numbers)
        if missing:
            found.append(f"lost: {len(missing)} readings, first {sorted(missing)[:5]}")
        doubled = len(self.numbers) - len(set(self.numbers))
        if doubled:
            found.append(f"doubled: {doubled} readings")
        if len(self.raised) != publisher.breaches:
            found.append(f"faults: {publisher.breaches} breaches, {len(self.raised)} raised in the log")
        if len(set(self.raised)) != len(self.raised):
            found.append("faults: one was raised twice in the log")
        if len(alerts) != publisher.breaches:
            found.append(f"alerts: {publisher.breaches} breaches, {len(alerts)} alert rows")
        return found


def wait_for_last(stage, publisher, seconds=120):
    """Until the last reading has reached the log."""
    def arrived():
        try:
            return publisher.sent in Log(stage).numbers
        except (StageError, ValueError):
            return False
    wait_until(f"reading {publisher.sent} in the hub's log", arrived, seconds, every=0.5)
