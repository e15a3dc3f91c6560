"""One hub for all clients that nobody here wrote."""

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


@pytest.fixture(scope="module")
def hub(programs, tmp_path_factory):
    """The public device SDK has port 8883 in its code, so the hub listens there: one such test module at a time."""
    with Stage(programs, tmp_path_factory.mktemp("hub")) as stage:
        yield Hub(stage, stage.start_hub(mqtt=8883))
