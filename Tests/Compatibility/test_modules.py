"""Modules with the unmodified azure-iot-device and azure-iot-hub: an identity, a twin, methods and telemetry of their own."""

import contextlib
import json
import threading

import pytest
from azure.iot.device import X509, IoTHubModuleClient, Message, MethodResponse
from azure.iot.device.exceptions import ClientError, CredentialError
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties

from certificates import made
from claims import claims
from stage import wait_until

DEVICE = "line-1"


@pytest.fixture
def registry(hub, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", hub.ca)
    return IoTHubRegistryManager.from_connection_string(hub.policy_string)


@pytest.fixture
def module(hub, registry):
    """A new module of the same device each time: its name."""
    if DEVICE not in {device.device_id for device in registry.get_devices()}:
        hub.create(DEVICE)
    name = f"reader-{len(registry.get_modules(DEVICE))}"
    registry.create_module_with_sas(DEVICE, name, "somebody", None, None)
    return name


def string_of(hub, module):
    return hub.stage.hub_command("connection-string", "--device", DEVICE, "--module", module)


def client_of(hub, module, **options):
    with open(hub.ca) as authority:
        return IoTHubModuleClient.create_from_connection_string(
            string_of(hub, module), server_verification_cert=authority.read(), **options)


@contextlib.contextmanager
def connected(client):
    client.connect()
    try:
        yield client
    finally:
        client.shutdown()


def test_telemetry_of_a_module_carries_both_names_and_its_own_generation(hub, registry, module):
    with connected(client_of(hub, module)) as client:
        message = Message('{"level": 3}', message_id="m-1", content_type="application/json", content_encoding="utf-8")
        message.custom_properties["a b"] = "v/1&=ü"
        client.send_message(message)
    event = next(event for event in events(hub) if event.get("module") == module)
    assert event["device"] == DEVICE
    assert event["body"] == {"level": 3}
    assert event["properties"] == {"a b": "v/1&=ü"}
    annotations = event["annotations"]
    assert annotations["iothub-connection-device-id"] == DEVICE
    assert annotations["iothub-connection-module-id"] == module
    assert annotations["iothub-connection-auth-generation-id"] == registry.get_module(DEVICE, module).generation_id
    assert json.loads(annotations["iothub-connection-auth-method"]) == {
        "scope": "module", "type": "sas", "issuer": "iothub"}


def test_a_message_to_an_output_keeps_the_outputs_name(hub, module):
    with connected(client_of(hub, module)) as client:
        client.send_message_to_output('{"level": 4}', "upstream")
    event = next(event for event in events(hub) if event.get("module") == module)
    assert event["body"] == {"level": 4}
    assert event["system"]["output-name"] == "upstream"


def events(hub):
    output = hub.stage.hub_command("monitor", DEVICE, "--from-start", "--no-follow", timeout=60)
    return [json.loads(line) for line in output.splitlines()]


def test_the_twin_of_a_module_is_its_own(hub, registry, module):
    with connected(client_of(hub, module)) as client:
        assert client.get_twin() == {"desired": {"$version": 1}, "reported": {"$version": 1}}
        client.patch_twin_reported_properties({"colour": "green", "gone": None, "deep": {"x": 1}})
        assert client.get_twin()["reported"] == {"colour": "green", "deep": {"x": 1}, "$version": 2}
        arrived = threading.Event()
        seen = {}

        def on_patch(patch):
            seen.update(patch)
            arrived.set()
        client.on_twin_desired_properties_patch_received = on_patch
        before = registry.get_module_twin(DEVICE, module)
        assert (before.device_id, before.module_id, before.version) == (DEVICE, module, 2)
        after = registry.update_module_twin(
            DEVICE, module, Twin(tags={"hall": 2}, properties=TwinProperties(desired={"interval": 5})), before.etag)
        assert after.tags == {"hall": 2}
        assert arrived.wait(15), "the desired patch did not arrive"
        assert seen == {"interval": 5, "$version": 2}
        with pytest.raises(ClientError):
            client.patch_twin_reported_properties({"a.b": 1})
    twin = registry.get_module_twin(DEVICE, module)
    assert twin.properties.reported["colour"] == "green"
    replaced = registry.replace_module_twin(
        DEVICE, module, Twin(properties=TwinProperties(desired={"mode": "eco"})), twin.etag)
    assert replaced.properties.desired["mode"] == "eco"
    assert "interval" not in replaced.properties.desired
    assert replaced.tags == {}
    own = registry.get_twin(DEVICE)
    assert own.properties.desired.keys() == {"$metadata", "$version"}


def test_a_direct_method_reaches_the_module_and_not_its_device(hub, registry, module):
    with connected(client_of(hub, module)) as client:
        def answer(request):
            client.send_method_response(
                MethodResponse.create_from_method_request(request, 201, {"echo": request.payload}))
        client.on_method_request_received = answer
        call = CloudToDeviceMethod(method_name="reset", payload={"x": 1}, response_timeout_in_seconds=20)
        result = registry.invoke_device_module_method(DEVICE, module, call)
        assert (result.status, result.payload) == (201, {"echo": {"x": 1}})
        with pytest.raises(Exception) as away:
            registry.invoke_device_method(DEVICE, call)
        assert away.value.response.status_code == 404


def test_connection_state_and_last_activity_are_the_modules_own(hub, registry, module):
    never = registry.get_module(DEVICE, module)
    assert never.connection_state == "Disconnected"
    assert never.last_activity_time.year == never.connection_state_updated_time.year == 1
    with connected(client_of(hub, module)):
        here = registry.get_module(DEVICE, module)
        assert here.connection_state == "Connected"
        assert here.connection_state_updated_time.year > 2000
        assert registry.get_device(DEVICE).connection_state == "Disconnected"
        assert registry.get_module_twin(DEVICE, module).connection_state == "Connected"
    wait_until("the hub's word that it left",
               lambda: registry.get_module(DEVICE, module).connection_state == "Disconnected")
    assert registry.get_module(DEVICE, module).last_activity_time >= here.last_activity_time


def test_a_key_that_was_exchanged_cuts_off_and_the_new_one_lets_in(hub, registry, module):
    old = client_of(hub, module, connection_retry=False)
    old.connect()
    record = registry.get_module(DEVICE, module)
    keys = record.authentication.symmetric_key
    registry.update_module_with_sas(
        DEVICE, module, record.managed_by, record.etag, keys.secondary_key, keys.primary_key)
    assert old.connected, "both keys are still good, in whatever place they stand"
    fresh = registry.update_module_with_sas(DEVICE, module, "somebody", None, "", "")
    assert fresh.authentication.symmetric_key.primary_key == keys.secondary_key, "an empty key keeps what is there"
    registry.update_module_with_sas(DEVICE, module, "somebody", None, "A" * 43 + "=", "B" * 43 + "=")
    wait_until("the end of the connection with the old key", lambda: not old.connected)
    with pytest.raises(CredentialError):
        old.connect()
    old.shutdown()
    with connected(client_of(hub, module)) as client:
        assert client.connected


def test_a_deleted_module_is_cut_off_and_its_name_begins_anew(hub, registry, module):
    first = registry.get_module(DEVICE, module)
    registry.update_module_twin(DEVICE, module, Twin(tags={"hall": 2}))
    client = client_of(hub, module, connection_retry=False)
    client.connect()
    registry.delete_module(DEVICE, module, first.etag)
    wait_until("the end of its connection", lambda: not client.connected)
    client.shutdown()
    again = registry.create_module_with_sas(DEVICE, module, None, None, None)
    assert again.generation_id != first.generation_id
    assert registry.get_module_twin(DEVICE, module).tags == {}


@pytest.mark.parametrize("which", ["disable", "delete"])
def test_the_modules_of_a_device_go_with_it(hub, registry, module, which):
    client = client_of(hub, module, connection_retry=False)
    client.connect()
    if which == "delete":
        registry.delete_device(DEVICE)
    else:
        device = registry.get_device(DEVICE)
        keys = device.authentication.symmetric_key
        registry.update_device_with_sas(DEVICE, device.etag, keys.primary_key, keys.secondary_key, "disabled")
    wait_until("the end of its connection", lambda: not client.connected)
    with pytest.raises(CredentialError):
        client.connect()
    client.shutdown()
    if which == "disable":
        registry.update_device_with_sas(DEVICE, None, keys.primary_key, keys.secondary_key, "enabled")


def test_a_module_with_a_thumbprint(hub, registry, module, tmp_path):
    own, foreign = made(tmp_path, "own"), made(tmp_path, "foreign")
    record = registry.create_module_with_x509(DEVICE, f"{module}-x", None, own.sha256, None)
    assert record.authentication.type == "selfSigned"

    def client_with(certificate):
        with open(hub.ca) as authority:
            return IoTHubModuleClient.create_from_x509_certificate(
                x509=X509(*map(str, certificate.files)), hostname="localhost", device_id=DEVICE,
                module_id=f"{module}-x", server_verification_cert=authority.read(), connection_retry=False)
    with connected(client_with(own)) as client:
        client.send_message("{}")
    event = next(event for event in events(hub) if event.get("module") == f"{module}-x")
    assert json.loads(event["annotations"]["iothub-connection-auth-method"]) == {
        "scope": "module", "type": "x509Certificate", "issuer": "iothub"}
    stranger = client_with(foreign)
    with pytest.raises(CredentialError):
        stranger.connect()
    stranger.shutdown()


@claims("Learn: IoT Hub quotas and throttling – Other limits")
def test_a_device_takes_fifty_modules_and_no_more(hub, registry):
    hub.create("full")
    for number in range(50):
        registry.create_module_with_sas("full", f"m-{number}", None, None, None)
    with pytest.raises(Exception) as full:
        registry.create_module_with_sas("full", "m-50", None, None, None)
    assert full.value.response.status_code == 403
    assert full.value.response.json()["Message"] == (
        "ErrorCode:IotHubQuotaExceeded;device full has 50 modules, which is the limit")
    registry.delete_module("full", "m-7")
    registry.create_module_with_sas("full", "m-50", None, None, None)
    assert len(registry.get_modules("full")) == 50
