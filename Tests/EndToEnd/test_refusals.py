"""Whoever is refused: why stands in the hub's log, and in `cloud-hub device events` of the device that it concerns."""

import contextlib
import http.client
import json
import socket
import ssl
import struct
import subprocess
import threading

import pytest

from certificates import made
from clients import ACCEPTED, NOT_AUTHORISED, Closed, RawDevice, packet, text, trusting, wait_line
from sas import device_token
from services import HTTPSHub
from stage import Stage, wait_until

LIMITS = """
[limits]
connect_timeout = "3s"
handshake_timeout = "3s"
[throttles]
device_telemetry = "20/s"
device_connections = "3/h"
device_twin_reads = "2/h"
device_twin_updates = "6/h"
device_file_uploads = "4/h"
"""
API = "api-version=2021-04-12"
BATCH = "application/vnd.microsoft.iothub.json"


class Refusing(HTTPSHub):
    """A hub whose limits are within reach."""

    def told(self, name, kind, reason):
        """The entry of the device's journal; once it is there the log has its line too."""
        def found():
            for event in self.device_events(name):
                if event["kind"] == kind and reason in event["reason"]:
                    return event
            return None
        return wait_until(f"{kind} of {name}: {reason}", found)


@pytest.fixture(scope="module")
def hub(programs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    config = folder / "hub.toml"
    config.write_text(LIMITS)
    with Stage(programs, folder) as stage:
        yield Refusing(stage, ("--config", config))


def knock(hub, name, token=None, **options):
    device = RawDevice(hub.process, name, **options)
    device.login(token)
    return device


# -- ways to be refused: each has its own device, which is there and connected where it says so

def no_credentials(hub, name):
    assert knock(hub, name).code == NOT_AUTHORISED


def wrong_key(hub, name):
    string = hub.stage.device_string(name, data=hub.process.data)
    assert knock(hub, name, device_token(string, key="AAAA")).code == NOT_AUTHORISED


def expired(hub, name):
    string = hub.stage.device_string(name, data=hub.process.data)
    assert knock(hub, name, device_token(string, lifetime=-60)).code == NOT_AUTHORISED


def no_token(hub, name):
    assert knock(hub, name, "nonsense").code == NOT_AUTHORISED


def other_hub(hub, name):
    device = RawDevice(hub.process, name)
    user = f"other.example/{name}/?{API}"
    body = text("MQTT") + bytes([4, 0xC2, 0, 60]) + text(name) + text(user) + text(hub.token(name))
    device.send(packet(0x10, body))
    assert device.receive(2)[1] == NOT_AUTHORISED


def user_name_of_another(hub, name):
    device = RawDevice(hub.process, name)
    body = text("MQTT") + bytes([4, 0xC2, 0, 60]) + text(name) + text(f"localhost/somebody/?{API}") + text(hub.token(name))
    device.send(packet(0x10, body))
    assert device.receive(2)[1] == NOT_AUTHORISED


def will_elsewhere(hub, name):
    device = RawDevice(hub.process, name)
    user = f"localhost/{name}/?{API}"
    body = text("MQTT") + bytes([4, 0xC6, 0, 60]) + text(name) + text("some/topic") + text("gone") + text(user)
    device.send(packet(0x10, body + text(hub.token(name))))
    assert device.receive(2)[1] == NOT_AUTHORISED


def disabled_before(hub, name):
    token = hub.token(name)
    hub.switch(name, "disabled")
    assert knock(hub, name, token).code == NOT_AUTHORISED


def certificate_without_right(hub, name):
    certificate = made(hub.stage.folder / "certificates", name)
    assert knock(hub, name, context=trusting(hub.process, certificate)).code == NOT_AUTHORISED


def too_many_connections(hub, name):
    for _ in range(3):
        hub.connect(name).close()
    assert knock(hub, name, hub.token(name)).code == 3


def closed_after(send):
    """A way to be cut off: what a connected device does last."""
    def provoke(hub, name):
        device = hub.connect(name)
        send(hub, device)
        with pytest.raises(Closed):
            while True:
                device._next()
        device.close()
    return provoke


def publish(topic, first=0x32, body=b"x"):
    return lambda _hub, device: device.send(
        packet(first, text(topic.format(device.name)) + (b"\x00\x01" if first & 6 else b"") + body))


def raw(bytes_):
    return lambda _hub, device: device.send(bytes_)


def keep_alive(hub, name):
    assert hub.connect(name, keep_alive=1).is_closed()


def twice(hub, name):
    first = hub.connect(name)
    second = hub.connect(name)
    assert first.is_closed()
    second.close()


def token_ends(hub, name):
    string = hub.stage.device_string(name, data=hub.process.data)
    device = knock(hub, name, device_token(string, lifetime=2))
    assert device.code == ACCEPTED and device.is_closed()


def connected_then(change):
    def provoke(hub, name):
        device = hub.connect(name)
        change(hub, name)
        assert device.is_closed()
    return provoke


def fresh_keys(hub, name):
    body = json.loads(hub.rest("GET", f"/devices/{name}")[2])
    body["authentication"] = {"type": "sas", "symmetricKey": {"primaryKey": "A" * 43 + "=", "secondaryKey": "B" * 43 + "="}}
    assert hub.rest("PUT", f"/devices/{name}", body, **{"If-Match": "*"})[0] == 200


def filter_of_nobody(hub, name):
    assert hub.connect(name).subscribe("everything/#") == 0x80


def twin(topic, body, status):
    def provoke(hub, name):
        device = hub.connect(name)
        device.subscribe("$iothub/twin/res/#", qos=0)
        device.publish(body, topic=topic)
        assert device.message()[0].startswith(f"$iothub/twin/res/{status}/?$rid=1")
        device.close()
    return provoke


def twin_too_often(hub, name):
    device = hub.connect(name)
    device.subscribe("$iothub/twin/res/#", qos=0)
    for status in (200, 200, 429):
        device.publish(b"", topic="$iothub/twin/GET/?$rid=1")
        assert device.message()[0].startswith(f"$iothub/twin/res/{status}/")


def telemetry_too_often(hub, name):
    device = hub.connect(name)
    for packet_id in [device.publish({"n": number}) for number in range(60)]:
        device.acknowledged(packet_id)


def bad_batch(hub, name):
    device = hub.connect(name)
    device.acknowledged(device.publish(b"no batch", bag="%24.ct=application%2Fvnd.fieldline.batch%2Bjson"))


def foreign_child(hub, name):
    hub.create(f"{name}-not-its-own")
    device = hub.connect(name)
    device.subscribe(f"$fieldline/+/$iothub/twin/res/#", qos=0)
    device.publish(b"", topic=f"$fieldline/{name}-not-its-own/$iothub/twin/GET/?$rid=1")
    assert "/404/" in device.message()[0]


def method_answer(answer, status):
    def provoke(hub, name):
        device = hub.connect(name)
        device.subscribe("$iothub/methods/POST/#", qos=0)
        found = []
        caller = threading.Thread(target=lambda: found.append(hub.rest(
            "POST", f"/twins/{name}/methods", {"methodName": "m", "responseTimeoutInSeconds": 30})[0]))
        caller.start()
        rid = device.message()[0].rpartition("=")[2]
        device.acknowledged(device.publish(answer, topic=f"$iothub/methods/res/200/?$rid={rid}"))
        caller.join()
        assert found == [status]
    return provoke


def late_method_answer(hub, name):
    device = hub.connect(name)
    device.acknowledged(device.publish(b"{}", topic="$iothub/methods/res/200/?$rid=4711"))


def https(method, path, status, body=None, headers=None, token=True):
    def provoke(hub, name):
        found = hub.call(method, path.format(name), hub.token(name) if token is True else token, body, headers)
        assert found[0] == status, found
    return provoke


def without_version(hub, name):
    connection = http.client.HTTPSConnection("localhost", hub.process.https, context=trusting(hub.process), timeout=20)
    connection.request("POST", f"/devices/{name}/messages/events", b"x", {"Authorization": hub.token(name)})
    assert connection.getresponse().status == 400
    connection.close()


def uploads_too_often(hub, name):
    for status in (200, 200, 200, 200, 429):
        https("POST", "/devices/{}/files", status, b'{"blobName":"a"}')(hub, name)


def web_socket(hub, name, frame):
    """MQTT by WebSocket, then one bad frame."""
    plain = socket.create_connection(("127.0.0.1", hub.process.https), 20)
    peer = trusting(hub.process).wrap_socket(plain, server_hostname="localhost")
    peer.sendall(b"GET /$iothub/websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")
    stream = peer.makefile("rb")
    while stream.readline() != b"\r\n":
        pass
    user = f"localhost/{name}/?{API}"
    connect = packet(0x10, text("MQTT") + bytes([4, 0xC2, 0, 60]) + text(name) + text(user) + text(hub.token(name)))
    peer.sendall(b"\x82" + (b"\xfe" + struct.pack(">H", len(connect))) + bytes(4) + connect)
    assert stream.read(6) == b"\x82\x04\x20\x02\x00\x00"
    peer.sendall(frame)
    assert stream.read()[:1] == b"\x88"
    peer.close()


def shown_in_a_broken_handshake(port):
    """A certificate of the device's name that TLS itself does not take: its key may only encipher."""
    def provoke(hub, name):
        folder = hub.stage.folder / "certificates"
        folder.mkdir(exist_ok=True)
        key, certificate = folder / f"{name}-key.pem", folder / f"{name}.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
             "-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyAgreement", "-keyout", key, "-out", certificate],
            check=True, capture_output=True)
        context = ssl.create_default_context(cafile=str(hub.process.ca))
        # From 1.3 on the certificate is not known any more when it is refused.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, key)
        plain = socket.create_connection(("127.0.0.1", getattr(hub.process, port)), 20)
        with pytest.raises((ssl.SSLError, OSError)):
            context.wrap_socket(plain, server_hostname="localhost").recv(1)
    return provoke


