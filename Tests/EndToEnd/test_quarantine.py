"""What the hub could not accept: whoever stands at the gateway finds device, metric, time, reason, and what to do."""

import json
import re
import subprocess

from clients import wait_line
from services import HTTPSHub
from stage import wait_until
from test_failures_agent import Site, broker_found

ADVICE = "make it one in the hub's registry, or remove the sensor from the gateway's configuration"


class Service(HTTPSHub):
    """The service side of a hub that runs already."""

    def __init__(self, stage, process):
        self.stage, self.process = stage, process


def test_a_sensor_that_the_hub_does_not_know_is_named_in_log_status_and_twin(stage):
    plant = Site(stage)
    hub = plant.start_hub("hub-2")
    plant.start_broker()
    agent = plant.start_agent()
    broker_found(plant, agent)
    body = json.dumps({"pressure": 4.5})
    subprocess.run(
        ["mosquitto_pub", "-p", str(plant.broker_port), "-q", "1", "-t", "plant/stranger/state", "-m", body], check=True)
    line = wait_line(agent, "the hub could not accept records of this gateway", "device=stranger", "metric=pressure")
    assert ADVICE in line and re.search(r"time=\d{4}-\d\d-\d\dT", line), line

    status = subprocess.run(
        [stage.programs / "edge-agent", "status", "--config", stage.folder / "edge-agent.toml"], capture_output=True,
        text=True, check=True).stdout
    (told,) = [line for line in status.splitlines() if line.startswith("quarantined")]
    assert re.search(r"stranger pressure of \d{4}-\d\d-\d\dT\S+Z, childNotInScope: ", told) and ADVICE in told, told

    service = Service(stage, hub)

    def reported():
        status, _, twin = service.rest("GET", "/twins/gw-1")
        assert status == 200
        return json.loads(twin)["properties"]["reported"].get("quarantine")
    (entry,) = wait_until("the twin", reported, 30, every=0.2)
    assert (entry["device"], entry["metric"], entry["code"]) == ("stranger", "pressure", "childNotInScope")
    assert ADVICE in entry["reason"] and entry["measured"].startswith("20") and entry["records"]
