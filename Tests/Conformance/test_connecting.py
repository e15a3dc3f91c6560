"""CONNECT and CONNACK, sessions, the end of a connection."""

import base64
import hashlib
import hmac
import struct
import time
import urllib.parse

import pytest

from claims import claims, problems
from clients import ACCEPTED, NOT_AUTHORISED, PUBLISH, Closed, RawDevice, packet, text
from sas import parts
from stage import wait_until

DIRECTLY = "Learn: Communicate with an IoT hub using the MQTT protocol – Using the MQTT protocol directly (as a device)"
TOKENS = "Learn: Control access to IoT Hub with shared access signatures – SAS token structure"
CLOSED = None


def connect(name, user, token, level=4, flags=0xC2, protocol="MQTT", keep_alive=60):
    body = text(protocol) + bytes([level, flags]) + struct.pack(">H", keep_alive) + text(name)
    return packet(0x10, body + (text(user) if user is not None else b"") + (text(token) if token is not None else b""))


def answer(hub, raw):
    """The code of the CONNACK, or CLOSED when there was none; after a refusal the connection is over."""
    device = RawDevice(hub.process, "raw")
    device.send(raw)
    try:
        code = device.receive(2)[1]
    except Closed:
        return CLOSED
    assert code == ACCEPTED or device.is_closed()
    device.close()
    return code


USER_NAMES = [
    "{host}/{name}", "{host}/{name}/", "{host}/{name}/api-version=2016-11-14", "{host}/{name}/?api-version=2021-04-12",
    "{host}/{name}/?api-version=2019-10-01&DeviceClientType=azure-iot-device-iothub-py%2F2.14.0%28Linux%29",
    "{host}/{name}/?api-version=2020-09-30&DeviceClientType=c%2F1.14&model-id=dtmi%3Acom%3Aexample%3AThermostat%3B1",
]


@claims(DIRECTLY)
@pytest.mark.parametrize("form", USER_NAMES)
def test_the_user_name_may_have_any_form_that_sdks_and_documents_have_used(hub, name, form):
    assert answer(hub, connect(name, form.format(host="localhost", name=name), hub.token(name))) == ACCEPTED


@claims(DIRECTLY)
def test_the_hubs_name_is_compared_without_regard_to_case_and_the_devices_with_it(hub, name):
    assert answer(hub, connect(name, f"LocalHost/{name}", hub.token(name))) == ACCEPTED
    other = name.upper()
    assert answer(hub, connect(other, f"localhost/{other}", hub.token(name))) == NOT_AUTHORISED


@claims(DIRECTLY)
def test_the_client_id_is_the_id_of_the_device(hub, name):
    assert answer(hub, connect("another", f"localhost/{name}", hub.token(name))) == NOT_AUTHORISED


@claims("MQTT 3.1.1 [MQTT-3.1.2-2]")
@pytest.mark.parametrize("level", [3, 5, 0, 255])
def test_another_protocol_level_is_answered_with_code_1(hub, name, level):
    assert answer(hub, connect(name, f"localhost/{name}", hub.token(name), level=level)) == 1


@claims("MQTT 3.1.1 [MQTT-3.1.3-8]")
def test_no_client_id_without_a_clean_session_is_answered_with_code_2(hub):
    assert answer(hub, connect("", None, None, flags=0)) == 2


@claims("MQTT 3.1.1 [MQTT-3.2.2-5]", "Learn: Troubleshoot IoT Hub errors – 401003 IoT Hub unauthorized")
@pytest.mark.parametrize("what", ["unknown", "wrong key", "no token", "disabled", "other device's token"])
def test_whoever_may_not_connect_is_answered_with_code_5_and_closed(hub, name, what):
    token, who = hub.token(name), name
    if what == "unknown":
        who = "nobody-knows"
    elif what == "wrong key":
        token = token.replace("sig=", "sig=AAAA")
    elif what == "no token":
        token = ""
    elif what == "disabled":
        hub.switch(name, "disabled")
    else:
        who = name + "-b"
        hub.create(who)
    assert answer(hub, connect(who, f"localhost/{who}", token)) == NOT_AUTHORISED


