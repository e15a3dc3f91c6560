"""The HTTPS device API, limits on what devices may do, and what `cloud-hub device events` says of them; over real sockets."""

import json
import time

import pytest

from claims import claims
from clients import ACCEPTED, PUBLISH, RawDevice, same, wait_line
from sas import service_token
from services import HTTPSHub
from stage import Stage, wait_until

INSTANT = r"<\d{4}-\d\d-\d\dT[\d:.]+Z>"
LIMITS = """
[throttles]
device_telemetry = "20/s"
device_connections = "3/h"
device_twin_reads = "2/h"
device_twin_updates = "1/h"
device_cloud_to_device = "2/h"
device_methods = "1/h"
hub_registry = "5/h"
"""


@pytest.fixture(scope="module")
def hub(programs, tmp_path_factory):
    with Stage(programs, tmp_path_factory.mktemp("hub")) as stage:
        yield HTTPSHub(stage)


@pytest.fixture
def limited(stage, tmp_path):
    config = tmp_path / "hub.toml"
    config.write_text(LIMITS)
    return HTTPSHub(stage, extra=("--config", str(config)))


# -- the device API


def test_an_answered_event_survives_a_kill(stage):
    hub = HTTPSHub(stage)
    hub.create("killed")
    for number in range(20):
        assert hub.call("POST", "/devices/killed/messages/events", hub.token("killed"), str(number).encode())[0] == 204
    hub.process.kill()
    hub.process = stage.start_hub(name="again", data=hub.process.data)
    assert hub.bodies("killed") == list(range(20))


@claims("Learn: Understand cloud-to-device messaging from an IoT hub – The cloud-to-device message life cycle")
def test_a_lock_that_is_over_gives_the_message_back_to_a_connected_device(stage, tmp_path):
    (tmp_path / "hub.toml").write_text('[cloud_to_device]\nlock_time = "1s"\n')
    hub = HTTPSHub(stage, extra=("--config", str(tmp_path / "hub.toml")))
    hub.create("both")
    hub.says("device", "send", "both", "once more")
    status, headers, _ = hub.call("GET", "/devices/both/messages/deviceBound", hub.token("both"))
    assert status == 200
    device = hub.connect("both")
    device.subscribe("devices/both/messages/devicebound/#")
    body = device.receive(PUBLISH)
    assert body.endswith(b"once more")
    lock = headers["ETag"].strip('"')
    assert hub.call("DELETE", f"/devices/both/messages/deviceBound/{lock}", hub.token("both"))[0] == 412
    device.close()


def test_services_read_feedback_in_batches(hub):
    hub.create("asked")
    token = service_token(hub.stage.hub_command("connection-string", "--policy", "service", data=hub.process.data))
    path = "/messages/serviceBound/feedback"
    while (answer := hub.call("GET", path, token))[0] == 200:
        assert hub.call("DELETE", f"{path}/{answer[1]['ETag'].strip(chr(34))}", token)[0] == 204
    hub.says("device", "send", "asked", "text", "--message-id", "m-9", "--ack", "negative")
    status, _, body = hub.call("DELETE", "/devices/asked/commands", token)
    assert (status, json.loads(body)) == (200, {"totalMessagesPurged": 1, "deviceId": "asked", "moduleId": None})
    status, headers, body = hub.call("GET", path, token)
    assert (status, headers["Content-Type"]) == (200, "application/vnd.microsoft.iothub.feedback.json")
    record, = json.loads(body)
    same(record.pop("enqueuedTimeUtc"), INSTANT)
    assert record.pop("deviceGenerationId")
    assert record == {"originalMessageId": "m-9", "statusCode": "Purged", "description": "Purged", "deviceId": "asked"}
    assert hub.call("GET", path, token)[0] == 204
    lock = headers["ETag"].strip('"')
    assert hub.call("POST", f"{path}/{lock}/abandon", token)[0] == 204
    assert hub.call("DELETE", f"{path}/{lock}", token)[0] == 412
    assert hub.call("GET", path, hub.token("asked"))[0] == 401


# -- what a device is told, and what the operator finds


def test_events_say_why_a_device_was_refused_disconnected_or_taken_over(hub):
    hub.create("watched")
    hub.create("other")
    first = hub.connect("watched")
    second = hub.connect("watched")
    assert first.is_closed()
    RawDevice(hub.process, "watched", hub.token("other"))
    assert hub.call("POST", "/devices/watched/messages/events", hub.token("other"), b"x")[0] == 401
    second.send(b"\xe0\x00")
    wait_until("the goodbye", lambda: hub.device_events("watched")[-1]["kind"] == "disconnected")
    lines = hub.says("device", "events", "watched").splitlines()
    same(lines[0], f"{INSTANT}  watched  taken-over from 127.0.0.1: the same identity connected again; use one connection per device "
         "identity")
    key = ("the token of watched is signed with neither of its two keys; give it the connection string from the registry")
    same(lines[1], f"{INSTANT}  watched  refused from 127.0.0.1<.*>: {key}")
    assert sum(event["times"] for event in hub.device_events("watched") if event["kind"] == "refused") == 2
    same(lines[-1], f"{INSTANT}  watched  disconnected from 127.0.0.1: the device disconnected")
    shown = dict(line.split("  ", 1) for line in hub.says("device", "show", "watched").splitlines())
    same(shown["newestEvent"].strip(), f"{INSTANT} disconnected: the device disconnected")


