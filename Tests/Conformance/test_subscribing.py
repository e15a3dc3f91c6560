"""SUBSCRIBE and UNSUBSCRIBE."""

import struct

import pytest

from claims import claims
from clients import SUBACK, packet, text

RECEIVING = "Learn: Communicate with an IoT hub using the MQTT protocol – Receiving cloud-to-device messages"
AS_MODULE = "Learn: Communicate with an IoT hub using the MQTT protocol – Using the MQTT protocol directly (as a module)"
FILTERS = [
    "devices/{}/messages/devicebound/#", "$iothub/methods/POST/#", "$iothub/twin/res/#", "$iothub/twin/PATCH/properties/desired/#"]


def subscribe(device, *requests, packet_id=9):
    body = struct.pack(">H", packet_id) + b"".join(text(filter) + bytes([qos]) for filter, qos in requests)
    device.send(packet(0x82, body))
    answer = device.receive(SUBACK)
    assert answer[:2] == struct.pack(">H", packet_id)
    return list(answer[2:])


@claims(RECEIVING)
@pytest.mark.parametrize("filter", FILTERS)
def test_every_documented_filter_is_granted_at_quality_0_and_1_and_2_as_1(hub, name, filter):
    device = hub.connect(name)
    assert [subscribe(device, (filter.format(name), qos))[0] for qos in (0, 1, 2)] == [0, 1, 1]
    device.close()


@claims(AS_MODULE)
@pytest.mark.parametrize("filter", [
    "devices/{}/modules/m/inputs/#", "devices/{}/modules/m/#", "$iothub/methods/POST/#", "$iothub/twin/res/#",
    "$iothub/twin/PATCH/properties/desired/#"])
def test_a_module_has_the_same_filters_and_its_inputs(name, module, filter):
    assert subscribe(module, (filter.format(name), 1)) == [1]
    assert subscribe(module, (f"devices/{name}/messages/devicebound/#", 1)) == [0x80], "that is its device's"


@claims("MQTT 3.1.1 [MQTT-3.8.4-4]", "MQTT 3.1.1 [MQTT-3.8.4-5]", "MQTT 3.1.1 [MQTT-3.9.3-1]")
def test_each_filter_of_a_request_has_its_code_in_its_place_and_what_is_unknown_has_0x80(hub, name):
    device = hub.connect(name)
    codes = subscribe(
        device, ("$iothub/methods/POST/#", 1), ("everything/#", 1), ("#", 0), ("devices/other/messages/devicebound/#", 1),
        ("$iothub/twin/res/#", 0))
    assert codes == [1, 0x80, 0x80, 0x80, 0]
    device.acknowledged(device.publish({"still": "here"}))
    device.close()


@claims("MQTT 3.1.1 [MQTT-3.10.4-4]", "MQTT 3.1.1 [MQTT-3.10.4-5]", "MQTT 3.1.1 [MQTT-3.10.4-2]")
def test_unsubscribing_is_acknowledged_also_for_what_was_not_there_and_ends_what_was(hub, name):
    device = hub.connect(name)
    subscribe(device, ("$iothub/twin/PATCH/properties/desired/#", 0))
    device.send(packet(0xA2, b"\x00\x04" + text("$iothub/twin/PATCH/properties/desired/#") + text("never/there")))
    assert device.receive(11) == b"\x00\x04"
    assert hub.rest("PATCH", f"/twins/{name}", {"properties": {"desired": {"a": 1}}})[0] == 200
    device.send(b"\xc0\x00")
    device.receive(13)
    assert not device.has(3), "no push came before the answer to the ping"
    device.close()


@claims("MQTT 3.1.1 [MQTT-3.8.3-3]", "MQTT 3.1.1 [MQTT-3.10.3-2]", "MQTT 3.1.1 [MQTT-3.8.1-1]", "MQTT 3.1.1 [MQTT-3.8.3-4]")
@pytest.mark.parametrize("raw", [
    packet(0x82, b"\x00\x01"), packet(0xA2, b"\x00\x01"), packet(0x80, b"\x00\x01" + text("a") + b"\x00"),
    packet(0x82, b"\x00\x01" + text("a") + b"\x03"), packet(0x82, b"\x00\x00" + text("a") + b"\x00")],
    ids=["no-filter", "nothing-to-unsubscribe", "flags", "qos-3", "id-0"])
def test_a_malformed_subscribe_or_unsubscribe_closes_the_connection(hub, name, raw):
    device = hub.connect(name)
    device.send(raw)
    assert device.is_closed()


@claims("MQTT 3.1.1 [MQTT-4.7.1-2]", "MQTT 3.1.1 [MQTT-4.7.1-3]")
@pytest.mark.parametrize("filter", ["a/#/b", "a#", "a/b+", "+a"])
def test_a_filter_with_wildcards_where_they_may_not_be_closes_the_connection(hub, name, filter):
    device = hub.connect(name)
    device.send(packet(0x82, b"\x00\x01" + text(filter) + b"\x00"))
    assert device.is_closed()
