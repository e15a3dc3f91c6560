"""Commands from a row on the service desk to a device and back, with the hub killed while they are on their way."""

import json
import os
import random
import sqlite3
import time

from clients import PUBLISH, HubUnderTest, packet
from desk import ERROR, IN_PROGRESS, SENT, Desk
from stage import free_port, wait_until

SEED = int(os.environ.get("SEED", random.randrange(1 << 32)))
METHODS = "$iothub/methods/POST/#"
DELIVERED = "the device took the message Reset from its queue"
EXPIRED = "expired: the device did not come for Reset within its time limit and did not get it"
UNKNOWN = "unknown: the hub stopped while this command was on its way, so whether the device obeyed is not known; it was " \
    "not repeated"


class Site:
    """A hub that can be killed and started again at the same addresses."""

    def __init__(self, stage, time_limit="5m"):
        self.stage = stage
        self.config = stage.folder / "hub.toml"
        self.config.write_text(f'[connector]\npoll_interval = "200ms"\ncommand_time_limit = "{time_limit}"\n')
        self.ports = {"mqtt": free_port(), "https": free_port(), "http": free_port()}
        self.lives = 0
        self.start()

    def start(self):
        self.lives += 1
        self.hub = HubUnderTest(
            self.stage, name=f"hub-{self.lives}", extra=("--config", self.config), **self.ports)
        self.desk = Desk(self.hub.process)

    def kill(self):
        self.hub.process.kill()
        self.stage.forget(self.hub.process)

    def restart(self):
        self.kill()
        self.start()

    def waiting(self):
        """Messages that wait in devices' queues, by the command row that each came from."""
        file = self.hub.process.data / "hub.sqlite"
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
            return {row for (row,) in database.execute("SELECT messageID FROM c2d")}

    def queued(self, row):
        wait_until(f"command {row} in the queue", lambda: row in self.waiting())

    def ended(self, row, seconds=20):
        """Status and reason of the row, once it is in progress no more."""
        def found():
            status, reason = self.desk.command(row)
            return (status, reason) if status != IN_PROGRESS else None
        return wait_until(f"the end of command {row}", found, seconds, every=0.1)

    def connect(self, name):
        """The device, ready to take messages from its queue."""
        device = self.hub.connect(name)
        assert device.subscribe(f"devices/{name}/messages/devicebound/#") == 1
        return device


def take(device):
    """The next message of the device's queue: its topic, and what acknowledges it."""
    body = device.receive(PUBLISH)
    end = 2 + int.from_bytes(body[:2], "big")
    return body[2:end].decode(), packet(0x40, body[end:end + 2])


def test_a_message_that_waits_while_the_hub_is_killed_is_delivered_once_and_its_row_says_so(stage):
    site = Site(stage)
    site.hub.create("pump-1")
    row = site.desk.write_command("pump-1", "Reset Thermostat")
    site.queued(row)
    site.restart()
    assert site.desk.command(row)[0] == IN_PROGRESS
    device = site.connect("pump-1")
    topic, acknowledgement = take(device)
    assert f"%24.mid={row}" in topic and "method-name=Reset" in topic
    site.restart()
    device.close()
    # Not acknowledged before the hub died, so it comes again: the same message, not another one.
    device = site.connect("pump-1")
    again, acknowledgement = take(device)
    assert f"%24.mid={row}" in again
    device.send(acknowledgement)
    assert site.ended(row) == (SENT, DELIVERED)
    site.restart()
    assert site.desk.command(row) == (SENT, DELIVERED)
    assert site.waiting() == set()
    assert not site.connect("pump-1").has(PUBLISH)


