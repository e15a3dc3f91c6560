"""The unmodified azure-iot-device, by MQTT and by MQTT over WebSocket: telemetry, twin, method, cloud-to-device.

The SDK has ports 8883 and 443 in its code; the hub of this folder listens there. Port 443 takes root or
CAP_NET_BIND_SERVICE; without them what needs it is skipped.
"""

import json
import threading

import pytest
from azure.iot.device import X509, IoTHubDeviceClient, Message, MethodResponse
from azure.iot.device.exceptions import CredentialError
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties

from certificates import made

DEVICE = "sdk-1"


@pytest.fixture(params=[False, True], ids=["mqtt", "websocket"])
def websockets(hub, request):
    if request.param and hub.https != 443:
        pytest.skip("port 443 takes root or CAP_NET_BIND_SERVICE, and the SDK knows no other")
    return request.param


@pytest.fixture
def client(hub, websockets):
    if DEVICE not in hub.stage.hub_command("device", "list"):
        hub.create(DEVICE)
    with open(hub.ca) as certificate:
        client = IoTHubDeviceClient.create_from_connection_string(
            hub.stage.device_string(DEVICE), server_verification_cert=certificate.read(), websockets=websockets)
    client.connect()
    yield client
    client.shutdown()


@pytest.fixture
def registry(hub, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", hub.ca)
    return IoTHubRegistryManager.from_connection_string(hub.policy_string)


def test_telemetry(hub, client, websockets):
    message = Message('{"level": 3}', message_id=f"m-{websockets}", content_type="application/json", content_encoding="utf-8")
    message.custom_properties["a b"] = "v/1&=ü"
    client.send_message(message)
    monitor = hub.monitor(DEVICE)
    event = json.loads(monitor.line("{"))
    while event["system"]["message-id"] != f"m-{websockets}":
        event = json.loads(monitor.line("{"))
    assert event["body"] == {"level": 3}
    assert event["properties"] == {"a b": "v/1&=ü"}


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
        "device", "send", DEVICE, "hello", "--message-id", "c-1", "--property", "colour=dark red")
    assert arrived.wait(15), "the message did not arrive"
    assert seen[0].data == b"hello"
    assert seen[0].message_id == "c-1"
    assert seen[0].custom_properties["colour"] == "dark red"


def by_command(hub, registry, name, own, spare):
    hub.stage.hub_command("device", "create", name, "--thumbprint", own.sha1, "--secondary-thumbprint", spare.sha256)


def by_registry_manager(hub, registry, name, own, spare):
    device = registry.create_device_with_x509(name, own.sha1.upper(), spare.sha1.upper(), "enabled")
    assert device.authentication.type == "selfSigned"


@pytest.mark.parametrize("register", [by_command, by_registry_manager], ids=lambda register: register.__name__)
def test_a_device_with_a_thumbprint_connects_with_either_certificate_and_no_other(
        hub, registry, tmp_path, register, websockets):
    name = f"x509-{register.__name__}-{'ws' if websockets else 'mqtt'}"
    own, spare, foreign = (made(tmp_path, which) for which in ("own", "spare", "foreign"))
    register(hub, registry, name, own, spare)

    def client_with(certificate):
        with open(hub.ca) as authority:
            return IoTHubDeviceClient.create_from_x509_certificate(
                x509=X509(*map(str, certificate.files)), hostname="localhost", device_id=name,
                server_verification_cert=authority.read(), connection_retry=False, websockets=websockets)

    for number, certificate in enumerate((own, spare)):
        client = client_with(certificate)
        client.connect()
        client.send_message(Message(json.dumps({"n": number}), content_type="application/json", content_encoding="utf-8"))
        client.shutdown()
    stranger = client_with(foreign)
    with pytest.raises(CredentialError):
        stranger.connect()
    stranger.shutdown()
    monitor = hub.monitor(name)
    events = [json.loads(monitor.line("{")) for _ in range(2)]
    assert [event["body"] for event in events] == [{"n": 0}, {"n": 1}]
    for event in events:
        method = json.loads(event["annotations"]["iothub-connection-auth-method"])
        assert method == {"scope": "device", "type": "x509Certificate", "issuer": "iothub"}