EVENTS = "/devices/{}/messages/events"
# What happens, how the journal calls it, what it says of it, what the log says before the reason.
ROWS = {
    "no-credentials": (no_credentials, "refused", "sent neither a token nor a client certificate", "a device was refused"),
    "wrong-key": (wrong_key, "refused", "signed with neither of its two keys", "a device was refused"),
    "expired-token": (expired, "refused", "expired 1 min 0 s before the hub's clock", "a device was refused"),
    "no-token": (no_token, "refused", "is no SAS token", "a device was refused"),
    "other-hub": (other_hub, "refused", "asked for the hub 'other.example'", "a device was refused"),
    "two-names": (user_name_of_another, "refused", "is not the identity of its user name", "a device was refused"),
    "will-elsewhere": (will_elsewhere, "refused", "is not the device's events topic", "a device was refused"),
    "disabled-before": (disabled_before, "refused", "is disabled", "a device was refused"),
    "certificate-without-right": (
        certificate_without_right, "refused", "is registered with symmetric keys", "a device was refused"),
    "handshake-8883": (
        shown_in_a_broken_handshake("mqtt"), "refused", "not meant for a client by its key usage", "a TLS handshake failed"),
    "handshake-443": (
        shown_in_a_broken_handshake("https"), "refused", "not meant for a client by its key usage", "a TLS handshake failed"),
    "too-many-connections": (too_many_connections, "throttled", "one device may do 3/h connections", "a device was refused"),
    "unknown-topic": (closed_after(publish("a/b")), "disconnected", "the hub has no such topic", "connection closed"),
    "foreign-topic": (
        closed_after(publish("devices/other/messages/events/")), "disconnected", "it belongs to device 'other'",
        "connection closed"),
    "qos-2": (closed_after(publish("devices/{}/messages/events/", 0x34)), "disconnected", "QoS 2", "connection closed"),
    "oversize": (
        closed_after(publish("devices/{}/messages/events/", body=bytes(262_145))), "disconnected", "the most is 262144",
        "connection closed"),
    "over-the-packet-limit": (
        closed_after(raw(b"\x32\xff\xff\xff\x7f")), "disconnected", "at most 327696 are allowed",
        "connection closed"),
    "malformed": (closed_after(raw(b"\x00\x00")), "disconnected", "the device broke the MQTT protocol", "connection closed"),
    "second-connect": (
        closed_after(lambda hub, device: device.send(
            packet(0x10, text("MQTT") + bytes([4, 2, 0, 60]) + text(device.name)))),
        "disconnected", "the device broke the MQTT protocol", "connection closed"),
    "bad-filter": (
        closed_after(raw(packet(0x82, b"\x00\x01" + text("a/#/b") + b"\x01"))), "disconnected",
        "the device broke the MQTT protocol", "connection closed"),
    "bad-request-id": (
        closed_after(publish("$iothub/twin/GET/")), "disconnected", "the request id is missing", "connection closed"),
    "keep-alive": (keep_alive, "disconnected", "nothing was heard", "connection closed"),
    "taken-over": (twice, "taken-over", "the same identity connected again", "connection closed"),
    "token-ends": (token_ends, "disconnected", "the SAS token expired", "connection closed"),
    "disabled": (
        connected_then(lambda hub, name: hub.switch(name, "disabled")), "disconnected", "the device was disabled",
        "connection closed"),
    "keys-exchanged": (connected_then(fresh_keys), "disconnected", "credentials were changed", "connection closed"),
    "deleted": (
        connected_then(lambda hub, name: hub.says("device", "delete", name)), "disconnected", "the device was removed",
        "connection closed"),
    "unknown-filter": (filter_of_nobody, "denied", "there; check it against IoT Hub's MQTT filters", "a subscription was refused"),
    "twin-no-json": (
        twin("$iothub/twin/PATCH/properties/reported/?$rid=1", b"{", 400), "denied", "the reported patch is no JSON",
        "a device's request was refused"),
    "twin-bad-key": (
        twin("$iothub/twin/PATCH/properties/reported/?$rid=1", b'{"a.b":1}', 400), "denied",
        "has a character that keys cannot have", "a device's request was refused"),
    "twin-other-version": (
        twin("$iothub/twin/PATCH/properties/reported/?$rid=1&$version=9", b"{}", 412), "denied",
        "have version 1, not 9", "a device's request was refused"),
    "twin-too-often": (twin_too_often, "throttled", "one device may do 2/h twin reads", "a device was throttled"),
    "telemetry-too-often": (
        telemetry_too_often, "throttled", "one device may do 20/s telemetry messages", "a device was throttled"),
    "bad-batch": (bad_batch, "quarantined", "the batch cannot be read", "records were quarantined"),
    "foreign-child": (foreign_child, "denied", "is not its child", "a gateway asked"),
    "method-answer-no-json": (method_answer(b"{", 400), "denied", "answered with status 200 and no JSON", "request was refused"),
    "method-answer-too-long": (
        method_answer(b'"' + b"x" * 131_072 + b'"', 413), "denied", "at most 131072 are taken", "request was refused"),
    "method-answer-late": (late_method_answer, "denied", "nobody waits for it", "request was refused"),
    "https-no-token": (
        https("POST", EVENTS, 401, b"x", token=None), "refused", "sent neither a token nor", "a device was refused"),
    "https-wrong-token": (
        https("POST", EVENTS, 401, b"x", token="nonsense"), "refused", "is no SAS token", "a device was refused"),
    "https-unknown-route": (
        https("PUT", "/devices/{}/messages/nowhere", 400), "denied", "is nothing this hub does", "a device was refused"),
    "https-no-version": (without_version, "denied", "the query has no api-version", "a device was refused"),
    "https-too-long": (
        https("POST", EVENTS, 413, bytes(262_145)), "denied", "larger than 262144 bytes", "a device was refused"),
    "https-bad-batch": (
        https("POST", EVENTS, 400, b"[", {"Content-Type": BATCH}), "denied", "refused with 400", "a device was refused"),
    "https-lost-lock": (
        https("DELETE", "/devices/{}/messages/deviceBound/nonsense", 412), "denied", "is no lock of this hub",
        "a device was refused"),
    "https-too-often": (
        lambda hub, name: [https("POST", EVENTS, status, json.dumps([{"body": "MQ=="}] * 20).encode(), {"Content-Type": BATCH})(
            hub, name) for status in (204, 429)],
        "throttled", "one device may do 20/s telemetry messages", "a device was throttled"),
    "upload-no-token": (
        https("POST", "/devices/{}/files", 401, b"{}", token=None), "refused", "sent neither a token nor", "a device was refused"),
    "upload-no-name": (https("POST", "/devices/{}/files", 400, b"{}"), "denied", "blobName is missing", "a device was refused"),
    "upload-no-json": (https("POST", "/devices/{}/files", 400, b"{"), "denied", "body is no JSON", "a device was refused"),
    "upload-bad-id": (
        https("POST", "/devices/{}/files/notifications", 400, b'{"correlationId":"x","isSuccess":true}'), "denied",
        "refused with 400", "a device was refused"),
    "upload-too-often": (uploads_too_often, "throttled", "one device may do 4/h file uploads", "a device was throttled"),
    "web-socket": (
        lambda hub, name: web_socket(hub, name, b"\x82\x01x"), "disconnected", "in its WebSocket a frame is not masked",
        "connection closed"),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_refusal_is_explained_in_the_log_and_in_the_devices_events(hub, name):
    provoke, kind, reason, headline = ROWS[name]
    hub.create(name, *(["--gateway"] if name in ("foreign-child", "bad-batch") else []))
    provoke(hub, name)
    event = hub.told(name, kind, reason)
    assert event["device"] == name
    # Nothing that anybody may do in the device's name is told as if it had done it itself.
    assert event["proven"] == (kind != "refused" and name != "https-unknown-route")
    named = [] if headline == "a TLS handshake failed" else [f"={name}"]
    wait_line(hub.process, headline, reason, *named)


# Nobody has said who he is: the log alone has these.
STRANGERS = {
    "no-tls": ("mqtt", b"GET / HTTP/1.1\r\n\r\n", None, "a TLS handshake failed", "what came is no TLS"),
    "no-connect": ("mqtt", b"\xc0\x00", trusting, "connection closed", "the device broke the MQTT protocol"),
    "no-http": ("https", b"\x00\x01\x02\x03\r\n\r\n", trusting, "an HTTP request was refused", "what came is no HTTP request"),
    "no-upgrade": (
        "https", b"GET /$iothub/websocket HTTP/1.1\r\nHost: localhost\r\n\r\n", trusting, "a WebSocket was refused",
        "this path is for WebSocket"),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_whoever_has_said_no_name_is_refused_with_a_reason_in_the_log(stage, name):
    hub = Refusing(stage)
    port, first, context, headline, reason = STRANGERS[name]
    peer = socket.create_connection(("127.0.0.1", getattr(hub.process, port)), 20)
    if context:
        peer = context(hub.process).wrap_socket(peer, server_hostname="localhost")
    peer.sendall(first)
    with contextlib.suppress(OSError):
        while peer.recv(4096):
            pass
    peer.close()
    wait_line(hub.process, headline, reason, "127.0.0.1")


def test_nobody_writes_a_line_of_his_own_into_the_log(hub):
    for place, sneaky in enumerate(("x\n2026-01-01T00:00:00+0000 info hub: all is well", "\x1b[2Jcleared", "a\u2028b\rc")):
        name = f"forger-{place}-{sneaky}"
        assert knock(hub, name).code == NOT_AUTHORISED
        line = hub.log("a device was refused", f"forger-{place}-")
        assert "\x1b" not in line and "\u2028" not in line and "\ufffd" in line
    assert hub.call("PUT", "/devices/forged/messages/a%0Ab", None)[0] == 400
    hub.log("is nothing this hub does", "a\ufffdb")
    assert not any(line.startswith("2026-01-01") for line in hub.process.log_path.read_text().splitlines())


def test_strangers_cannot_push_out_what_a_device_itself_did(hub):
    hub.create("besieged")
    hub.connect("besieged").send(b"\xe0\x00")
    hub.told("besieged", "disconnected", "the device disconnected")
    for number in range(60):
        # Ever another reason, or it would be one entry with a count.
        knock(hub, "besieged", "nonsense" if number % 2 else None).close()
    events = hub.device_events("besieged")
    assert len([event for event in events if not event["proven"]]) == 16
    assert any(event["kind"] == "disconnected" for event in events)
    line = next(line for line in hub.says("device", "events", "besieged").splitlines() if "refused" in line)
    assert "refused from 127.0.0.1, who did not prove who it is" in line
