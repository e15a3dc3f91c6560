"""A device that can also misbehave: MQTT 3.1.1 over TLS, packet by packet, independent of the code under test."""

import contextlib
import json
import os
import re
import select
import socket
import ssl
import struct
import subprocess
import sys

import pytest

from stage import ROOT, wait_until

sys.path.insert(0, str(ROOT / "Tests/Compatibility"))
from sas import device_token  # noqa: E402

CONNACK, PUBLISH, PUBACK, SUBACK = 2, 3, 4, 9
ACCEPTED, NOT_AUTHORISED = 0, 5
BATCH_TYPE = "application%2Fvnd.fieldline.batch%2Bjson"


class Closed(Exception):
    """The hub closed the connection."""


def text(value):
    encoded = value.encode()
    return struct.pack(">H", len(encoded)) + encoded


def packet(first_byte, body):
    """A control packet with its remaining length."""
    length, size = bytearray(), len(body)
    while True:
        size, digit = divmod(size, 128)
        length.append(digit | (128 if size else 0))
        if not size:
            return bytes([first_byte]) + bytes(length) + body


class RawDevice:
    """One TLS connection of a device. Every call blocks until its answer is there, or 20 s have passed."""

    def __init__(self, hub, name, token=None, keep_alive=60, context=None, session=None):
        self.name, self._packet_id, self._aside = name, 0, []
        context = context or trusting(hub)
        plain = socket.create_connection(("127.0.0.1", hub.mqtt), 20)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(plain, server_hostname="localhost", session=session)
        self.code = None
        if token is not None:
            self.login(token, keep_alive)

    def login(self, token=None, keep_alive=60, clean=True):
        """CONNECT, without a password unless there is a token; the code of its answer."""
        user = f"localhost/{self.name}/?api-version=2021-04-12"
        flags = 0x80 | (0x40 if token else 0) | (0x02 if clean else 0)
        body = text("MQTT") + bytes([4, flags]) + struct.pack(">H", keep_alive)
        self.send(packet(0x10, body + text(self.name) + text(user) + (text(token) if token else b"")))
        self.session_present, self.code = self.receive(CONNACK)
        return self.code

    def send(self, raw):
        self.socket.sendall(raw)

    def publish(self, payload, topic=None, bag=""):
        """Sends at QoS 1 and returns the packet identifier, without waiting for its PUBACK."""
        self._packet_id += 1
        topic = topic or f"devices/{self.name}/messages/events/{bag}"
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.send(packet(0x32, text(topic) + struct.pack(">H", self._packet_id) + body))
        return self._packet_id

    def acknowledged(self, packet_id):
        """Waits for this PUBACK."""
        body = self.receive(PUBACK)
        assert struct.unpack(">H", body)[0] == packet_id

    def subscribe(self, filter, qos=1):
        self._packet_id += 1
        self.send(packet(0x82, struct.pack(">H", self._packet_id) + text(filter) + bytes([qos])))
        return self.receive(SUBACK)[2]

    def message(self):
        """The next message that the hub sends at QoS 0: topic and body."""
        body = self.receive(PUBLISH)
        end = 2 + struct.unpack(">H", body[:2])[0]
        return body[2:end].decode(), body[end:]

    def receive(self, kind):
        """The body of the next packet of this kind; others are put aside for later."""
        for place, (found, body) in enumerate(self._aside):
            if found == kind:
                del self._aside[place]
                return body
        while True:
            found, body = self._next()
            if found == kind:
                return body
            self._aside.append((found, body))

    def is_closed(self):
        """Waits until the hub has closed the connection; true when it sent no packet before."""
        try:
            self._next()
        except Closed:
            return True
        return False

    def quiet(self, seconds):
        """Waits for that time; nothing may come meanwhile."""
        assert not select.select([self.socket], [], [], seconds)[0]

    def has(self, kind):
        """Whether a packet of this kind has come by now; does not wait for one."""
        while self.socket.pending() or select.select([self.socket], [], [], 0)[0]:
            self._aside.append(self._next())
        return any(found == kind for found, _ in self._aside)

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.close()

    def _next(self):
        first = self._exactly(1)[0]
        size = shift = 0
        while True:
            digit = self._exactly(1)[0]
            size |= (digit & 127) << shift
            shift += 7
            if digit < 128:
                return first >> 4, self._exactly(size)

    def _exactly(self, count):
        found = b""
        while len(found) < count:
            try:
                more = self.socket.recv(count - len(found))
            except (ConnectionError, ssl.SSLError) as error:
                if isinstance(error, TimeoutError):
                    raise
                raise Closed from error
            if not more:
                raise Closed
            found += more
        return found


