"""Messages that wait for a device: what the command line shows of them, over MQTT, over restarts, and how they end."""

import json
import struct

import pytest

from claims import claims
from clients import HubUnderTest, PUBLISH, packet, same
from stage import Stage

INSTANT = r"<\d{4}-\d\d-\d\dT[\d:.]+Z>"
ID = "<[0-9a-f-]{36}>"


class QueueHub(HubUnderTest):
    def says(self, *arguments):
        return self.stage.hub_command(*arguments, data=self.process.data).rstrip("\n")

    def queue(self, name):
        """Message ids, states and delivery counts, oldest first."""
        rows = json.loads(self.says("device", "queue", name, "--output", "json"))
        return [(row["message"], row["state"], row["deliveries"]) for row in rows]

    def feedback(self, name):
        rows = json.loads(self.says("device", "feedback", name, "--output", "json"))
        return [(row["message"], row["status"]) for row in reversed(rows)]

    def restart(self, *extra):
        """Kills the hub and starts it on the same directory."""
        self.process.kill()
        self.process = self.stage.start_hub(*extra, name="again", data=self.process.data)


@pytest.fixture(scope="module")
def hub(programs, tmp_path_factory):
    with Stage(programs, tmp_path_factory.mktemp("hub")) as stage:
        yield QueueHub(stage)


@pytest.fixture
def own_hub(stage):
    """For a test that restarts it."""
    return QueueHub(stage)


def subscribed(hub, name):
    device = hub.connect(name)
    device.subscribe(f"devices/{name}/messages/devicebound/#")
    return device


def delivery(device):
    """The next message at QoS 1: packet identifier, topic, body."""
    body = device.receive(PUBLISH)
    end = 2 + struct.unpack(">H", body[:2])[0]
    return struct.unpack(">H", body[end:end + 2])[0], body[2:end].decode(), body[end + 2:]


def acknowledge(device, packet_id):
    device.send(packet(0x40, struct.pack(">H", packet_id)))


def test_sending_and_the_queue_are_shown_as_tables(hub):
    hub.create("shown")
    same(hub.says("device", "send", "shown", "good morning", "--expires", "1h30m"),
         f"device   shown\nmessage  {ID}\nexpires  {INSTANT}")
    same(hub.says("device", "send", "shown", "", "--message-id", "m-2", "--ack", "full", "--correlation-id", "c-7"),
         f"device   shown\nmessage  m-2\nexpires  {INSTANT}")
    same(hub.says("device", "queue", "shown"),
         "MESSAGE                               SEQUENCE  STATE     DELIVERIES  EXPIRES                   BYTES\n"
         f"{ID}  <\\d+ +>enqueued  0           {INSTANT}< *>  <\\d+>\n"
         f"m-2< +\\d+ +>enqueued  0           {INSTANT}< *>  <\\d+>")
    assert hub.says("device", "feedback", "shown") == "TIME  DEVICE  MESSAGE  STATUS"


def test_a_message_of_bytes_comes_from_a_file_with_its_properties(hub, tmp_path):
    hub.create("bytes")
    (tmp_path / "firmware").write_bytes(bytes(range(256)))
    hub.says("device", "send", "bytes", "--file", str(tmp_path / "firmware"), "--property", "$.ct=application/octet-stream",
             "--property", "version=2 b", "--correlation-id", "c-1", "--ack", "positive", "--message-id", "m-1")
    device = subscribed(hub, "bytes")
    _, topic, body = delivery(device)
    assert body == bytes(range(256))
    assert topic.startswith("devices/bytes/messages/devicebound/%24.to=%2Fdevices%2Fbytes%2Fmessages%2FdeviceBound&%24.mid=m-1&")
    for part in ("%24.cid=c-1", "%24.ct=application%2Foctet-stream", "version=2%20b", "iothub-ack=positive"):
        assert part in topic.split("/")[-1].split("&"), topic
    device.close()


@claims(
    "Learn: Understand cloud-to-device messaging from an IoT hub – The cloud-to-device message life cycle",
    "MQTT 3.1.1 [MQTT-4.4.0-1]")
def test_an_unacknowledged_message_comes_again_with_its_count_raised_and_an_acknowledged_one_never(hub):
    hub.create("twice")
    hub.says("device", "send", "twice", "one", "--message-id", "m-1", "--ack", "full")
    hub.says("device", "send", "twice", "two", "--message-id", "m-2", "--ack", "full")
    device = subscribed(hub, "twice")
    first, second = delivery(device), delivery(device)
    assert (first[2], second[2]) == (b"one", b"two")
    assert hub.queue("twice") == [("m-1", "invisible", 1), ("m-2", "invisible", 1)]
    acknowledge(device, second[0])
    device.close()
    device = subscribed(hub, "twice")
    again = delivery(device)
    assert again[2] == b"one"
    assert hub.queue("twice") == [("m-1", "invisible", 2)]
    acknowledge(device, again[0])
    # What is asked after the acknowledgement on the same connection is answered after it.
    device.subscribe("$iothub/twin/res/#", qos=0)
    device.publish(b"{}", topic="$iothub/twin/PATCH/properties/reported/?$rid=1")
    assert device.message()[0].startswith("$iothub/twin/res/")
    assert hub.queue("twice") == []
    assert hub.feedback("twice") == [("m-2", "Success"), ("m-1", "Success")]
    assert not device.has(PUBLISH)
    device.close()


@claims("Learn: Understand cloud-to-device messaging from an IoT hub – The cloud-to-device message life cycle")
def test_queue_counts_and_feedback_survive_a_kill(own_hub):
    hub = own_hub
    hub.create("survivor")
    for name in ("m-1", "m-2"):
        hub.says("device", "send", "survivor", name, "--message-id", name, "--ack", "full")
    device = subscribed(hub, "survivor")
    assert [delivery(device)[2], delivery(device)[2]] == [b"m-1", b"m-2"]
    hub.restart()
    assert hub.queue("survivor") == [("m-1", "enqueued", 1), ("m-2", "enqueued", 1)]
    device = subscribed(hub, "survivor")
    packet_id, _, body = delivery(device)
    assert body == b"m-1"
    acknowledge(device, packet_id)
    assert delivery(device)[2] == b"m-2"
    device.subscribe("$iothub/twin/res/#", qos=0)
    device.publish(b"{}", topic="$iothub/twin/PATCH/properties/reported/?$rid=1")
    assert device.message()[0].startswith("$iothub/twin/res/")
    hub.process.kill()
    # Without a hub the command reads the store itself.
    assert hub.queue("survivor") == [("m-2", "enqueued", 2)]
    assert hub.feedback("survivor") == [("m-1", "Success")]


@claims("Learn: Understand cloud-to-device messaging from an IoT hub – Cloud-to-device configuration options")
def test_a_message_is_given_up_after_the_configured_number_of_deliveries(stage, tmp_path):
    config = tmp_path / "hub.toml"
    config.write_text("[cloud_to_device]\ndelivery_count_max = 2\ntime_to_live = \"1m\"\n")
    hub = QueueHub(stage, extra=("--config", str(config)))
    hub.create("deaf")
    hub.says("device", "send", "deaf", "poison", "--message-id", "m-1", "--ack", "negative")
    for _ in range(2):
        device = subscribed(hub, "deaf")
        assert delivery(device)[2] == b"poison"
        device.close()
        hub.says("device", "show", "deaf")
    device = subscribed(hub, "deaf")
    hub.says("device", "send", "deaf", "next")
    assert delivery(device)[2] == b"next"
    assert hub.feedback("deaf") == [("m-1", "DeliveryCountExceeded")]
    device.close()
