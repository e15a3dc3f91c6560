"""Peers that mean no good, or cannot help it: the others notice nothing, memory stays bounded, descriptors come back."""

import os
import socket
import struct
import threading
import time
import urllib.error
import urllib.request

import pytest

from clients import ACCEPTED, PUBACK, SUBACK, Closed, RawDevice, packet, same, text, trusting
from pressure import MEBIBYTE, WatchedHub, ended, opened
from sas import device_token, service_token
from stage import Stage, wait_until

TIME = r"<\d{4}-\d\d-\d\dT[\d:]+[+-]\d{4}>"
SHORT = """
[limits]
connect_timeout = "3s"
handshake_timeout = "3s"
"""
API = "api-version=2021-04-12"


@pytest.fixture(scope="module")
def hub(programs, tmp_path_factory):
    with Stage(programs, tmp_path_factory.mktemp("hub")) as stage:
        yield WatchedHub(stage, SHORT)


def closing(hub, device, reason):
    """The line of the log that says why the hub closed."""
    same(hub.log("connection closed", f"device={device} "),
         f"{TIME} warning mqtt: address=127.0.0.1 device={device} reason={reason} [Listeners] connection closed")


# -- peers that do not read, or are not there


def small_window(hub, name):
    """A device whose system takes next to nothing that it has not read."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    plain.connect(("127.0.0.1", hub.process.mqtt))
    device = RawDevice.__new__(RawDevice)
    device.name, device._packet_id, device._aside = name, 0, []
    device.socket = trusting(hub.process).wrap_socket(plain, server_hostname="localhost")
    device.login(device_token(hub.stage.device_string(name, data=hub.process.data)), keep_alive=0)
    assert device.code == ACCEPTED
    return device


def invoke(hub, token, name, payload):
    """A direct method that nobody answers; its status."""
    request = urllib.request.Request(
        f"https://localhost:{hub.process.https}/twins/{name}/methods?{API}",
        b'{"methodName":"fill","responseTimeoutInSeconds":5,"payload":"' + payload + b'"}',
        {"Authorization": token, "Content-Type": "application/json"}, method="POST")
    try:
        urllib.request.urlopen(request, context=trusting(hub.process), timeout=60).read()
        return 200
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_device_that_does_not_read_is_let_go_when_too_much_waits_for_it(hub):
    hub.create("wall")
    with hub.unharmed(mebibytes=96):
        device = small_window(hub, "wall")
        device.subscribe("$iothub/methods/POST/#")
        device.subscribe("devices/wall/messages/devicebound/#")
        for _ in range(10):
            hub.stage.hub_command("device", "send", "wall", "x" * 60_000, data=hub.process.data)
        token = service_token(hub.stage.hub_command("connection-string", data=hub.process.data))
        payload, statuses = b"x" * 120_000, []

        def call():
            for _ in range(6):
                statuses.append(invoke(hub, token, "wall", payload))

        callers = [threading.Thread(target=call) for _ in range(40)]
        for caller in callers:
            caller.start()
        for caller in callers:
            while caller.is_alive():
                hub.bystander_is_heard()
                caller.join(0.5)
        assert set(statuses) <= {404, 504}, "not there any more, or no answer in time"
        closing(hub, "wall", "the device does not read what it is sent; look at its program and its network")
        device.close()


def test_a_device_that_vanished_is_given_up_after_its_keep_alive(hub):
    with hub.unharmed():
        names = [f"vanished-{number}" for number in range(5)]
        for name in names:
            hub.create(name)
        devices = [hub.connect(name, keep_alive=1) for name in names]
        # Nothing is sent and nothing is closed: to the hub it is a cable that was cut.
        for name, device in zip(names, devices):
            assert device.is_closed()
            device.close()
            closing(hub, name, "nothing was heard for one and a half times the keep-alive")


def test_a_device_that_does_not_say_connect_is_closed_in_time(hub):
    with hub.unharmed():
        for _ in range(20):
            device = RawDevice(hub.process, "mute")
        assert device.is_closed()
        device.close()


# -- bytes that are nothing


PORTS = ["mqtt", "https", "http"]


@pytest.mark.parametrize("name, inside", [
    (name, inside) for name in PORTS for inside in (False, True) if name != "http" or not inside])
def test_random_bytes_close_their_own_connection_only(hub, name, inside):
    port = getattr(hub.process, name)
    with hub.unharmed():
        for number in range(60):
            bytes_ = os.urandom(1 + 37 * number)
            peer = opened(port)
            if inside:
                peer = trusting(hub.process).wrap_socket(peer, server_hostname="localhost")
            try:
                peer.sendall(bytes_)
                # Some begin like something longer; they end when nothing more comes.
                peer.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            came = ended(peer)
            assert b" 200 " not in came and not came.startswith(b"\x20\x02\x00\x00")


@pytest.mark.parametrize("name", ["https", "http"])
@pytest.mark.parametrize("head", [
    b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 200_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: localhost\r\n" + b"".join(b"x-%d: a\r\n" % number for number in range(20_000)) + b"\r\n",
], ids=["target", "field", "fields"])
def test_a_head_that_is_too_long_is_refused(hub, name, head):
    with hub.unharmed():
        peer = opened(getattr(hub.process, name))
        if name == "https":
            peer = trusting(hub.process).wrap_socket(peer, server_hostname="localhost")
        try:
            peer.sendall(head)
        except OSError:
            pass  # the hub did not wait for the end of it
        came = ended(peer)
        assert came == b"" or came.split(b"\r\n")[0] in (
            b"HTTP/1.1 431 Request Header Fields Too Large", b"HTTP/1.1 400 Bad Request"), came[:200]


@pytest.mark.parametrize("name", ["https", "http"])
def test_whoever_says_a_request_letter_by_letter_is_cut_off(hub, name):
    with hub.unharmed():
        peers = [opened(getattr(hub.process, name)) for _ in range(20)]
        if name == "https":
            peers = [trusting(hub.process).wrap_socket(peer, server_hostname="localhost") for peer in peers]
        begin, letters, open_ = time.monotonic(), b"GET / HTTP/1.1\r\nhost: localhost\r\nx-slow: " + b"a" * 10_000, set(peers)
        for place in range(len(letters)):
            for peer in list(open_):
                try:
                    peer.sendall(letters[place:place + 1])
                except OSError:
                    open_.discard(peer)
            if not open_:
                break
            assert time.monotonic() - begin < 60, "3 s are allowed for a head"
            time.sleep(0.1)
        for peer in peers:
            peer.close()


# -- MQTT that is allowed, and too much of it


def test_packets_come_a_byte_at_a_time(hub):
    hub.create("drip")
    with hub.unharmed():
        device = RawDevice(hub.process, "drip")
        token = device_token(hub.stage.device_string("drip", data=hub.process.data))
        whole, device.send = device.send, lambda raw: [whole(raw[place:place + 1]) for place in range(len(raw))]
        assert device.login(token) == ACCEPTED
        assert device.subscribe("$iothub/methods/POST/#", qos=0) == 0
        for number in range(5):
            device.acknowledged(device.publish({"n": number}))
        device.close()
    assert hub.bodies("drip") == [{"n": number} for number in range(5)]


def subscribe_many(device, filters):
    body = struct.pack(">H", 7) + b"".join(text(filter) + b"\x01" for filter in filters)
    device.send(packet(0x82, body))
    return device.receive(SUBACK)[2:]


def test_a_subscribe_with_many_filters_is_answered_up_to_its_limit_and_closed_beyond(hub):
    hub.create("greedy")
    with hub.unharmed():
        device = hub.connect("greedy")
        codes = subscribe_many(device, [f"devices/other-{number}/messages/devicebound/#" for number in range(64)])
        assert codes == b"\x80" * 64
        for round_ in range(200):
            codes = subscribe_many(device, [f"$fieldline/c{round_}-{n}/$iothub/methods/POST/#" for n in range(64)])
            assert len(codes) == 64 and set(codes) <= {0, 1, 0x80}
        with pytest.raises((Closed, OSError)):
            subscribe_many(device, [f"devices/greedy/messages/devicebound/{n}" for n in range(20_000)])
        device.close()


def test_a_flood_of_topics_is_taken_as_telemetry_and_keeps_nothing(hub):
    hub.create("flood")
    with hub.unharmed(mebibytes=96):
        device = hub.connect("flood")
        count, window, sent, acknowledged = 20_000, 500, 0, 0
        while acknowledged < count:
            burst = bytearray()
            while sent < count and sent - acknowledged < window:
                sent += 1
                topic = f"devices/flood/messages/events/key-{sent}={'v' * 200}{sent}"
                burst += packet(0x32, text(topic) + struct.pack(">H", sent % 65_535 + 1) + b"{}")
            device.send(bytes(burst))
            for _ in range(min(100, sent - acknowledged)):
                device.receive(PUBACK)
                acknowledged += 1
        device.close()


# -- coming and going


def test_twenty_thousand_connections_come_and_go_and_leave_nothing(hub):
    with hub.unharmed(mebibytes=48):
        # The first ones may make buffers that stay.
        come_and_go(hub, 2_000)
        resident = hub.resident
        come_and_go(hub, 20_000)
        assert hub.resident - resident < 24 * MEBIBYTE
        wait_until("an empty waiting room", lambda: hub.handshakes("waiting") == 0)


def come_and_go(hub, count):
    abort = struct.pack("ii", 1, 0)
    for number in range(count):
        peer = opened((hub.process.mqtt, hub.process.https)[number % 2])
        if number % 3:
            # With a reset, so that no port stays taken on this side.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, abort)
        peer.close()
        if number % 2_000 == 0:
            hub.bystander_is_heard()


def test_five_hundred_devices_come_and_go_and_leave_nothing(hub):
    hub.create("visitor")
    token = device_token(hub.stage.device_string("visitor", data=hub.process.data))
    context = trusting(hub.process)

    def visit(count):
        for _ in range(count):
            device = RawDevice(hub.process, "visitor", token, context=context)
            assert device.code == ACCEPTED
            device.acknowledged(device.publish({"n": 1}))
            device.close()

    with hub.unharmed(mebibytes=48):
        visit(100)
        resident = hub.resident
        visit(400)
        assert hub.resident - resident < 16 * MEBIBYTE