def resigned(resource, key, order="sr sig se"):
    """A token over the resource text exactly as it stands."""
    expiry = int(time.time()) + 600
    signature = base64.b64decode(key)
    digest = hmac.new(signature, f"{resource}\n{expiry}".encode(), hashlib.sha256).digest()
    fields = {"sr": resource, "sig": urllib.parse.quote(base64.b64encode(digest), safe=""), "se": str(expiry)}
    return "SharedAccessSignature " + "&".join(f"{field}={fields[field]}" for field in order.split())


@claims(TOKENS)
@pytest.mark.parametrize("form, order", [
    ("localhost%2Fdevices%2F{}", "sr sig se"), ("localhost%2fdevices%2f{}", "se sr sig"), ("localhost/devices/{}", "sig se sr"),
    ("LOCALHOST/devices/{}", "sr sig se"), ("localhost%3A443%2Fdevices%2F{}", "sr sig se"), ("localhost/devices", "sr sig se"),
    ("localhost", "sr sig se"), ("https://localhost/devices/{}", "sr sig se"),
])
def test_a_token_is_signed_over_its_resource_as_it_was_sent_in_any_order_of_fields(hub, name, form, order):
    key = parts(hub.stage.device_string(name, data=hub.process.data))["SharedAccessKey"]
    assert answer(hub, connect(name, f"localhost/{name}", resigned(form.format(name), key, order))) == ACCEPTED


@claims(TOKENS)
@pytest.mark.parametrize("form", [
    "localhost/devices/{name}x", "localhost/devices/{cut}", "localhost/devices/{name}/modules/m", "other.example/devices/{name}",
    "local"])
def test_a_token_covers_whole_segments_of_its_own_resource_only(hub, name, form):
    key = parts(hub.stage.device_string(name, data=hub.process.data))["SharedAccessKey"]
    resource = form.format(name=name, cut=name[:-1])
    assert answer(hub, connect(name, f"localhost/{name}", resigned(resource, key))) == NOT_AUTHORISED


@claims("MQTT 3.1.1 [MQTT-3.1.0-1]")
@pytest.mark.parametrize("first", [
    b"\xc0\x00", b"\xe0\x00", packet(0x30, text("t")), packet(0x82, b"\x00\x01" + text("t") + b"\x00")])
def test_any_other_first_packet_closes_the_connection_without_an_answer(hub, first):
    assert answer(hub, first) is CLOSED


@claims("MQTT 3.1.1 [MQTT-3.1.0-2]")
def test_a_second_connect_closes_the_connection(hub, name):
    device = hub.connect(name)
    device.send(connect(name, f"localhost/{name}", hub.token(name)))
    assert device.is_closed()


@claims("MQTT 3.1.1 [MQTT-3.1.2-3]", "MQTT 3.1.1 [MQTT-3.1.2-22]", "MQTT 3.1.1 [MQTT-3.1.2-14]")
@pytest.mark.parametrize("flags", [0xC3, 0x42, 0xDE], ids=["reserved", "password-without-user", "will-qos-3"])
def test_flags_that_may_not_be_close_the_connection(hub, name, flags):
    assert answer(hub, connect(name, f"localhost/{name}", hub.token(name), flags=flags)) is CLOSED


@claims("MQTT 3.1.1 [MQTT-3.1.4-2]",
        "Learn: Troubleshoot IoT Hub errors – 400027 Connection forcefully closed on new connection")
def test_a_second_connection_of_the_same_identity_ends_the_first(hub, name):
    first = hub.connect(name)
    second = hub.connect(name)
    assert first.is_closed()
    second.acknowledged(second.publish({"n": 1}))
    assert hub.device_events(name)[-1]["kind"] == "taken-over"
    second.close()


@claims("MQTT 3.1.1 [MQTT-3.12.4-1]")
def test_a_ping_is_answered(hub, name):
    device = hub.connect(name)
    device.send(b"\xc0\x00")
    assert device.receive(13) == b""
    device.close()


def log_in(hub, name, clean):
    device = RawDevice(hub.process, name)
    assert device.login(hub.token(name), clean=clean) == ACCEPTED
    return device


