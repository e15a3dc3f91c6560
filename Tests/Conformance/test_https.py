"""The HTTPS port: the device API, WebSocket, ALPN, and how errors are told."""

import base64
import hashlib
import http.client
import json
import socket
import struct

import pytest

from claims import claims
from clients import packet, text, trusting


SEND = "REST: Device - Send Device Event"
ERRORS = "Learn: Troubleshoot IoT Hub errors – Service error codes"
PATH = "/devices/{}/messages/events"


def events(hub, name):
    return [event for event in hub.events() if event["device"] == name]


@claims(SEND)
def test_an_event_is_answered_204_and_its_headers_become_properties(hub, name):
    answer = hub.call("POST", PATH.format(name), hub.token(name), b'{"t":1}', {
        "IoTHub-MessageId": "m", "IoTHub-CorrelationId": "c", "IoTHub-UserId": "u", "iothub-contenttype": "application/json",
        "iothub-contentencoding": "utf-8", "iothub-app-Line": "a b"})
    assert (answer[0], answer[2]) == (204, b"")
    event, = events(hub, name)
    assert event["system"] == {"message-id": "m", "correlation-id": "c", "user-id": "u", "content-type": "application/json",
                               "content-encoding": "utf-8"}
    assert (event["properties"], event["body"]) == ({"Line": "a b"}, {"t": 1})
    assert event["annotations"]["iothub-message-source"] == "Telemetry"
    assert json.loads(event["annotations"]["iothub-connection-auth-method"]) == {
        "scope": "device", "type": "sas", "issuer": "iothub"}


@claims(SEND)
def test_a_batch_is_one_event_for_each_of_its_messages_all_or_none(hub, name):
    kind = {"Content-Type": "application/vnd.microsoft.iothub.json"}
    batch = [{"body": base64.b64encode(b"1").decode()}, {"body": "2", "base64Encoded": False, "properties": {"iothub-app-p": "q"}}]
    assert hub.call("POST", PATH.format(name), hub.token(name), json.dumps(batch).encode(), kind)[0] == 204
    batch.append({"body": 3})
    assert hub.call("POST", PATH.format(name), hub.token(name), json.dumps(batch).encode(), kind)[0] == 400
    assert [event["body"] for event in events(hub, name)] == [1, 2]


@claims("Learn: IoT Hub quotas and throttling – Other limits", ERRORS)
def test_an_event_over_256_kilobytes_is_answered_413(hub, name):
    status, headers, _ = hub.call("POST", PATH.format(name), hub.token(name), bytes(262_145))
    assert (status, headers["iothub-errorcode"]) == (413, "MessageTooLarge")
    assert hub.call("POST", PATH.format(name), hub.token(name), bytes(262_144))[0] == 204


@claims(ERRORS)
@pytest.mark.parametrize("version", [None, "2016-11-14", "2019-10-01", "2020-03-13", "2021-04-12"])
def test_a_request_says_which_version_of_the_interface_it_means(hub, name, version):
    connection = http.client.HTTPSConnection("localhost", hub.process.https, context=trusting(hub.process), timeout=20)
    connection.request("POST", PATH.format(name) + (f"?api-version={version}" if version else ""), b"x",
                       {"Authorization": hub.token(name)})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["iothub-errorcode"]) == ((204, None) if version else (400, "InvalidProtocolVersion"))
    connection.close()


ERROR_ROWS = [
    ("GET", "/devices/nobody-knows", None, 404, "DeviceNotFound"),
    ("GET", "/devices/{}/modules/none", None, 404, "ModuleNotFound"),
    ("GET", "/twins/nobody-knows", None, 404, "DeviceNotFound"),
    ("PUT", "/devices/{}", {"deviceId": "{}"}, 409, "DeviceAlreadyExists"),
    ("PUT", "/devices/{}-b", {"deviceId": "other"}, 400, "ArgumentInvalid"),
    ("PATCH", "/twins/{}", {"tags": 1}, 400, "ArgumentInvalid"), ("POST", "/twins/{}/methods", {}, 400, "ArgumentInvalid"),
]


