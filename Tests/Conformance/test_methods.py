"""Direct methods, from the REST call to the device and back."""

import json
import threading
import time

import pytest

from claims import claims

LIFETIME = "Learn: Understand and invoke direct methods from IoT Hub – Method lifecycle"
SERVICE = "Learn: Understand and invoke direct methods from IoT Hub – Invoke a direct method from a back-end app"
DEVICE = "Learn: Understand and invoke direct methods from IoT Hub – Handle a direct method on a device"
MQTT = "Learn: Communicate with an IoT hub using the MQTT protocol – Respond to a direct method"
LIMITS = "Learn: IoT Hub quotas and throttling – Other limits"


class Call:
    """A method that a service invokes; the answer is there when `answer` returns."""

    def __init__(self, hub, path, method="m", **body):
        self._found = []
        self._thread = threading.Thread(target=lambda: self._found.append(
            hub.rest("POST", f"/twins/{path}/methods", {"methodName": method, "responseTimeoutInSeconds": 15, **body})))
        self._thread.start()

    def answer(self):
        self._thread.join()
        (status, headers, body), = self._found
        return status, headers, json.loads(body) if body else None


@pytest.fixture
def device(hub, name):
    device = hub.connect(name)
    device.subscribe("$iothub/methods/POST/#", qos=0)
    yield device
    device.close()


def request(device):
    """The method's name, the id of the request, its body."""
    topic, body = device.message()
    method, _, rid = topic.removeprefix("$iothub/methods/POST/").partition("/?$rid=")
    return method, rid, body


def respond(device, rid, status, body=b""):
    device.acknowledged(device.publish(body, topic=f"$iothub/methods/res/{status}/?$rid={rid}"))


@claims(MQTT, SERVICE, DEVICE)
@pytest.mark.parametrize("status, answer, payload", [
    (200, b'{"echo":[1]}', {"echo": [1]}), (-5, b"null", None), (2147483647, b'"text"', "text"), (204, b"", None),
    (0, b"1.50", 1.5)])
def test_a_method_reaches_the_device_and_its_status_and_payload_come_back_as_they_are(hub, name, device, status, answer, payload):
    call = Call(hub, name, "reboot", payload={"delay": 3})
    method, rid, body = request(device)
    assert (method, json.loads(body)) == ("reboot", {"delay": 3})
    respond(device, rid, status, answer)
    code, _, found = call.answer()
    assert (code, found) == (200, {"status": status, "payload": payload})


@claims(LIFETIME)
@pytest.mark.parametrize("state", ["away", "connected without subscription", "unsubscribed"])
def test_a_method_for_whoever_does_not_listen_is_answered_404(hub, name, state):
    device = hub.connect(name) if state != "away" else None
    if state == "unsubscribed":
        device.subscribe("$iothub/methods/POST/#")
        device.send(b"\xa2\x1a\x00\x04\x00\x16$iothub/methods/POST/#")
        device.receive(11)
    status, headers, body = Call(hub, name).answer()
    assert (status, headers["iothub-errorcode"]) == (404, "DeviceNotOnline")
    assert json.loads(body["Message"])["errorCode"] == 404103
    if device:
        device.close()


@claims(LIFETIME)
def test_a_method_waits_for_the_device_to_connect_as_long_as_its_caller_says(hub, name):
    call = Call(hub, name, connectTimeoutInSeconds=60)
    device = hub.connect(name)
    device.subscribe("$iothub/methods/POST/#", qos=0)
    _, rid, _ = request(device)
    respond(device, rid, 200)
    assert call.answer()[0] == 200
    device.close()


@claims(LIFETIME)
def test_a_method_that_is_not_answered_in_time_is_answered_504(hub, name, device):
    begin = time.monotonic()
    call = Call(hub, name, responseTimeoutInSeconds=5)
    request(device)
    status, headers, body = call.answer()
    assert (status, headers["iothub-errorcode"]) == (504, "GatewayTimeout")
    assert json.loads(body["Message"])["errorCode"] == 504101
    assert time.monotonic() - begin >= 5


@claims(LIFETIME)
@pytest.mark.parametrize("timeouts", [
    {"responseTimeoutInSeconds": 4}, {"responseTimeoutInSeconds": 301}, {"connectTimeoutInSeconds": -1},
    {"connectTimeoutInSeconds": 301}, {"responseTimeoutInSeconds": "5"}])
def test_a_time_out_outside_its_range_is_answered_400(hub, name, timeouts):
    assert Call(hub, name, **timeouts).answer()[0] == 400


@claims(LIMITS)
def test_a_payload_of_128_kilobytes_passes_both_ways_and_more_is_answered_413(hub, name, device):
    text = "x" * (131_072 - 2)
    call = Call(hub, name, payload=text)
    _, rid, body = request(device)
    assert len(body) == 131_072
    respond(device, rid, 200, body)
    assert call.answer()[2] == {"status": 200, "payload": text}
    assert Call(hub, name, payload=text + "x").answer()[0] == 413
    call = Call(hub, name)
    _, rid, _ = request(device)
    respond(device, rid, 200, body[:-1] + b'x"')
    assert call.answer()[0] == 413


@claims(SERVICE)
def test_many_methods_run_at_once_and_each_caller_gets_its_own_answer(hub, name, device):
    calls = [Call(hub, name, f"m{number}", payload=number) for number in range(20)]
    requests = [request(device) for _ in calls]
    assert len({rid for _, rid, _ in requests}) == len(calls)
    for method, rid, body in reversed(requests):
        respond(device, rid, 200, json.dumps([method, int(body)]).encode())
    assert [call.answer()[2]["payload"] for call in calls] == [[f"m{number}", number] for number in range(20)]


@claims(SERVICE)
@pytest.mark.parametrize("method", ["", "a/b", "a+b", "a#b", "x" * 65, None])
def test_a_name_that_fits_into_no_topic_is_answered_400(hub, name, method):
    assert Call(hub, name, method).answer()[0] == 400


@claims("Learn: Understand and use module twins in IoT Hub – Back-end operations", SERVICE)
def test_a_method_of_a_module_reaches_the_module_and_not_its_device(hub, name, device, module):
    module.subscribe("$iothub/methods/POST/#", qos=0)
    call = Call(hub, f"{name}/modules/m", "read")
    method, rid, _ = request(module)
    respond(module, rid, 201, b"1")
    assert (method, call.answer()[2]) == ("read", {"status": 201, "payload": 1})
    assert not device.has(3)


@claims("REST: Devices - Invoke Method")
def test_a_method_of_a_device_that_does_not_exist_is_answered_404_with_another_code(hub):
    status, headers, body = Call(hub, "nobody-knows").answer()
    assert (status, headers["iothub-errorcode"]) == (404, "DeviceNotFound")
    assert body["Message"].startswith("ErrorCode:DeviceNotFound;")