def test_a_message_that_expires_while_the_hub_is_down_ends_as_expired_and_is_never_delivered(stage):
    site = Site(stage, time_limit="10s")
    site.hub.create("pump-1")
    site.hub.create("pump-2")
    row = site.desk.write_command("pump-1", "Reset Thermostat")
    handed = site.desk.write_command("pump-2", "Reset Thermostat")
    site.queued(handed)
    # Taken, but never acknowledged: the row must not say that the device did not get it.
    take(site.connect("pump-2"))
    site.queued(row)
    site.kill()
    file = site.hub.process.data / "hub.sqlite"
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
        (last,) = database.execute("SELECT max(expires) FROM c2d").fetchone()
    wait_until("the expiry", lambda: time.time() * 1000 > last, 15)
    site.start()
    device = site.connect("pump-1")
    assert site.ended(row) == (ERROR, EXPIRED)
    status, reason = site.ended(handed)
    assert status == ERROR
    assert reason == ("unknown: the device was handed the message Reset 1 times and never acknowledged it; whether it "
                      "obeyed is not known")
    assert not device.has(PUBLISH)


def test_a_method_that_was_on_its_way_when_the_hub_was_killed_ends_as_unknown_and_is_not_repeated(stage):
    site = Site(stage)
    site.hub.create("pump-1")
    device = site.hub.connect("pump-1")
    device.subscribe(METHODS)
    row = site.desk.write_command("pump-1", "Set Values", {"Reading": {"Temperature": "21"}})
    topic, body = device.message()
    assert topic.startswith("$iothub/methods/POST/SetValue/")
    assert json.loads(body) == {"Reading": {"Temperature": "21"}}
    site.restart()
    device = site.hub.connect("pump-1")
    device.subscribe(METHODS)
    assert site.ended(row) == (ERROR, UNKNOWN)
    # A later command comes through, and it is the only one.
    later = site.desk.write_command("pump-1", "Notification", {"Message": "hello"})
    topic, body = device.message()
    assert topic.startswith("$iothub/methods/POST/Notify/")
    request = topic.split("$rid=")[1]
    device.publish({"shown": True}, topic=f"$iothub/methods/res/200/?$rid={request}")
    assert site.ended(later) == (SENT, 'the device answered Notify with status 200: {"shown":true}')
    assert not device.has(PUBLISH)


def test_kills_at_random_moments_leave_every_row_with_its_true_end(stage):
    """Devices that come and go, a hub that dies in between: what a device acknowledged is Sent, and nothing else is."""
    print(f"SEED={SEED}")
    chance = random.Random(SEED)
    site = Site(stage)
    names = [f"pump-{number}" for number in range(4)]
    for name in names:
        site.hub.create(name)
    rows, handed, acknowledged = {}, {}, set()
    for _ in range(12):
        for name in names:
            rows[site.desk.write_command(name, "Reset Thermostat")] = name
        devices = []
        for name in chance.sample(names, 2):
            devices.append(site.connect(name))
        wait_until("one message taken or queued", lambda: site.waiting() or handed, 10)
        for device in devices:
            for _ in range(chance.randrange(4)):
                if not device.has(PUBLISH):
                    break
                topic, acknowledgement = take(device)
                row = topic.split("%24.mid=")[1].split("&")[0]
                handed.setdefault(row, set()).add(topic)
                if chance.random() < 0.8:
                    device.send(acknowledgement)
                    acknowledged.add(row)
        wait_until("a random moment", lambda: chance.random() < 0.2, 10, every=0.02)
        site.restart()
        for device in devices:
            device.close()
    # In the end every device comes and takes all that waits for it.
    for name in names:
        device = site.connect(name)
        own = [row for row, owner in rows.items() if owner == name]
        def drained():
            while device.has(PUBLISH):
                topic, acknowledgement = take(device)
                row = topic.split("%24.mid=")[1].split("&")[0]
                handed.setdefault(row, set()).add(topic)
                device.send(acknowledgement)
                acknowledged.add(row)
            return all(site.desk.command(row)[0] != IN_PROGRESS for row in own)
        wait_until(f"the end of every command of {name}", drained, 30, every=0.1)
    ends = {row: site.desk.command(row) for row in rows}
    wrong = {row: end for row, end in ends.items() if end != (SENT, DELIVERED)}
    assert wrong == {}
    assert set(rows) == acknowledged
    # One message a command, however often it was handed over.
    assert all(len(topics) == 1 for topics in handed.values())