@claims(ERRORS)
@pytest.mark.parametrize("row", ERROR_ROWS, ids=lambda row: f"{row[0]}-{row[4]}")
def test_an_error_has_its_code_in_a_header_and_its_code_text_and_tracking_id_in_the_body(hub, name, row):
    method, path, body, status, code = row
    body = json.loads(json.dumps(body).replace("{}", name)) if body else body
    found, headers, answer = hub.rest(method, path.format(name), body)
    assert (found, headers["iothub-errorcode"]) == (status, code)
    told = json.loads(answer)
    assert told["Message"].startswith(f"ErrorCode:{code};")
    assert told["ExceptionMessage"].startswith("Tracking ID:") and "-TimeStamp:" in told["ExceptionMessage"]


@claims(ERRORS, "REST: Modules - Create Or Update Identity")
def test_what_exists_already_is_answered_409_and_what_has_changed_since_412(hub, name, module):
    path = f"/devices/{name}/modules/m"
    status, headers, _ = hub.rest("PUT", path, {"deviceId": name, "moduleId": "m"})
    assert (status, headers["iothub-errorcode"]) == (409, "ModuleAlreadyExistsOnDevice")
    for path in (path, f"/devices/{name}"):
        body = json.loads(hub.rest("GET", path)[2])
        assert hub.rest("PUT", path, body, **{"If-Match": f'"{body["etag"]}"'})[0] == 200
        status, headers, _ = hub.rest("PUT", path, body, **{"If-Match": '"AAAAAAAAAAA="'})
        assert (status, headers["iothub-errorcode"]) == (412, "PreconditionFailed")


@claims("REST: Devices - Get Identity")
def test_a_device_that_was_never_there_is_disconnected_since_the_year_1(hub, name):
    device = json.loads(hub.rest("GET", f"/devices/{name}")[2])
    assert (device["connectionState"], device["status"], device["cloudToDeviceMessageCount"]) == ("Disconnected", "enabled", 0)
    assert device["lastActivityTime"] == device["connectionStateUpdatedTime"] == "0001-01-01T00:00:00Z"
    assert device["generationId"] and device["etag"]


@claims(ERRORS)
@pytest.mark.parametrize("token", [None, "nonsense", "SharedAccessSignature sr=localhost&sig=AAAA&se=1&skn=iothubowner"])
def test_whoever_may_not_is_answered_401_and_not_told_why(hub, name, token):
    for path in (PATH.format(name), f"/devices/{name}"):
        status, headers, body = hub.call("POST" if "events" in path else "GET", path, token, b"x" if "events" in path else None)
        assert (status, headers["iothub-errorcode"]) == (401, "IotHubUnauthorizedAccess")
        assert json.loads(body)["Message"] == "ErrorCode:IotHubUnauthorizedAccess;Unauthorized"


# -- WebSocket

WEB = "Learn: Communicate with an IoT hub using the MQTT protocol – Connecting to IoT Hub"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def upgrade(path="/$iothub/websocket", **changes):
    headers = {"Host": "localhost", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": KEY, "Sec-WebSocket-Protocol": "mqtt"}
    headers.update({name.replace("_", "-"): value for name, value in changes.items()})
    return (f"GET {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n").encode()


class WebSocket:
    def __init__(self, hub, request=None, protocols=None):
        context = trusting(hub.process)
        if protocols:
            context.set_alpn_protocols(protocols)
        plain = socket.create_connection(("127.0.0.1", hub.process.https), 20)
        self.socket = context.wrap_socket(plain, server_hostname="localhost")
        self.stream = self.socket.makefile("rb")
        if request:
            self.socket.sendall(request)
            self.status = int(self.stream.readline().split()[1])
            self.headers = {}
            while (line := self.stream.readline()) not in (b"\r\n", b""):
                name, _, value = line.decode().partition(":")
                self.headers[name.lower()] = value.strip()

    def send(self, payload, first=0x82, mask=b"abcd"):
        size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack(">H", len(payload))
        self.socket.sendall(bytes([first]) + size + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload)))

    def frame(self):
        """First byte and payload of the next frame; nothing at the end."""
        head = self.stream.read(2)
        if not head:
            return None, b""
        size = head[1] if head[1] < 126 else struct.unpack(">H", self.stream.read(2))[0]
        return head[0], self.stream.read(size)

    def log_in(self, hub, name):
        body = text("MQTT") + bytes([4, 0xC2, 0, 60]) + text(name) + text(f"localhost/{name}/?api-version=2021-04-12")
        self.send(packet(0x10, body + text(hub.token(name))))
        assert self.frame() == (0x82, b"\x20\x02\x00\x00")

    def close(self):
        self.socket.close()


