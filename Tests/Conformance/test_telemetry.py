"""PUBLISH to the hub: topics, properties, quality of service, what closes the connection."""

import json
import struct
import time

import pytest

from claims import claims
from clients import PUBACK, RawDevice, packet, text
from sas import parts, sign
from stage import wait_until

SENDING = "Learn: Communicate with an IoT hub using the MQTT protocol – Sending device-to-cloud messages"
FORMAT = "Learn: Create and read IoT Hub messages – System properties of D2C IoT Hub messages"
LIMITS = "Learn: IoT Hub quotas and throttling – Other limits"


def events(hub, name, count=1):
    return wait_until(f"{count} events of {name}", lambda: (
        found := [event for event in hub.events() if event["device"] == name]) and len(found) >= count and found)


def closes(device, raw):
    """The hub closes, and nothing was acknowledged before."""
    device.send(raw)
    return device.is_closed()


@claims(SENDING)
@pytest.mark.parametrize("end", ["", "/", "/a=b", "/?a=b", "/?"])
def test_the_events_topic_may_end_with_or_without_slash_properties_and_question_mark(hub, name, end):
    device = hub.connect(name)
    device.acknowledged(device.publish({"n": 1}, topic=f"devices/{name}/messages/events{end}"))
    event, = events(hub, name)
    assert event["properties"] == ({"a": "b"} if "a=b" in end else {})
    device.close()


@claims(FORMAT)
@pytest.mark.parametrize("dollar", ["%24", "$"])
def test_system_properties_are_known_by_their_short_names_escaped_or_not(hub, name, dollar):
    device = hub.connect(name)
    bag = "&".join([f"{dollar}.mid=m%201", f"{dollar}.cid=c", f"{dollar}.uid=u", f"{dollar}.ct=application%2Fjson",
                    f"{dollar}.ce=utf-8", f"{dollar}.sub=part", "iothub-creation-time-utc=2026-01-01T00%3A00%3A00Z"])
    device.acknowledged(device.publish({"t": 1}, bag=bag))
    event, = events(hub, name)
    assert event["system"] == {"message-id": "m 1", "correlation-id": "c", "user-id": "u", "content-type": "application/json",
                               "content-encoding": "utf-8", "dt-subject": "part"}
    assert event["properties"] == {"iothub-creation-time-utc": "2026-01-01T00:00:00Z"}
    device.close()


@claims(SENDING)
def test_properties_are_percent_encoded_and_null_is_not_empty(hub, name):
    device = hub.connect(name)
    device.acknowledged(device.publish({}, bag="p%201=v%2F1%26%3D%C3%BC&plus=a%2Bb&empty=&null"))
    event, = events(hub, name)
    assert event["properties"] == {"p 1": "v/1&=ü", "plus": "a+b", "empty": "", "null": None}
    device.close()


@claims("Learn: Create and read IoT Hub messages – Anti-spoofing properties")
def test_every_event_says_who_sent_it_how_that_was_proven_and_when_it_was_enqueued(hub, name):
    device = hub.connect(name)
    device.acknowledged(device.publish({}, bag="iothub-connection-device-id=somebody-else"))
    event, = events(hub, name)
    annotations = event["annotations"]
    assert annotations["iothub-connection-device-id"] == name
    assert json.loads(annotations["iothub-connection-auth-method"]) == {"scope": "device", "type": "sas", "issuer": "iothub"}
    generation = json.loads(hub.rest("GET", f"/devices/{name}")[2])["generationId"]
    assert annotations["iothub-connection-auth-generation-id"] == generation
    assert annotations["iothub-enqueuedtime"] == event["enqueuedTime"]
    assert annotations["iothub-message-source"] == "Telemetry"
    device.close()


@claims("Learn: Create and read IoT Hub messages – Anti-spoofing properties")
def test_an_event_of_whoever_came_with_a_policys_key_says_so(hub, name):
    string = hub.says("connection-string", "--policy", "device")
    token = sign(f"localhost/devices/{name}", parts(string)["SharedAccessKey"], int(time.time()) + 600, "device")
    device = RawDevice(hub.process, name, token)
    device.acknowledged(device.publish({}))
    event, = events(hub, name)
    assert json.loads(event["annotations"]["iothub-connection-auth-method"])["scope"] == "hub"
    device.close()


@claims("Learn: Communicate with an IoT hub using the MQTT protocol – Using the MQTT protocol directly (as a module)")
def test_a_module_sends_under_its_own_name_and_no_other(hub, name, module):
    module.acknowledged(module.publish({"m": 1}, topic=f"devices/{name}/modules/m/messages/events/a=b"))
    event, = events(hub, name)
    assert (event["module"], event["annotations"]["iothub-connection-module-id"]) == ("m", "m")
    module.publish({}, topic=f"devices/{name}/messages/events/")
    assert module.is_closed()


