"""As much MQTT 3.1.1 as the rows need, from the standard library: QoS 1 out with what is not acknowledged yet sent again,
and QoS 0 or 1 in."""

import contextlib
import socket
import ssl
import struct
import threading
import time


def text(value):
    return struct.pack(">H", len(value)) + value.encode()


class Client:
    """One connection; `packet` gives the next packet of the broker."""

    def __init__(self, port, name, clean=True, ca=None):
        self.socket = socket.create_connection(("localhost", port), 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if ca:
            self.socket = ssl.create_default_context(cafile=str(ca)).wrap_socket(self.socket, server_hostname="localhost")
        self.buffer, self.number = bytearray(), 0
        self.send(0x10, text("MQTT") + bytes([4, 2 if clean else 0, 0, 0]) + text(name))
        if self.packet()[0] >> 4 != 2:
            raise ConnectionError("the broker refused CONNECT")
        self.socket.settimeout(None)

    def send(self, first, body):
        length, rest = b"", len(body)
        while True:
            length += bytes([rest % 128 | (0x80 if rest > 127 else 0)])
            rest //= 128
            if rest == 0:
                break
        self.socket.sendall(bytes([first]) + length + body)

    def packet(self):
        """Its first byte and its body."""
        while True:
            whole = self._whole()
            if whole:
                return whole
            piece = self.socket.recv(65536)
            if not piece:
                raise ConnectionError("the broker has left")
            self.buffer += piece

    def _whole(self):
        length, place = 0, 1
        while True:
            if place >= len(self.buffer):
                return None
            length |= (self.buffer[place] & 0x7F) << 7 * (place - 1)
            place += 1
            if self.buffer[place - 1] < 128:
                break
        if len(self.buffer) < place + length:
            return None
        found = self.buffer[0], bytes(self.buffer[place:place + length])
        del self.buffer[:place + length]
        return found

    def subscribe(self, topic, qos=0):
        self.send(0x82, b"\x00\x01" + text(topic) + bytes([qos]))
        if self.packet()[0] >> 4 != 9:
            raise ConnectionError("the broker did not answer SUBSCRIBE")

    def publish(self, topic, body, number=None, again=False):
        """At QoS 1; the packet identifier."""
        if number is None:
            number = self.number = self.number % 65535 + 1
        self.send(0x3A if again else 0x32, text(topic) + struct.pack(">H", number) + body)
        return number

    def message(self):
        """The next message's topic and body, acknowledged when it wants that."""
        while True:
            first, content = self.packet()
            if first >> 4 != 3:
                continue
            length = 2 + struct.unpack_from(">H", content)[0]
            topic, place = content[2:length].decode(), length
            if first & 6:
                self.send(0x40, content[place:place + 2])
                place += 2
            return topic, content[place:]

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class Sensor:
    """Publishes 1, 2, 3 … at a steady pace at QoS 1, keeps what the broker has not acknowledged, and sends that again when
    it must connect again: as a careful sensor does."""

    MOST_WAITING = 1000

    def __init__(self, port, topic, rate, body=lambda number: b'{"n":%d}' % number):
        self.port, self.topic, self.rate, self.body, self.made = port, topic, rate, body, 0
        self._waiting, self._lock, self._quiet, self._over = {}, threading.Lock(), threading.Event(), threading.Event()
        self._client = None
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._listen, self._speak)]
        for thread in self._threads:
            thread.start()

    def _listen(self):
        while not self._over.is_set():
            try:
                client = Client(self.port, self.topic.replace("/", "-"))
                with self._lock:
                    for number, body in self._waiting.items():
                        client.publish(self.topic, body, number, again=True)
                    self._client = client
                while True:
                    first, content = client.packet()
                    if first >> 4 == 4:
                        with self._lock:
                            self._waiting.pop(struct.unpack(">H", content)[0], None)
            except OSError:
                with self._lock:
                    self._client = None
                time.sleep(0.05)

    def _speak(self):
        due = time.monotonic()
        while not self._quiet.wait(max(0.0, due - time.monotonic())):
            due += 1 / self.rate
            with self._lock:
                if len(self._waiting) >= self.MOST_WAITING:
                    continue
                self.made += 1
                number, body = (self.made - 1) % 65535 + 1, self.body(self.made)
                self._waiting[number] = body
                with contextlib.suppress(OSError):
                    if self._client:
                        self._client.publish(self.topic, body, number)

    @property
    def unacknowledged(self):
        with self._lock:
            return len(self._waiting)

    def fall_silent(self):
        self._quiet.set()
        self._threads[1].join()

    def finish(self, seconds=120):
        """Ends, when the broker has all of it; how many it made."""
        self.fall_silent()
        deadline = time.monotonic() + seconds
        while self.unacknowledged and time.monotonic() < deadline:
            time.sleep(0.05)
        left = self.unacknowledged
        self._over.set()
        if self._client:
            self._client.close()
        if left:
            raise SystemExit(f"the broker did not acknowledge {left} values of {self.topic}")
        return self.made