def trusting(hub, certificate=None):
    """TLS as a device does it: the hub's CA and name are checked; `certificate` is shown if the hub asks for one."""
    context = ssl.create_default_context(cafile=str(hub.ca))
    if certificate:
        context.load_cert_chain(*certificate.files)
    return context


class HubUnderTest:
    """A running hub, and what is wanted of it in every test."""

    def __init__(self, stage, extra=(), **options):
        self.stage = stage
        self.process = stage.start_hub(*extra, **options)

    def create(self, name, *options):
        self.stage.hub_command("device", "create", name, *options, data=self.process.data)
        return self.stage.device_string(name, data=self.process.data)

    def connect(self, name, **options):
        """A device that was let in."""
        token = device_token(self.stage.device_string(name, data=self.process.data))
        device = RawDevice(self.process, name, token, **options)
        assert device.code == ACCEPTED
        return device

    def events(self):
        output = self.stage.hub_command(
            "monitor", "--from-start", "--no-follow", data=self.process.data, timeout=60)
        return [json.loads(line) for line in output.splitlines()]

    def bodies(self, name):
        return [event["body"] for event in self.events() if event["device"] == name]

    def log(self, *parts):
        """Waits for a line of the log that has all parts, and returns it."""
        return wait_line(self.process, *parts)


def wait_line(program, *parts, seconds=20):
    """Waits for one line of the program's log that has all of `parts`, and returns it."""
    def found():
        for line in program.log_path.read_text(errors="replace").splitlines():
            if all(part in line for part in parts):
                return line
        return None
    return wait_until(f"{parts} in one line of {program.log_path}\n{program.tail()}", found, seconds)


def run(stage, program, *arguments, env=None):
    """Runs a program of ours to its end: exit status and what it wrote to standard error."""
    done = subprocess.run(
        [stage.programs / program, *map(str, arguments)], capture_output=True, text=True, timeout=60,
        stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})})
    return done.returncode, done.stderr.strip()


def same(found, pattern):
    """Whether the whole text is the pattern, in which only `<...>` stands for something volatile (a regex)."""
    parts = re.split(r"<([^<>]*)>", pattern)
    expression = "".join(f"(?:{part})" if place % 2 else re.escape(part) for place, part in enumerate(parts))
    assert re.fullmatch(expression, found), f"expected {pattern}\nfound    {found}"
    return True


class SmallDisk:
    """A disk of a few MiB that a test can fill and empty from outside."""

    def __init__(self, folder, mebibytes):
        self.path = folder
        folder.mkdir(parents=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0700", "tmpfs", folder], capture_output=True)
        if done.returncode != 0:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.decode().strip()}")
        self._ballast = folder / "ballast"

    def fill(self):
        """Until not one more byte fits."""
        with open(self._ballast, "ab", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(4096))

    def free(self):
        self._ballast.unlink(missing_ok=True)

    def unmount(self):
        subprocess.run(["umount", "--lazy", self.path], check=False)


@contextlib.contextmanager
def small_disk(folder, mebibytes):
    if os.geteuid() != 0:
        pytest.skip("only root can mount the small disk that this test fills")
    disk = SmallDisk(folder, mebibytes)
    try:
        yield disk
    finally:
        disk.free()
        disk.unmount()