@claims(WEB, "RFC 6455 section 4.2.2", "MQTT 3.1.1 [MQTT-6.0.0-4]", "MQTT 3.1.1 [MQTT-6.0.0-3]")
def test_mqtt_travels_in_binary_frames_of_a_websocket_at_iot_hubs_path(hub, name):
    web = WebSocket(hub, upgrade())
    digest = hashlib.sha1((KEY + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    assert (web.status, web.headers["sec-websocket-protocol"]) == (101, "mqtt")
    assert web.headers["sec-websocket-accept"] == base64.b64encode(digest).decode()
    web.log_in(hub, name)
    web.send(packet(0x32, text(f"devices/{name}/messages/events/") + b"\x00\x07{}"))
    assert web.frame() == (0x82, b"\x40\x02\x00\x07")
    web.close()


@claims("MQTT 3.1.1 [MQTT-6.0.0-2]", "RFC 6455 section 5.4")
def test_packets_may_be_cut_and_joined_by_frames_in_any_way(hub, name):
    web = WebSocket(hub, upgrade())
    web.log_in(hub, name)
    message = packet(0x32, text(f"devices/{name}/messages/events/") + b"\x00\x07{}")
    web.send(message + message[:5])
    web.send(message[5:9], first=0x02)
    web.send(b"still there", first=0x89)
    web.send(message[9:], first=0x80)
    found = b""
    pong = None
    while len(found) < 8 or pong is None:
        first, payload = web.frame()
        if first == 0x8A:
            pong = payload
        else:
            found += payload
    assert (found, pong) == (b"\x40\x02\x00\x07" * 2, b"still there")
    web.close()


@claims("RFC 6455 section 7.4.1", "RFC 6455 section 5.1", "MQTT 3.1.1 [MQTT-6.0.0-1]")
@pytest.mark.parametrize("frame, code", [
    (b"\x81\x81abcd\x00", 1003), (b"\x82\x01x", 1002), (b"\xc2\x81abcd\x00", 1002), (b"\x83\x81abcd\x00", 1002)],
                         ids=["text", "no-mask", "reserved-bit", "unknown-opcode"])
def test_a_frame_that_may_not_be_closes_with_its_code(hub, name, frame, code):
    web = WebSocket(hub, upgrade())
    web.log_in(hub, name)
    web.socket.sendall(frame)
    assert web.frame() == (0x88, struct.pack(">H", code))
    assert web.frame() == (None, b"")
    web.close()


@claims("RFC 6455 section 4.2.1", "RFC 6455 section 4.4", "MQTT 3.1.1 section 6")
@pytest.mark.parametrize("changes, status", [
    ({"Sec_WebSocket_Version": "8"}, 426), ({"Sec_WebSocket_Protocol": "soap"}, 400), ({"Sec_WebSocket_Key": "short"}, 400),
    ({"Upgrade": "other"}, 426), ({"Connection": "keep-alive"}, 426)])
def test_a_request_that_is_no_good_handshake_is_refused(hub, changes, status):
    web = WebSocket(hub, upgrade(**changes))
    assert web.status == status
    if status == 426 and "Sec_WebSocket_Version" in changes:
        assert web.headers["sec-websocket-version"] == "13"
    web.close()


@claims("RFC 9110 section 7.8", "RFC 9112 section 9.3")
def test_the_websocket_may_be_asked_for_on_a_connection_that_has_answered_requests(hub, name):
    web = WebSocket(hub)
    web.socket.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" + upgrade())
    answers = []
    while not answers or answers[-1] != 101:
        answers.append(int(web.stream.readline().split()[1]))
        size = 0
        while (line := web.stream.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                size = int(line.split(b":")[1])
        web.stream.read(size)
    assert answers[1:] == [101] and answers[0] in (200, 503)
    web.log_in(hub, name)
    web.close()