@claims("MQTT 3.1.1 [MQTT-4.6.0-2]", "MQTT 3.1.1 [MQTT-3.3.4-1]")
def test_messages_are_acknowledged_in_the_order_in_which_they_came(hub, name):
    device = hub.connect(name)
    identifiers = [7, 3, 65535, 1, 2]
    device.send(b"".join(
        packet(0x32, text(f"devices/{name}/messages/events/") + struct.pack(">H", number) + b"{}") for number in identifiers))
    assert [struct.unpack(">H", device.receive(PUBACK))[0] for _ in identifiers] == identifiers
    device.close()


@claims("MQTT 3.1.1 section 4.3.1")
def test_a_message_of_quality_0_is_stored_and_not_acknowledged(hub, name):
    device = hub.connect(name)
    device.send(packet(0x30, text(f"devices/{name}/messages/events/") + b'{"q":0}'))
    device.send(b"\xc0\x00")
    device.receive(13)
    assert not device.has(PUBACK)
    assert events(hub, name)[0]["body"] == {"q": 0}
    device.close()


@claims("MQTT 3.1.1 section 4.3.2")
def test_a_message_that_is_sent_again_is_acknowledged_again(hub, name):
    device = hub.connect(name)
    for first in (0x32, 0x3A):
        device.send(packet(first, text(f"devices/{name}/messages/events/") + b"\x00\x05{}"))
        device.acknowledged(5)
    device.close()


@claims(SENDING)
def test_quality_2_closes_the_connection(hub, name):
    assert closes(hub.connect(name), packet(0x34, text(f"devices/{name}/messages/events/") + b"\x00\x01{}"))


@claims(SENDING)
def test_a_retained_message_is_marked_with_a_property_and_not_retained(hub, name):
    device = hub.connect(name)
    device.send(packet(0x33, text(f"devices/{name}/messages/events/a=b") + b"\x00\x01{}"))
    device.acknowledged(1)
    assert events(hub, name)[0]["properties"] == {"a": "b", "mqtt-retain": "true"}
    device.close()


@claims(SENDING)
@pytest.mark.parametrize("topic", [
    "a", "devices/{}", "devices/{}/messages", "devices/{}/messages/event/", "devices/{}/messages/eventsx",
    "devices/{}x/messages/events/", "devices/{}/modules/m/messages/events/", "devices/{}/messages/devicebound/",
    "$iothub/twin/PUT/?$rid=1", "$iothub/jobs", "$SYS/x", "$iothub/methods/POST/x/?$rid=1", "$iothub/methods/res/abc/?$rid=1",
    "$iothub/twin/GET/", "$dps/registrations/PUT/iotdps-register/",
])
def test_a_topic_that_the_documents_do_not_have_or_another_devices_closes_the_connection(hub, name, topic):
    device = hub.connect(name)
    assert closes(device, packet(0x32, text(topic.format(name)) + b"\x00\x01{}"))


@claims(LIMITS)
def test_a_message_of_256_kilobytes_is_taken_and_one_byte_more_closes_the_connection(hub, name):
    device = hub.connect(name)
    bag = "a=b"
    device.acknowledged(device.publish(b"x" * (262_144 - len(bag)), bag=bag))
    device.publish(b"x" * (262_145 - len(bag)), bag=bag)
    assert device.is_closed()
    assert len(events(hub, name)) == 1


@claims("MQTT 3.1.1 [MQTT-3.3.2-2]", "MQTT 3.1.1 [MQTT-1.5.3-1]", "MQTT 3.1.1 [MQTT-1.5.3-2]", "MQTT 3.1.1 [MQTT-4.7.3-1]")
@pytest.mark.parametrize("topic", [b"devices/#", b"devices/+/x", b"\xc0\x80", b"\xed\xa0\x80", b"a\x00b", b""])
def test_a_topic_that_mqtt_does_not_allow_closes_the_connection(hub, name, topic):
    device = hub.connect(name)
    assert closes(device, packet(0x32, struct.pack(">H", len(topic)) + topic + b"\x00\x01{}"))


@claims("MQTT 3.1.1 [MQTT-2.3.1-1]", "MQTT 3.1.1 [MQTT-3.3.1-4]", "MQTT 3.1.1 [MQTT-2.2.2-2]")
@pytest.mark.parametrize("raw", [
    packet(0x32, text("a") + b"\x00\x00"), packet(0x36, text("a") + b"\x00\x01"), b"\xc1\x00", b"\x00\x00", b"\xf0\x00",
    b"\x32\xff\xff\xff\xff\x01", packet(0x40, b"\x00"), packet(0x20, b"\x00\x00"), packet(0x90, b"\x00\x01\x00")],
    ids=["id-0", "qos-3", "flags-of-pingreq", "type-0", "type-15", "length-of-5-bytes", "puback-of-1-byte", "connack", "suback"])
def test_what_is_no_packet_of_a_client_closes_the_connection(hub, name, raw):
    assert closes(hub.connect(name), raw)


@claims("MQTT 3.1.1 section 4.8")
def test_one_connection_that_breaks_the_rules_disturbs_no_other(hub, name):
    hub.create(name + "-good")
    good, bad = hub.connect(name + "-good"), hub.connect(name)
    assert closes(bad, b"\x00\x00")
    good.acknowledged(good.publish({"still": "here"}))
    good.close()
