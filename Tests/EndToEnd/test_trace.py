"""One record is followed from a gateway's outbox to the service desk, and what is missing is asked for."""

import json

import pytest

from clients import BATCH_TYPE, HubUnderTest, run
from desk import Desk
from stage import Stage, wait_until

GATEWAY = "trace-gateway"
EPOCH = "00000000000000aa"
BAG = f"$.ct={BATCH_TYPE}&$.ce=utf-8"
TIME = "2026-11-21T08:53:00.250Z"
FAULT = "6f2c8f0e-0a4b-5d59-8a0e-7f1f0f6f0001"


@pytest.fixture(scope="module")
def hub(programs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trace")
    config = folder / "hub.toml"
    config.write_text('[event_log]\ngap_wait = "1s"\n')
    with Stage(programs, folder) as stage:
        hub = HubUnderTest(stage, ("--config", config))
        hub.create(GATEWAY, "--gateway")
        hub.create("trace-oven", "--parent", GATEWAY)
        yield hub


@pytest.fixture
def gateway(hub):
    device = hub.connect(GATEWAY)
    yield device
    device.close()


def reading(sequence, value="71.25"):
    return {"seq": str(sequence), "device": "trace-oven", "metric": "temperature", "value": value, "unit": "Cel",
            "time": TIME}


def fault(sequence):
    return {"seq": str(sequence), "device": "trace-oven", "time": TIME, "fault": {
        "id": FAULT, "state": "raised", "rule": "overheat", "severity": "critical", "message": "the oven is at 71.25",
        "metric": "temperature", "value": "71.25", "limit": "70"}}


def publish(gateway, first, records, dropped=()):
    batch = {"v": 1, "epoch": EPOCH, "runs": [[str(first), str(len(records))]], "records": records}
    if dropped:
        batch["dropped"] = [[str(start), str(count)] for start, count in dropped]
    gateway.acknowledged(gateway.publish(batch, bag=BAG))


def trace(hub, sequence, *options):
    command = ("trace", GATEWAY, str(sequence), *options)
    return json.loads(hub.stage.hub_command(*command, "--output", "json", data=hub.process.data))


def test_a_reading_is_followed_to_its_alert_on_the_desk(hub, gateway):
    publish(gateway, 1, [reading(1, "20"), reading(2), fault(3)])
    wait_until("the alert on the desk", lambda: [
        fault for fault in trace(hub, 2)["faults"] if fault["alert"]["state"] == "active"])
    calm, hot, raised = (trace(hub, sequence) for sequence in (1, 2, 3))
    assert (calm["state"], calm["record"]["value"]) == ("stored", "20")
    for found in (hot, raised):
        (seen,) = found["faults"]
        assert (seen["id"], seen["rule"], seen["state"], seen["waiting"]) == (FAULT, "overheat", "open", [])
    row = hot["faults"][0]["alert"]["row"]
    status, _, alert = Desk(hub.process).call("GET", row)
    assert status == 200 and json.loads(alert["msdyn_alertdata"])["eventtoken"] == FAULT

    lines = hub.stage.hub_command("trace", GATEWAY, "2", data=hub.process.data).splitlines()
    assert [line.split()[0] for line in lines] == ["gateway", "record", "hub", "fault", "CRM"]
    assert "trace-oven temperature = 71.25 Cel at 2026-11-21T08:53:00.250Z" in lines[1]
    assert lines[4] == f"CRM      {row} active"


def test_a_record_of_somebody_elses_child_says_why_it_is_in_quarantine(hub, gateway):
    publish(gateway, 4, [{**reading(4), "device": "whose"}])
    found = trace(hub, 4)
    assert (found["state"], found["code"]) == ("quarantined", "childNotInScope")
    assert "'whose' is no child of gateway 'trace-gateway'" in found["reason"]


@pytest.mark.parametrize("arguments, status, sentence", [
    (("nobody", "1"), 1, "no record of a gateway 'nobody' ever came"),
    ((GATEWAY, "0"), 2, "the sequence number must be a whole number from 1 on"),
    ((GATEWAY, "1", "--epoch", "xyz"), 2, "'xyz' is no epoch: it has 16 hexadecimal digits"),
    ((GATEWAY, "1", "--epoch", "00000000000000bb"), 1, "never sent a record of epoch 00000000000000bb"),
])
def test_what_cannot_be_followed_is_said(hub, gateway, arguments, status, sentence):
    publish(gateway, 1, [reading(1, "20")])
    found, said = run(hub.stage, "cloud-hub", "trace", *arguments, "--data", hub.process.data)
    assert found == status
    assert sentence in said


def test_a_gateway_is_asked_for_what_is_missing(hub, gateway):
    gateway.subscribe("$iothub/methods/POST/#")
    publish(gateway, 5, [reading(5)])
    publish(gateway, 9, [reading(9)])
    assert trace(hub, 7)["state"] == "missing"
    topic, payload = gateway.message()
    assert topic.startswith("$iothub/methods/POST/ReplayRange/?$rid=")
    assert json.loads(payload) == {"epoch": EPOCH, "runs": [["6", "3"]]}
    publish(gateway, 6, [reading(6), reading(7)], dropped=[(8, 1)])
    answer = {"replayed": "2", "gone": [["8", "1"]]}
    gateway.publish(answer, topic="$iothub/methods/res/200/?$rid=" + topic.split("=")[1])
    hub.log("a gateway was asked for records that are missing", "replayed=2", "gone=1")

    def whole():
        (row,) = json.loads(hub.stage.hub_command("device", "gaps", GATEWAY, "--output", "json", data=hub.process.data))
        return row if row["missing"] == "0" else None
    assert wait_until("the next look", whole, 20)["lost"] == "1"
    assert trace(hub, 7)["state"] == "stored"
    assert trace(hub, 8)["state"] == "dropped"


HOLES_MAX = 16_384
NARROW = 1200  # records with a hole after each, in one batch of at most 256 KiB


def test_a_gateway_with_too_many_holes_is_told_which_records_are_in_quarantine(hub):
    """Every other sequence number, until no more holes are remembered. The receipt names the sensor and says what to do."""
    hub.create("holes-gateway", "--gateway")
    hub.create("holes-oven", "--parent", "holes-gateway")
    device = hub.connect("holes-gateway")
    device.subscribe("$fieldline/receipts")

    def send(numbers):
        records = [{**reading(number), "device": "holes-oven"} for number in numbers]
        batch = {"v": 1, "epoch": EPOCH, "runs": [[str(number), "1"] for number in numbers], "records": records}
        device.acknowledged(device.publish(json.dumps(batch, separators=(",", ":")).encode(), bag=BAG))
    numbers = range(1, 2 * HOLES_MAX, 2)
    for first in range(0, HOLES_MAX, NARROW):
        send(numbers[first:first + NARROW])
    assert not device.has(3), "there is room for so many"
    beyond = [2 * HOLES_MAX + 11, 2 * HOLES_MAX + 13]
    send(beyond)
    topic, payload = device.message()
    receipt = json.loads(payload)
    assert (topic, receipt["epoch"]) == ("$fieldline/receipts", EPOCH)
    assert [(entry["run"], entry["code"]) for entry in receipt["entries"]] == [
        ([str(number), "1"], "tooManyGaps") for number in beyond]
    assert receipt["entries"][1]["first"] == {"device": "holes-oven", "metric": "temperature", "time": TIME}
    assert "move the outbox file away" in receipt["entries"][0]["reason"]
    for number in beyond:
        found = json.loads(hub.stage.hub_command(
            "trace", "holes-gateway", str(number), "--output", "json", data=hub.process.data))
        assert (found["state"], found["code"]) == ("quarantined", "tooManyGaps")
    device.close()