def test_somebody_who_is_not_registered_is_found_too(hub):
    hub.create("somebody")
    assert RawDevice(hub.process, "nobody", hub.token("somebody")).code == 5
    event, = hub.device_events("nobody")
    same(event.pop("time"), INSTANT)
    assert event == {"device": "nobody", "kind": "refused", "times": 1, "address": "127.0.0.1",
                     "proven": False,
                     "reason": "device nobody is not registered; create it with 'cloud-hub device create'"}


def test_followed_events_come_as_they_happen(hub):
    hub.create("followed")
    follower = hub.stage.start(
        "follow", [hub.stage.programs / "cloud-hub", "device", "events", "followed", "--follow", "--data", hub.process.data])
    seen = []

    def knocked():
        # Until the follower listens, nothing says that it does: so it is knocked until it hears.
        RawDevice(hub.process, "followed", "nonsense").close()
        return follower.log_has("followed  refused from 127.0.0.1") or seen

    wait_until("a followed event", knocked, every=0.2)
    hub.connect("followed").send(b"\xe0\x00")
    follower.wait_log("followed  disconnected from 127.0.0.1: the device disconnected")


# -- limits


@claims("Learn: IoT Hub quotas and throttling – Operation throttles")
def test_telemetry_beyond_the_limit_comes_late_and_none_is_lost(limited):
    hub = limited
    hub.create("eager")
    device = hub.connect("eager")
    start = time.monotonic()
    for round in range(3):
        ids = [device.publish(round * 25 + number) for number in range(25)]
        for packet_id in ids:
            device.acknowledged(packet_id)
    # Twenty may come at once; what one read brings is still taken.
    assert time.monotonic() - start >= (75 - 20 - 25) / 20
    assert hub.bodies("eager") == list(range(75))
    reason = "one device may do 20/s telemetry messages; send less often, or raise [throttles] device_telemetry"
    throttled = [event for event in hub.device_events("eager") if event["kind"] == "throttled"]
    assert [event["reason"] for event in throttled] == [reason]
    wait_line(hub.process, "device=eager", reason, "a device was throttled")
    batch = json.dumps([{"body": "MQ=="}] * 20).encode()
    call = ("POST", "/devices/eager/messages/events", hub.token("eager"), batch,
            {"Content-Type": "application/vnd.microsoft.iothub.json"})
    assert hub.call(*call)[0] == 204
    status, headers, _ = hub.call(*call)
    assert (status, headers["iothub-errorcode"]) == (429, "ThrottlingException")
    assert int(headers["Retry-After"]) >= 1
    device.close()


@claims("Learn: IoT Hub quotas and throttling – Operation throttles")
def test_twin_requests_beyond_the_limit_get_429(limited):
    hub = limited
    hub.create("curious")
    device = hub.connect("curious")
    device.subscribe("$iothub/twin/res/#", qos=0)
    answers = []
    for rid in range(3):
        device.publish(b" ", topic=f"$iothub/twin/GET/?$rid={rid}")
        answers.append(device.message()[0])
    assert answers == ["$iothub/twin/res/200/?$rid=0", "$iothub/twin/res/200/?$rid=1", "$iothub/twin/res/429/?$rid=2"]
    for rid in range(2):
        device.publish(b'{"a":1}', topic=f"$iothub/twin/PATCH/properties/reported/?$rid=p{rid}")
        answers.append(device.message()[0])
    assert answers[3:] == ["$iothub/twin/res/204/?$rid=p0&$version=2", "$iothub/twin/res/429/?$rid=p1"]
    device.close()


def test_a_device_that_connects_too_often_gets_return_code_3(limited):
    hub = limited
    hub.create("restless")
    for _ in range(3):
        hub.connect("restless").close()
    assert RawDevice(hub.process, "restless", hub.token("restless")).code == 3
    assert "one device may do 3/h connections" in hub.device_events("restless")[-1]["reason"]
    hub.create("calm")
    assert hub.connect("calm").code == ACCEPTED


def test_service_calls_beyond_the_limit_get_429_with_a_time_to_try_again(limited):
    hub = limited
    hub.create("served")
    for _ in range(2):
        hub.says("device", "send", "served", "text")
    done = hub.stage.hub_command("device", "send", "served", "text", data=hub.process.data, check=False)
    assert (done.returncode, done.stderr.strip()) == (
        1, "cloud-hub: one device may do 2/h cloud-to-device messages; send less often, or raise [throttles] device_cloud_to_device")
    token = service_token(hub.stage.hub_command("connection-string", data=hub.process.data))
    body = b'{"methodName":"reboot","responseTimeoutInSeconds":5}'
    assert hub.call("POST", "/twins/served/methods", token, body)[0] == 404
    status, headers, _ = hub.call("POST", "/twins/served/methods", token, body)
    assert (status, headers["Retry-After"]) == (429, "3600")
    assert [hub.call("GET", "/devices/served", token)[0] for _ in range(6)] == [200] * 5 + [429]