@claims("MQTT 3.1.1 [MQTT-3.2.2-2]", "MQTT 3.1.1 [MQTT-3.2.2-3]", "MQTT 3.1.1 [MQTT-3.1.2-6]")
def test_a_session_is_present_when_one_was_kept_and_a_clean_one_discards_it(hub, name):
    present = []
    for clean in (False, False, True, False):
        device = log_in(hub, name, clean)
        present.append(device.session_present)
        device.subscribe("$iothub/methods/POST/#", qos=0)
        device.close()
    # The fourth finds what the clean one left: nothing.
    assert present == [0, 1, 0, 0]


@claims("MQTT 3.1.1 [MQTT-3.1.2-5]",
        "Learn: Communicate with an IoT hub using the MQTT protocol – Receiving cloud-to-device messages")
def test_a_kept_session_receives_what_came_meanwhile_without_subscribing_again(hub, name):
    device = log_in(hub, name, clean=False)
    device.subscribe(f"devices/{name}/messages/devicebound/#")
    device.close()
    wait_until("its end", lambda: hub.device_events(name)[-1]["kind"] == "disconnected")
    hub.says("device", "send", name, "meanwhile")
    device = log_in(hub, name, clean=False)
    assert device.receive(PUBLISH).endswith(b"meanwhile")
    device.close()


@claims("MQTT 3.1.1 [MQTT-3.1.2-8]", "MQTT 3.1.1 [MQTT-3.14.4-3]", DIRECTLY)
@pytest.mark.parametrize("says_goodbye", [False, True])
def test_a_will_becomes_telemetry_marked_as_such_when_the_device_leaves_without_goodbye(hub, name, says_goodbye):
    device = RawDevice(hub.process, name)
    body = text("MQTT") + bytes([4, 0xC6, 0, 60]) + text(name) + text(f"devices/{name}/messages/events/a=b")
    device.send(packet(0x10, body + text('{"gone":true}') + text(f"localhost/{name}") + text(hub.token(name))))
    assert device.receive(2)[1] == ACCEPTED
    if says_goodbye:
        device.send(b"\xe0\x00")
    device.close()
    wait_until("its end", lambda: hub.device_events(name)[-1:] and hub.device_events(name)[-1]["kind"] == "disconnected")
    if says_goodbye:
        assert hub.bodies(name) == []
        return
    wait_until("the will", lambda: hub.bodies(name) == [{"gone": True}])
    event, = [event for event in hub.events() if event["device"] == name]
    assert event["properties"] == {"a": "b", "iothub-MessageType": "Will"}


@claims(DIRECTLY)
def test_a_will_on_any_other_topic_is_refused(hub, name):
    device = RawDevice(hub.process, name)
    body = text("MQTT") + bytes([4, 0xC6, 0, 60]) + text(name) + text("a/b") + text("gone") + text(f"localhost/{name}")
    device.send(packet(0x10, body + text(hub.token(name))))
    assert device.receive(2)[1] == NOT_AUTHORISED


@claims("Learn: Understand the identity registry in your IoT hub – Disable devices")
@pytest.mark.parametrize("how", ["disabled", "deleted"])
def test_whoever_is_taken_out_of_the_registry_is_cut_off_at_once_with_its_modules(hub, name, module, how):
    device = hub.connect(name)
    if how == "disabled":
        hub.switch(name, "disabled")
    else:
        assert hub.rest("DELETE", f"/devices/{name}", **{"If-Match": "*"})[0] == 204
    assert device.is_closed() and module.is_closed()


@claims("MQTT 3.1.1 section 3.14.4")
def test_a_goodbye_closes_the_connection_without_another_word(hub, name):
    device = hub.connect(name)
    device.send(b"\xe0\x00")
    assert device.is_closed()


@claims("CONTRIBUTING: The conformance folder")
def test_a_scenario_without_citation_or_with_the_claim_of_another_is_refused():

    assert problems([("a.py::test_x", ["RFC 6455 section 5.1"]), ("a.py::test_y", [DIRECTLY])]) == []
    assert problems([("a.py::test_x", [])]) == ["a.py::test_x cites nothing; put @claims(...) above it"]
    assert "no public text" in problems([("a.py::test_x", ["the wire reference"])])[0]
    twice = [("a.py::test_x", [DIRECTLY]), ("b.py::test_x", [DIRECTLY])]
    assert problems(twice) == ["b.py::test_x claims the same as a.py::test_x"]
