"""Messages to devices: by MQTT and by the HTTPS device API."""

import json
import struct

import pytest

from claims import claims
from clients import PUBLISH, RawDevice, packet
from stage import wait_until

RECEIVING = "Learn: Communicate with an IoT hub using the MQTT protocol – Receiving cloud-to-device messages"
LIFE = "Learn: Understand cloud-to-device messaging from an IoT hub – The cloud-to-device message life cycle"
EXPIRY = "Learn: Understand cloud-to-device messaging from an IoT hub – Message expiration (time to live)"
FEEDBACK = "Learn: Understand cloud-to-device messaging from an IoT hub – Message feedback"
LIMITS = "Learn: IoT Hub quotas and throttling – Other limits"


def send(hub, name, *arguments):
    return hub.stage.hub_command("device", "send", name, *arguments, data=hub.process.data, check=False)


def feedback(hub, name):
    rows = json.loads(hub.says("device", "feedback", name, "--output", "json"))
    return {row["message"]: row["status"] for row in rows}


def waiting(hub, name):
    return json.loads(hub.rest("GET", f"/devices/{name}")[2])["cloudToDeviceMessageCount"]


def listening(hub, name, clean=False):
    device = RawDevice(hub.process, name)
    assert device.login(hub.token(name), clean=clean) == 0
    device.subscribe(f"devices/{name}/messages/devicebound/#")
    return device


def delivery(device):
    """Packet identifier, property bag, body."""
    body = device.receive(PUBLISH)
    end = 2 + struct.unpack(">H", body[:2])[0]
    bag = body[2:end].decode().removeprefix(f"devices/{device.name}/messages/devicebound/")
    return struct.unpack(">H", body[end:end + 2])[0], bag, body[end + 2:]


def acknowledge(device, identifier):
    device.send(packet(0x40, struct.pack(">H", identifier)))


@claims(RECEIVING)
def test_a_message_comes_at_quality_1_with_its_properties_and_every_slash_in_them_escaped(hub, name):
    device = listening(hub, name)
    done = send(hub, name, "open", "--message-id", "m/1", "--correlation-id", "c", "--property", "a b=x/y", "--ack", "full")
    assert done.returncode == 0, done.stderr
    identifier, bag, body = delivery(device)
    assert (identifier > 0, body) == (True, b"open")
    entries = bag.split("&")
    assert entries[0] == f"%24.to=%2Fdevices%2F{name}%2Fmessages%2FdeviceBound"
    assert "%24.mid=m%2F1" in entries and "%24.cid=c" in entries and "a%20b=x%2Fy" in entries and "iothub-ack=full" in entries
    assert "/" not in bag and all("=" in entry for entry in entries)
    acknowledge(device, identifier)
    wait_until("its end", lambda: waiting(hub, name) == 0)
    assert feedback(hub, name) == {"m/1": "Success"}
    device.close()


@claims(RECEIVING)
def test_at_quality_0_a_message_counts_as_received_when_it_was_sent(hub, name):
    device = hub.connect(name)
    device.subscribe(f"devices/{name}/messages/devicebound/#", qos=0)
    send(hub, name, "x", "--message-id", "m", "--ack", "full")
    assert device.message()[1] == b"x"
    wait_until("its end", lambda: feedback(hub, name) == {"m": "Success"})
    device.close()


@claims(LIMITS)
def test_fifty_messages_wait_for_a_device_and_the_next_is_refused(hub, name):
    assert [send(hub, name, str(number)).returncode for number in range(50)] == [0] * 50
    refused = send(hub, name, "one more")
    assert refused.returncode == 1 and "50" in refused.stderr
    assert waiting(hub, name) == 50
    device = listening(hub, name)
    assert [delivery(device)[2] for _ in range(50)] == [str(number).encode() for number in range(50)]
    device.close()


@claims(LIMITS)
def test_a_message_of_64_kilobytes_with_its_properties_is_taken_and_more_is_refused(hub, name, tmp_path):
    body = tmp_path / "body"
    for size, is_taken in ((65_536 - 400, True), (65_537, False)):
        body.write_bytes(bytes(size))
        assert (send(hub, name, "--file", body).returncode == 0) == is_taken
    assert waiting(hub, name) == 1


@claims(EXPIRY, FEEDBACK)
def test_a_message_whose_time_is_over_is_not_delivered_and_its_sender_is_told(hub, name):
    send(hub, name, "too late", "--message-id", "late", "--expires", "1s", "--ack", "negative")
    wait_until("its end", lambda: feedback(hub, name) == {"late": "Expired"})
    send(hub, name, "in time", "--message-id", "next")
    device = listening(hub, name)
    assert delivery(device)[2] == b"in time"
    device.close()


@claims(FEEDBACK)
@pytest.mark.parametrize("ack, told", [("none", {}), ("positive", {"m": "Success"}), ("negative", {}), ("full", {"m": "Success"})])
def test_feedback_comes_for_what_its_sender_asked_for(hub, name, ack, told):
    device = listening(hub, name)
    send(hub, name, "x", "--message-id", "m", "--ack", ack)
    send(hub, name, "x", "--message-id", "last", "--ack", "full")
    for _ in range(2):
        acknowledge(device, delivery(device)[0])
    wait_until("the last's end", lambda: feedback(hub, name) == {**told, "last": "Success"})
    device.close()


QUEUE = "/devices/{}/messages/deviceBound"


@claims("REST: Device - Receive Device Bound Notification", "REST: Device - Complete Device Bound Notification",
        "REST: Device - Abandon Device Bound Notification")
def test_by_https_a_message_is_locked_then_completed_rejected_or_abandoned_by_its_etag(hub, name):
    path, token = QUEUE.format(name), hub.token(name)
    assert hub.call("GET", path, token)[0] == 204
    for number, settle in enumerate(("complete", "reject", "abandon")):
        send(hub, name, settle, "--message-id", settle, "--ack", "full")
        status, headers, body = hub.call("GET", path, token)
        assert (status, body) == (200, settle.encode())
        assert (headers["iothub-messageid"], headers["iothub-deliverycount"]) == (settle, "0")
        assert headers["iothub-to"] == QUEUE.format(name) and headers["iothub-ack"] == "full"
        lock = headers["ETag"].strip('"')
        assert hub.call("GET", path, token)[0] == 204, "it is locked"
        assert "invisible" in hub.says("device", "queue", name)
        method, end = {"complete": ("DELETE", ""), "reject": ("DELETE", "?reject"), "abandon": ("POST", "/abandon")}[settle]
        assert hub.call(method, f"{path}/{lock}{end}", token)[0] == 204
        status, headers, _ = hub.call(method, f"{path}/{lock}{end}", token)
        assert (status, headers["iothub-errorcode"]) == (412, "DeviceMessageLockLost")
    assert hub.call("GET", path, token)[1]["iothub-deliverycount"] == "1"
    assert feedback(hub, name) == {"complete": "Success", "reject": "Rejected"}


@claims("REST: Cloud To Device Messages - Purge Cloud To Device Message Queue")
def test_a_purge_empties_the_queue_and_tells_how_many_there_were(hub, name):
    for number in range(3):
        send(hub, name, "x", "--message-id", str(number), "--ack", "full")
    status, _, body = hub.rest("DELETE", f"/devices/{name}/commands")
    assert (status, json.loads(body)) == (200, {"totalMessagesPurged": 3, "deviceId": name, "moduleId": None})
    assert feedback(hub, name) == {"0": "Purged", "1": "Purged", "2": "Purged"}
