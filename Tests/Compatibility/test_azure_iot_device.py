"""The unmodified azure-iot-device: telemetry, twin, method, cloud-to-device.

The SDK has port 8883 in its code; the hub of this folder listens there.
"""

import json
import threading

import pytest
from azure.iot.device import IoTHubDeviceClient, Message, MethodResponse
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties

DEVICE = "sdk-1"


@pytest.fixture
def client(hub):
    if DEVICE not in hub.stage.hub_command("device", "list"):
        hub.create(DEVICE)
    with open(hub.ca) as certificate:
        client = IoTHubDeviceClient.create_from_connection_string(
            hub.stage.device_string(DEVICE), server_verification_cert=certificate.read())
    client.connect()
    yield client
    client.shutdown()


@pytest.fixture
def registry(hub, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", hub.ca)
    return IoTHubRegistryManager.from_connection_string(hub.policy_string)


def test_telemetry(hub, client):
    message = Message('{"level": 3}', message_id="m-1", content_type="application/json", content_encoding="utf-8")
    message.custom_properties["a b"] = "v/1&=ü"
    client.send_message(message)
    event = json.loads(hub.monitor(DEVICE).line("{"))
    assert event["body"] == {"level": 3}
    assert event["properties"] == {"a b": "v/1&=ü"}
    assert event["system"]["message-id"] == "m-1"


def test_twin_get_patch_and_desired(client, registry):
    assert client.get_twin()["reported"]["$version"] >= 1
    client.patch_twin_reported_properties({"colour": "green", "gone": None, "deep": {"x": 1}})
    assert client.get_twin()["reported"]["colour"] == "green"

    arrived = threading.Event()
    seen = {}
    def on_patch(patch):
        if "interval" in patch:
            seen.update(patch)
            arrived.set()
    client.on_twin_desired_properties_patch_received = on_patch
    before = registry.get_twin(DEVICE)
    registry.update_twin(DEVICE, Twin(properties=TwinProperties(desired={"interval": 5})), before.etag)
    assert arrived.wait(15), "the desired patch did not arrive"
    assert seen["interval"] == 5
    twin = registry.get_twin(DEVICE)
    assert twin.properties.desired["interval"] == 5
    assert twin.properties.reported["colour"] == "green"


def test_direct_method(client, registry):
    def answer(request):
        client.send_method_response(MethodResponse.create_from_method_request(request, 201, {"echo": request.payload}))
    client.on_method_request_received = answer
    result = registry.invoke_device_method(
        DEVICE, CloudToDeviceMethod(method_name="reboot", payload={"x": 1}, response_timeout_in_seconds=20))
    assert (result.status, result.payload) == (201, {"echo": {"x": 1}})


def test_cloud_to_device(hub, client):
    arrived = threading.Event()
    seen = []
    def on_message(message):
        seen.append(message)
        arrived.set()
    client.on_message_received = on_message
    hub.stage.hub_command(
        "device", "send", DEVICE, "--body", "hello", "--message-id", "c-1", "--property", "colour=dark red")
    assert arrived.wait(15), "the message did not arrive"
    assert seen[0].data == b"hello"
    assert seen[0].message_id == "c-1"
    assert seen[0].custom_properties["colour"] == "dark red"
