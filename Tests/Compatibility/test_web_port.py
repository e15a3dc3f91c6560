"""Everything that the HTTPS port takes, by clients that nobody here wrote, all at the same time."""

import json
import ssl
import subprocess
import threading

import paho.mqtt.client as mqtt
import pytest

from claims import claims

TOPIC = "devices/{}/messages/events/"


def context(hub, protocols):
    made = ssl.create_default_context(cafile=hub.ca)
    if protocols:
        made.set_alpn_protocols(protocols)
    return made


class Device:
    """A paho client; `protocols` is what it offers by ALPN."""

    def __init__(self, hub, name, transport, protocols=None, path="/$iothub/websocket"):
        self.name, self.connected, self.codes = name, threading.Event(), []
        self.client = mqtt.Client(client_id=name, protocol=mqtt.MQTTv311, transport=transport)
        self.client.username_pw_set(f"localhost/{name}/?api-version=2021-04-12", hub.token(name))
        self.client.tls_set_context(context(hub, protocols))
        if transport == "websockets":
            self.client.ws_set_options(path=path)
        self.client.on_connect = self._connected
        self.client.connect("localhost", hub.https, 30)
        self.client.loop_start()

    def _connected(self, _client, _userdata, _flags, code):
        self.codes.append(code)
        self.connected.set()

    def publish(self, *bodies):
        assert self.connected.wait(20) and self.codes == [0]
        sent = [self.client.publish(TOPIC.format(self.name), json.dumps(body), qos=1) for body in bodies]
        for one in sent:
            one.wait_for_publish(20)
            assert one.is_published()

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def bodies(hub, name, count):
    monitor = hub.monitor(name)
    return [json.loads(monitor.line("{"))["body"] for _ in range(count)]


@pytest.mark.parametrize("transport, protocols, path", [
    ("websockets", None, "/$iothub/websocket"), ("websockets", ["http/1.1"], "/$iothub/websocket?iothub-no-client-cert=true"),
    ("tcp", ["mqtt"], None)], ids=["websocket", "websocket-query", "alpn"])
def test_paho_publishes_while_curl_reads_a_page(hub, transport, protocols, path):
    name = f"web-{transport}-{len(path or '')}"
    hub.create(name)
    device = Device(hub, name, transport, protocols, path)
    # A page, and the largest message, which takes more than one TLS record.
    sent = [{"n": n} for n in range(50)] + ["x" * 200_000]
    device.publish(*sent[:25])
    page = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail", "--cacert", hub.ca, f"https://localhost:{hub.https}/healthz"],
        capture_output=True, text=True, timeout=20, check=True).stdout
    assert page.startswith("ok ")
    device.publish(*sent[25:])
    assert bodies(hub, name, len(sent)) == sent
    device.close()


def s_client(hub, *options, send):
    with subprocess.Popen(
            ["openssl", "s_client", "-connect", f"localhost:{hub.https}", "-CAfile", hub.ca, "-verify_return_error",
             "-quiet", *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
        client.stdin.write(send)
        client.stdin.flush()
        answer = client.stdout.read1(4096)
        client.kill()
        return answer


CONNECT = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04none"
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@claims("RFC 7301 section 3.2")
@pytest.mark.parametrize("options, send, start", [
    (["-alpn", "mqtt"], CONNECT, b"\x20\x02\x00\x05"), (["-alpn", "http/1.1"], REQUEST, b"HTTP/1.1 200 OK"),
    (["-alpn", "x-amzn-mqtt-ca"], REQUEST, b"HTTP/1.1 200 OK"), ([], REQUEST, b"HTTP/1.1 200 OK"),
    ([], CONNECT, b"HTTP/1.1 400 Bad Request")], ids=["mqtt", "http", "amazon", "none", "mqtt-without-asking"])
def test_alpn_says_what_is_spoken(hub, options, send, start):
    assert s_client(hub, *options, send=send).startswith(start)


def test_a_wrong_path_is_no_websocket(hub):
    hub.create("lost")
    answer = subprocess.run(
        ["curl", "--silent", "--http1.1", "--cacert", hub.ca, "--output", "/dev/null", "--write-out", "%{http_code}",
         "-H", "Upgrade: websocket", "-H", "Connection: Upgrade", "-H", "Sec-WebSocket-Version: 13",
         "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "-H", "Sec-WebSocket-Protocol: mqtt",
         f"https://localhost:{hub.https}/mqtt"], capture_output=True, text=True, timeout=20, check=True).stdout
    assert answer == "404"
