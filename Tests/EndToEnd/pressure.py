"""What the tests about load and abuse share: a hub that is watched, and peers that begin TLS and stop."""

import contextlib
import json
import os
import socket
import ssl
import subprocess
import urllib.request

from clients import HubUnderTest, trusting
from sas import parts
from stage import wait_until

MEBIBYTE = 1 << 20


class WatchedHub(HubUnderTest):
    """A hub with a device that must not notice anything."""

    def __init__(self, stage, config, **options):
        file = stage.folder / f"{options.get('name', 'cloud-hub')}.toml"
        file.write_text(config)
        super().__init__(stage, ("--config", file), **options)
        self.create("bystander")
        self.bystander = self.connect("bystander", keep_alive=0)

    def metrics(self):
        """Values by name, without the prefix of ours; those with labels are left out."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.process.http}/metrics", timeout=30) as answer:
            lines = [line.split() for line in answer.read().decode().splitlines()]
        return {name.removeprefix("fieldline_"): float(value)
                for name, value in (line for line in lines if len(line) == 2) if "{" not in name}

    def handshakes(self, name):
        return int(self.metrics()[f"handshakes_{name}"])

    @property
    def sockets(self):
        """How many it holds. (Its databases open and close files of their own, as many as they read side by side.)"""
        folder, count = f"/proc/{self.process.process.pid}/fd", 0
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                count += os.readlink(f"{folder}/{name}").startswith("socket:")
        return count

    @property
    def resident(self):
        """Unit: bytes."""
        with open(f"/proc/{self.process.process.pid}/status") as status:
            return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) * 1024

    def bystander_is_heard(self):
        self.bystander.acknowledged(self.bystander.publish({"still": "here"}))

    @contextlib.contextmanager
    def unharmed(self, mebibytes=64):
        """Afterwards the bystander is heard as before, all sockets are given back, and memory has not grown by more."""
        self.bystander_is_heard()
        sockets, resident = self.sockets, self.resident
        yield
        self.bystander_is_heard()
        wait_until("the sockets that were given back", lambda: self.sockets <= sockets, 60)
        grown = self.resident - resident
        assert grown < mebibytes * MEBIBYTE, f"memory has grown by {grown / MEBIBYTE:.0f} MiB"

    def bench(self, mode, *arguments, first="bench"):
        """hub-bench with the key of the devices' policy; started, not waited for."""
        key = parts(self.stage.hub_command("connection-string", "--policy", "device", data=self.process.data))
        command = [
            self.stage.programs / "hub-bench", mode, "--port", self.process.mqtt, "--prefix", first, "--hub-name", "localhost",
            "--sas-key", key["SharedAccessKey"], "--sas-policy", "device", *arguments]
        return subprocess.Popen(
            [str(item) for item in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def figures(process, seconds=300):
    """What hub-bench says at its end."""
    out, error = process.communicate(timeout=seconds)
    assert out, error
    return json.loads(out.splitlines()[-1])


def hello(hub):
    """The first bytes of a real handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        trusting(hub.process).wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


def opened(port, first=b""):
    """A TCP connection on which only these bytes are sent."""
    peer = socket.create_connection(("127.0.0.1", port), 30)
    peer.sendall(first)
    return peer


def ended(peer, seconds=60):
    """Waits until the hub has closed it; what came before."""
    peer.settimeout(seconds)
    came = b""
    with contextlib.suppress(ConnectionError):
        while more := peer.recv(65536):
            came += more
    peer.close()
    return came
