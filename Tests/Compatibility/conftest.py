"""One hub for all clients that nobody here wrote."""

import contextlib
import fcntl
import pathlib
import socket
import tempfile

import pytest

from sas import device_token, service_token
from stage import Stage


class Hub:
    """A running hub and what a client needs to talk to it."""

    def __init__(self, stage, process):
        self.stage, self.process = stage, process
        self.ca, self.mqtt, self.https = str(process.ca), process.mqtt, process.https
        self.policy_string = stage.hub_command("connection-string")

    def create(self, device, *options):
        self.stage.hub_command("device", "create", device, *options)
        return self.stage.device_string(device)

    def token(self, device):
        return device_token(self.stage.device_string(device))

    def service_token(self):
        return service_token(self.policy_string)

    def monitor(self, device):
        """Starts `cloud-hub monitor` for a device; events come as JSON, one a line."""
        monitor = self.stage.start(
            f"monitor-{device}-{len(self.stage.running)}",
            [self.stage.programs / "cloud-hub", "monitor", device, "--from-start", "--data", self.process.data],
        )
        return monitor


@contextlib.contextmanager
def standard_ports():
    """Keeps ports 8883 and 443 of the loopback interface from every other run of these tests on this machine."""
    with open(pathlib.Path(tempfile.gettempdir()) / "fieldline-standard-ports.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def may_listen(port):
    """Whether this user may: below 1024 it takes root or CAP_NET_BIND_SERVICE."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            return False
        return True


@pytest.fixture(scope="module")
def hub(programs, tmp_path_factory):
    """The public device SDK has ports 8883 and 443 in its code, so the hub listens there: one such test module at a time."""
    with standard_ports(), Stage(programs, tmp_path_factory.mktemp("hub")) as stage:
        yield Hub(stage, stage.start_hub(mqtt=8883, https=443 if may_listen(443) else None))
