"""The connector against a service desk elsewhere: a second hub's desk, reached as a Dataverse environment would be."""

import json
import sqlite3
import urllib.error
import urllib.request

import pytest

from clients import HubUnderTest, same
from desk import Desk
from stage import free_port, wait_until

RULE = """
[[rule]]
name = "too-hot"
device = "*"
metric = "temperature"
when = "> 70"
severity = "critical"
message = "{device} is at {value}"
"""


class TwoHubs:
    """`crm` has the desk, `plant` the devices. Each can be stopped alone."""

    def __init__(self, stage):
        self.stage = stage
        self.crm_ports = {"mqtt": free_port(), "https": free_port(), "http": free_port()}
        self.lives = 0
        self.start_crm()
        self.credentials = json.loads((self.crm.data / "desk-client.json").read_text())

    def start_crm(self):
        self.lives += 1
        self.crm = self.stage.start_hub(
            "--without-connector", name=f"crm-{self.lives}", data=self.stage.folder / "crm", **self.crm_ports)

    def stop(self, program):
        program.stop()
        self.stage.forget(program)

    def start_plant(self, secret=None, tenant=None):
        self.lives += 1
        folder = self.stage.folder
        file = folder / "crm-secret"
        file.touch(0o600)
        file.write_text((secret or self.credentials["client_secret"]) + "\n")
        origin = f"http://127.0.0.1:{self.crm_ports['http']}"
        config = folder / "plant.toml"
        config.write_text(f"""
[connector]
poll_interval = "200ms"
[crm]
url = "{origin}"
token_url = "{origin}/{tenant or self.credentials['tenant']}/oauth2/v2.0/token"
client_id = "{self.credentials['client_id']}"
client_secret_file = "{file}"
{RULE}""")
        self.plant = HubUnderTest(
            self.stage, extra=("--config", config), name=f"plant-{self.lives}", data=folder / "plant")

    def breach(self, name="pump-1", value=80):
        if f'"{name}"' not in self.stage.hub_command("device", "list", "--output", "json", data=self.plant.process.data):
            self.plant.create(name)
        device = self.plant.connect(name)
        device.acknowledged(device.publish({"temperature": value}))
        device.close()

    def alerts(self):
        """Titles of the alerts that the desk holds."""
        status, _, found = Desk(self.crm).call("GET", "msdyn_iotalerts?$select=msdyn_description")
        assert status == 200
        return sorted(row["msdyn_description"] for row in found["value"])

    def health(self):
        """The lines of /healthz, by part."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.plant.process.http}/healthz", timeout=10) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode()
        return {line.split()[1].rstrip(":"): line for line in text.splitlines()}


@pytest.fixture
def hubs(stage):
    return TwoHubs(stage)


def test_a_desk_that_is_away_is_waited_for_and_gets_each_alert_once(hubs):
    hubs.start_plant()
    hubs.breach("pump-1")
    wait_until("the first alert", lambda: hubs.alerts() == ["pump-1 is at 80"])
    _, _, found = Desk(hubs.crm).call("GET", "msdyn_iotalerts?$select=msdyn_alerturl")
    (row,) = found["value"]
    assert row["msdyn_alerturl"] == f"https://localhost:{hubs.plant.process.https}/alerts/{row['msdyn_iotalertid']}"
    hubs.stop(hubs.crm)
    hubs.breach("pump-2")
    line = hubs.plant.log("the CRM connector waits")
    assert "the CRM cannot be reached" in line and "check its url and the network" in line
    assert hubs.health()["connector"].startswith("trouble connector: could not ")
    assert hubs.health()["faults"] == "ok faults"
    # The hub itself is killed while the alert waits.
    hubs.plant.process.kill()
    hubs.stage.forget(hubs.plant.process)
    hubs.start_plant()
    hubs.start_crm()
    wait_until("both alerts", lambda: hubs.alerts() == ["pump-1 is at 80", "pump-2 is at 80"], 60)
    hubs.plant.log("the CRM answers again")
    wait_until("good health", lambda: hubs.health()["connector"] == "ok connector")


def test_a_wrong_secret_is_told_with_what_to_do_and_loses_nothing(hubs):
    hubs.start_plant(secret="a secret that was replaced long ago, say")
    hubs.breach()
    line = hubs.plant.log("the CRM connector needs attention")
    assert "401 invalid_client: AADSTS7000215: Invalid client secret provided." in line
    assert "check the client id, the secret and its end date" in line
    assert "replaced long ago" not in line
    assert same(hubs.health()["connector"], "trouble connector: could not get a token (<http://[^ ]+/oauth2/v2.0/token>): the "
                "token endpoint refused the hub's client credentials with 401 invalid_client: AADSTS7000215: <.*>; check "
                "the client id, the secret and its end date")
    assert hubs.alerts() == []
    hubs.stop(hubs.plant.process)
    hubs.start_plant()
    wait_until("the alert", lambda: hubs.alerts() == ["pump-1 is at 80"])


def test_a_wrong_token_url_is_told(hubs):
    hubs.start_plant(tenant="no/such")
    line = hubs.plant.log("the CRM connector needs attention")
    assert "the token endpoint answered 404 without saying why; check the token url" in line


def test_a_refused_alert_is_set_aside_shown_and_tried_again_on_demand(hubs):
    hubs.start_plant()
    hubs.stop(hubs.crm)
    hubs.breach()
    hubs.plant.log("the CRM connector waits")
    hubs.stop(hubs.plant.process)
    # As the connector does when the service desk refuses a row for good.
    with sqlite3.connect(hubs.stage.folder / "plant/hub.sqlite") as database:
        changed = database.execute("UPDATE faultQueue SET isDead = 1, error = '0x80040265 no'").rowcount
    assert changed == 1
    hubs.start_crm()
    hubs.start_plant()
    wait_until("good health", lambda: hubs.health()["connector"].startswith("warning"))
    assert hubs.health()["connector"] == (
        "warning connector: 1 alerts were refused by the service desk and set aside: see cloud-hub fault dead-letters, "
        "mend the cause, then cloud-hub fault retry")
    data = hubs.plant.process.data
    (letter,) = json.loads(hubs.stage.hub_command("fault", "dead-letters", "--output", "json", data=data))
    assert (letter["what"], letter["error"]) == ("opened", "0x80040265 no")
    done = hubs.stage.hub_command("fault", "retry", "999", data=data, check=False)
    assert done.returncode != 0 and "there is no dead letter 999" in done.stderr
    assert hubs.alerts() == []
    assert hubs.stage.hub_command("fault", "retry", letter["number"], data=data) == f"alert {letter['number']} is tried again"
    wait_until("the alert", lambda: hubs.alerts() == ["pump-1 is at 80"])
    wait_until("good health", lambda: hubs.health()["connector"] == "ok connector")
