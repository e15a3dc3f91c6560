"""Every public method of the unmodified registry manager of azure-iot-hub that this hub serves."""

import base64
import datetime
import inspect
import os
import pathlib
import re

import pytest
from azure.iot.device import IoTHubDeviceClient, MethodResponse
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import (
    AuthenticationMechanism,
    CloudToDeviceMethod,
    ExportImportDevice,
    SymmetricKey,
    Twin,
    TwinProperties,
)
from msrest.exceptions import HttpOperationError

from claims import claims
from stage import wait_until

# What has no scenario, and why not.
WITHOUT_SCENARIO = {
    "send_c2d_message": "it speaks AMQP only, which this hub does not yet",
    "query_iot_hub": "the query language is not served yet",
    "from_token_credential": "its tokens are made by Microsoft Entra, which no hub of one's own can check",
}


def test_every_public_method_has_a_scenario_or_a_reason():
    public = {name for name, _ in inspect.getmembers(IoTHubRegistryManager, callable) if not name.startswith("_")}
    named = set(re.findall(r"(?:registry|IoTHubRegistryManager)\.(\w+)", pathlib.Path(__file__).read_text()))
    assert not named & set(WITHOUT_SCENARIO), "what has a scenario needs no reason"
    assert public - named == set(WITHOUT_SCENARIO)


@pytest.fixture
def registry(hub, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", hub.ca)
    return IoTHubRegistryManager.from_connection_string(hub.policy_string)


def key():
    return base64.b64encode(os.urandom(32)).decode()


def refused(status, code, call, *arguments, **options):
    """The call raises with this status and IoT Hub's name for it; the sentence of the answer."""
    with pytest.raises(HttpOperationError) as found:
        call(*arguments, **options)
    answer = found.value.response
    assert (answer.status_code, answer.headers["iothub-errorcode"]) == (status, code)
    assert answer.json()["ExceptionMessage"].startswith("Tracking ID:")
    name, _, sentence = answer.json()["Message"].partition(";")
    assert name == f"ErrorCode:{code}"
    return sentence


# -- devices


def test_a_device_is_created_read_updated_and_deleted(registry):
    primary, secondary = key(), key()
    made = registry.create_device_with_sas("reg-1", primary, secondary, "enabled")
    assert made.authentication.type == "sas"
    assert made.authentication.symmetric_key.primary_key == primary
    assert made.authentication.symmetric_key.secondary_key == secondary
    assert made.connection_state == "Disconnected"
    assert (made.cloud_to_device_message_count, made.capabilities.iot_edge) == (0, False)
    never = datetime.datetime(1, 1, 1, tzinfo=datetime.timezone.utc)
    assert [made.last_activity_time, made.connection_state_updated_time, made.status_updated_time] == [never] * 3
    read = registry.get_device("reg-1")
    assert (read.etag, read.generation_id) == (made.etag, made.generation_id)
    updated = registry.update_device_with_sas("reg-1", read.etag, primary, secondary, "disabled", status_reason="spare")
    assert (updated.status, updated.status_reason) == ("disabled", "spare")
    assert updated.status_updated_time > never and updated.etag != read.etag
    assert updated.generation_id == made.generation_id
    assert refused(412, "PreconditionFailed", registry.delete_device, "reg-1", etag=read.etag) == (
        "device reg-1 was changed since; its etag is not the one in If-Match")
    registry.delete_device("reg-1", etag=updated.etag)
    assert refused(404, "DeviceNotFound", registry.get_device, "reg-1") == "device reg-1 is not registered"
    assert refused(404, "DeviceNotFound", registry.delete_device, "reg-1") == "device reg-1 is not registered"
    assert refused(404, "DeviceNotFound", registry.update_device_with_sas, "reg-1", None, primary, secondary, "enabled") == (
        "device reg-1 is not registered")
    again = registry.create_device_with_sas("reg-1", primary, secondary, "enabled")
    assert again.generation_id != made.generation_id


@pytest.mark.parametrize("given", [None, ""])
def test_keys_that_are_left_out_are_made_and_kept(registry, given):
    name = f"made-{given is None}"
    made = registry.create_device_with_sas(name, given, given, "enabled").authentication.symmetric_key
    assert len(base64.b64decode(made.primary_key)) == len(base64.b64decode(made.secondary_key)) == 32
    assert made.primary_key != made.secondary_key
    kept = registry.update_device_with_sas(name, None, given, given, "enabled").authentication.symmetric_key
    assert (kept.primary_key, kept.secondary_key) == (made.primary_key, made.secondary_key)


def test_a_second_create_is_a_conflict(registry):
    registry.create_device_with_sas("reg-2", key(), key(), "enabled")
    assert refused(409, "DeviceAlreadyExists", registry.create_device_with_sas, "reg-2", key(), key(), "enabled") == (
        "device reg-2 is registered already")


def test_x509_thumbprints_are_kept(registry):
    made = registry.create_device_with_x509("reg-3", "A" * 40, "B" * 40, "enabled")
    assert made.authentication.type == "selfSigned"
    assert made.authentication.x509_thumbprint.primary_thumbprint == "A" * 40
    changed = registry.update_device_with_x509("reg-3", made.etag, "C" * 64, None, "enabled")
    prints = changed.authentication.x509_thumbprint
    assert (prints.primary_thumbprint, prints.secondary_thumbprint) == ("C" * 64, None)
    assert refused(400, "ArgumentInvalid", registry.update_device_with_x509, "reg-3", None, "no hex", None, "enabled") == (
        "primaryThumbprint is neither a SHA-1 (40 hex digits) nor a SHA-256 (64 hex digits) thumbprint")


def test_a_device_of_an_authority_has_neither_keys_nor_thumbprints(registry):
    made = registry.create_device_with_certificate_authority("reg-ca", "enabled")
    assert made.authentication.type == "certificateAuthority"
    assert made.authentication.symmetric_key.primary_key is None
    assert made.authentication.x509_thumbprint.primary_thumbprint is None
    registry.update_device_with_sas("reg-ca", made.etag, None, None, "enabled")
    back = registry.update_device_with_certificate_authority("reg-ca", None, "disabled", status_reason="moved")
    assert (back.authentication.type, back.status, back.status_reason) == ("certificateAuthority", "disabled", "moved")


def test_a_gateway_gets_a_scope_and_its_child_carries_it(registry):
    gateway = registry.create_device_with_sas("gateway-1", None, None, "enabled", iot_edge=True)
    assert gateway.capabilities.iot_edge and gateway.device_scope.startswith("ms-azure-iot-edge://gateway-1-")
    assert {module.module_id for module in registry.get_modules("gateway-1")} == {"$edgeAgent", "$edgeHub"}
    child = registry.create_device_with_sas("leaf-1", None, None, "enabled", device_scope=gateway.device_scope)
    assert (child.device_scope, child.parent_scopes) == (gateway.device_scope, [gateway.device_scope])
    by_parent = registry.create_device_with_sas("leaf-2", None, None, "enabled", parent_scopes=gateway.device_scope)
    assert by_parent.device_scope == gateway.device_scope
    free = registry.update_device_with_sas("leaf-2", None, None, None, "enabled")
    assert (free.device_scope, free.parent_scopes) == (None, None)
    assert refused(
        400, "ArgumentInvalid", registry.create_device_with_sas, "leaf-3", None, None, "enabled", device_scope="nobody's"
    ) == "no gateway has the scope 'nobody's'; create the gateway first and copy its deviceScope"


@claims("Learn: Understand the identity registry in your IoT hub – Device identity properties")
@pytest.mark.parametrize("odd", ["-:.+%_#*?!(),=@;$'", "a" * 128])
def test_ids_may_have_every_character_that_iot_hub_allows(registry, odd):
    assert registry.create_device_with_sas(odd, None, None, "enabled").device_id == odd
    assert registry.get_device(odd).device_id == odd
    assert registry.create_module_with_sas(odd, odd, None, None, None).module_id == odd
    assert registry.get_module(odd, odd).module_id == odd
    assert registry.get_module_twin(odd, odd).module_id == odd
    registry.delete_device(odd)


def test_devices_are_listed(registry):
    for name in ("list-1", "list-2"):
        registry.create_device_with_sas(name, None, None, "enabled")
    assert {"list-1", "list-2"} <= {device.device_id for device in registry.get_devices(1000)}
    assert {"list-1", "list-2"} <= {device.device_id for device in registry.get_devices()}
    assert len(registry.get_devices(2)) == 2


# -- modules


def test_a_module_is_created_read_updated_and_deleted(registry):
    registry.create_device_with_sas("mod-1", None, None, "enabled")
    assert registry.get_modules("mod-1") == []
    primary, secondary = key(), key()
    made = registry.create_module_with_sas("mod-1", "reader", "me", primary, secondary)
    assert (made.device_id, made.module_id, made.managed_by) == ("mod-1", "reader", "me")
    assert made.authentication.symmetric_key.primary_key == primary
    assert made.connection_state == "Disconnected"
    assert made.generation_id != registry.get_device("mod-1").generation_id
    assert refused(
        409, "ModuleAlreadyExistsOnDevice", registry.create_module_with_sas, "mod-1", "reader", "me", None, None
    ) == "module reader is registered on device mod-1 already"
    changed = registry.update_module_with_sas("mod-1", "reader", "you", made.etag, secondary, primary)
    assert changed.managed_by == "you" and changed.authentication.symmetric_key.primary_key == secondary
    assert changed.generation_id == made.generation_id
    assert refused(
        412, "PreconditionFailed", registry.update_module_with_sas, "mod-1", "reader", "x", made.etag, primary, secondary
    ) == "module mod-1/reader was changed since; its etag is not the one in If-Match"
    assert [module.etag for module in registry.get_modules("mod-1")] == [changed.etag]
    assert registry.get_module("mod-1", "reader").etag == changed.etag
    assert refused(412, "PreconditionFailed", registry.delete_module, "mod-1", "reader", made.etag) == (
        "module mod-1/reader was changed since; its etag is not the one in If-Match")
    registry.delete_module("mod-1", "reader", changed.etag)
    gone = "module reader is not registered on device mod-1"
    assert refused(404, "ModuleNotFound", registry.get_module, "mod-1", "reader") == gone
    assert refused(404, "ModuleNotFound", registry.delete_module, "mod-1", "reader") == gone
    assert refused(404, "DeviceNotFound", registry.get_modules, "nobody") == "device nobody is not registered"
    assert refused(404, "DeviceNotFound", registry.create_module_with_sas, "nobody", "m", None, None, None) == (
        "device nobody is not registered")


def test_a_module_may_prove_itself_by_thumbprint_or_authority(registry):
    registry.create_device_with_sas("mod-2", None, None, "enabled")
    by_print = registry.create_module_with_x509("mod-2", "print", "me", "A" * 40, "B" * 64)
    assert by_print.authentication.type == "selfSigned"
    assert by_print.authentication.x509_thumbprint.secondary_thumbprint == "B" * 64
    changed = registry.update_module_with_x509("mod-2", "print", "me", by_print.etag, "C" * 40, None)
    assert changed.authentication.x509_thumbprint.primary_thumbprint == "C" * 40
    by_authority = registry.create_module_with_certificate_authority("mod-2", "chain", "me")
    assert by_authority.authentication.type == "certificateAuthority"
    again = registry.update_module_with_certificate_authority("mod-2", "print", "me", changed.etag)
    assert again.authentication.type == "certificateAuthority"


# -- twins


def test_the_twin_of_a_device(registry):
    registry.create_device_with_sas("twin-1", None, None, "enabled")
    first = registry.get_twin("twin-1")
    assert (first.version, first.tags, first.status, first.authentication_type) == (1, {}, "enabled", "sas")
    assert first.device_etag == registry.get_device("twin-1").etag
    changed = registry.update_twin(
        "twin-1", Twin(tags={"hall": 2}, properties=TwinProperties(desired={"a": 1, "b": {"c": 2}})), first.etag)
    assert changed.tags == {"hall": 2} and changed.properties.desired["b"] == {"c": 2}
    assert changed.properties.desired["$version"] == 2
    assert "$lastUpdated" in changed.properties.desired["$metadata"]["b"]["c"]
    merged = registry.update_twin("twin-1", Twin(properties=TwinProperties(desired={"a": None, "b": {"d": 3}})))
    assert merged.properties.desired["b"] == {"c": 2, "d": 3} and "a" not in merged.properties.desired
    assert refused(412, "PreconditionFailed", registry.update_twin, "twin-1", Twin(tags={}), first.etag)
    replaced = registry.replace_twin("twin-1", Twin(tags={"hall": 3}), merged.etag)
    assert replaced.tags == {"hall": 3} and "b" not in replaced.properties.desired
    assert refused(412, "PreconditionFailed", registry.replace_twin, "twin-1", Twin(), merged.etag)
    assert refused(404, "DeviceNotFound", registry.get_twin, "nobody") == "device nobody is not registered"


def test_the_twin_of_a_module(registry):
    registry.create_device_with_sas("twin-2", None, None, "enabled")
    registry.create_module_with_sas("twin-2", "m", None, None, None)
    first = registry.get_module_twin("twin-2", "m")
    assert (first.device_id, first.module_id, first.version) == ("twin-2", "m", 1)
    changed = registry.update_module_twin(
        "twin-2", "m", Twin(tags={"x": 1}, properties=TwinProperties(desired={"a": 1})), first.etag)
    assert (changed.tags, changed.properties.desired["a"]) == ({"x": 1}, 1)
    replaced = registry.replace_module_twin("twin-2", "m", Twin(tags={"y": 2}), changed.etag)
    assert replaced.tags == {"y": 2} and "a" not in replaced.properties.desired
    assert refused(412, "PreconditionFailed", registry.update_module_twin, "twin-2", "m", Twin(), first.etag)
    assert refused(404, "ModuleNotFound", registry.get_module_twin, "twin-2", "n") == "module twin-2/n is not registered"
    assert registry.get_twin("twin-2").tags == {}


# -- methods


def call(name, **options):
    return CloudToDeviceMethod(method_name=name, response_timeout_in_seconds=20, **options)


def test_a_method_of_a_device_and_of_a_module(hub, registry):
    registry.create_device_with_sas("meth-1", None, None, "enabled")
    registry.create_module_with_sas("meth-1", "m", None, None, None)
    for invoke in (
        lambda: registry.invoke_device_method("meth-1", call("reboot")),
        lambda: registry.invoke_device_module_method("meth-1", "m", call("reboot")),
    ):
        with pytest.raises(HttpOperationError) as away:
            invoke()
        assert away.value.response.status_code == 404
        assert '"errorCode":404103' in away.value.response.json()["Message"]
    with open(hub.ca) as authority:
        client = IoTHubDeviceClient.create_from_connection_string(
            hub.stage.device_string("meth-1"), server_verification_cert=authority.read())
    client.connect()
    asked = []

    def answer(request):
        asked.append((request.name, request.payload))
        client.send_method_response(MethodResponse.create_from_method_request(request, 207, {"done": True}))
    client.on_method_request_received = answer
    result = registry.invoke_device_method("meth-1", call("reboot", payload={"delay": 3}))
    assert (result.status, result.payload) == (207, {"done": True})
    registry.invoke_device_method("meth-1", call("stop"))
    assert asked == [("reboot", {"delay": 3}), ("stop", "")]
    assert registry.get_service_statistics().connected_device_count == 1
    client.shutdown()
    wait_until("the hub's word that it left", lambda: registry.get_service_statistics().connected_device_count == 0)


def test_statistics_count_the_disabled_ones_apart(registry):
    before = registry.get_device_registry_statistics()
    registry.create_device_with_sas("stat-1", None, None, "enabled")
    registry.create_device_with_sas("stat-2", None, None, "disabled")
    after = registry.get_device_registry_statistics()
    assert after.total_device_count - before.total_device_count == 2
    assert after.enabled_device_count - before.enabled_device_count == 1
    assert after.disabled_device_count - before.disabled_device_count == 1


# -- many at once


def item(name, mode, **options):
    return ExportImportDevice(id=name, import_mode=mode, **options)


def keys(primary, secondary):
    return AuthenticationMechanism(type="sas", symmetric_key=SymmetricKey(primary_key=primary, secondary_key=secondary))


def test_bulk_create_names_each_failure(registry):
    registry.create_device_with_sas("reg-4", key(), key(), "enabled")
    result = registry.bulk_create_or_update_devices(
        [item(name, "create", status="enabled") for name in ("reg-4", "reg-5")])
    assert result.is_successful is False
    (error,) = result.errors
    assert (error.device_id, error.error_code, error.error_status) == (
        "reg-4", "DeviceAlreadyExists", "device reg-4 is registered already")
    assert registry.get_device("reg-5").device_id == "reg-5"


def test_bulk_does_every_import_mode(registry):
    primary, secondary = key(), key()
    made = registry.bulk_create_or_update_devices([
        item("bulk-1", "create", status="enabled", authentication=keys(primary, secondary), tags={"hall": 1},
             properties={"desired": {"interval": 5}}),
        item("bulk-1", "create", module_id="m", authentication=keys(secondary, primary)),
        item("bulk-2", "createOrUpdate", status="disabled", status_reason="spare"),
    ])
    assert made.is_successful, made.errors
    assert registry.get_device("bulk-1").authentication.symmetric_key.primary_key == primary
    assert registry.get_module("bulk-1", "m").authentication.symmetric_key.primary_key == secondary
    twin = registry.get_twin("bulk-1")
    assert (twin.tags, twin.properties.desired["interval"]) == ({"hall": 1}, 5)
    assert registry.get_device("bulk-2").status_reason == "spare"

    stale, module = registry.get_device("bulk-1"), registry.get_module("bulk-1", "m")
    changed = registry.bulk_create_or_update_devices([
        item("bulk-1", "update", status="disabled"),
        item("bulk-1", "updateIfMatchETag", module_id="m", e_tag=module.etag),
        item("bulk-2", "createOrUpdate", status="enabled"),
    ])
    assert changed.is_successful, changed.errors
    assert registry.get_device("bulk-1").status == "disabled"
    assert registry.get_device("bulk-1").authentication.symmetric_key.primary_key == primary, "keys stay"
    assert registry.get_module("bulk-1", "m").etag != module.etag
    assert registry.get_device("bulk-2").status == "enabled"

    refusals = registry.bulk_create_or_update_devices([
        item("bulk-1", "updateIfMatchETag", e_tag=stale.etag, status="enabled"),
        item("bulk-2", "deleteIfMatchETag", e_tag="AAAA"),
        item("bulk-3", "update", status="enabled"),
        item("bulk-2", "updateTwinIfMatchETag", module_id="n", twin_e_tag="AAAA", tags={}),
    ])
    assert [(error.device_id, error.module_id, error.error_code) for error in refusals.errors] == [
        ("bulk-1", None, "PreconditionFailed"), ("bulk-2", None, "PreconditionFailed"),
        ("bulk-3", None, "DeviceNotFound"), ("bulk-2", "n", "ModuleNotFound")]

    twins = registry.bulk_create_or_update_devices([
        item("bulk-1", "updateTwin", tags={"hall": None, "row": 7}),
        item("bulk-1", "updateTwin", module_id="m", properties={"desired": {"mode": "eco"}}),
        item("bulk-2", "updateTwinIfMatchETag", twin_e_tag=registry.get_twin("bulk-2").etag, tags={"x": 1}),
    ])
    assert twins.is_successful, twins.errors
    assert registry.get_twin("bulk-1").tags == {"row": 7}
    assert registry.get_module_twin("bulk-1", "m").properties.desired["mode"] == "eco"
    assert registry.get_twin("bulk-2").tags == {"x": 1}

    removed = registry.bulk_create_or_update_devices([
        item("bulk-1", "delete", module_id="m"),
        item("bulk-2", "deleteIfMatchETag", e_tag=registry.get_device("bulk-2").etag),
    ])
    assert removed.is_successful, removed.errors
    assert registry.get_modules("bulk-1") == []
    refused(404, "DeviceNotFound", registry.get_device, "bulk-2")


@claims("REST: Bulk Registry - Update Registry")
def test_bulk_takes_a_hundred_and_each_identity_once(registry):
    many = [item(f"hundred-{number}", "create", status="enabled") for number in range(101)]
    assert registry.bulk_create_or_update_devices(many[:100]).is_successful
    assert refused(413, "TooManyDevices", registry.bulk_create_or_update_devices, many) == (
        "101 devices in one call; at most 100 are taken")


@claims("Learn: Control access to IoT Hub with shared access signatures – Access control and permissions")
def test_who_may_do_what(hub, monkeypatch):
    """Each policy does what its rights allow, and nothing else."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", hub.ca)

    def manager(policy):
        return IoTHubRegistryManager.from_connection_string(
            hub.stage.hub_command("connection-string", "--policy", policy))
    write, read, service = (manager(policy) for policy in ("registryReadWrite", "registryRead", "service"))
    write.create_device_with_sas("right-1", None, None, "enabled")
    assert read.get_device("right-1").device_id == "right-1"
    assert service.get_twin("right-1").device_id == "right-1"
    for refusal in (
        lambda: read.delete_device("right-1"), lambda: service.get_device("right-1"),
        lambda: write.get_twin("right-1"), lambda: manager("device").get_devices(),
    ):
        with pytest.raises(HttpOperationError) as found:
            refusal()
        assert found.value.response.status_code == 401
        assert found.value.response.json()["Message"] == "ErrorCode:IotHubUnauthorizedAccess;Unauthorized"
    hub.process.wait_log("the policy 'registryRead' has no registryWrite right")
    hub.process.wait_log("the policy 'device' has no registryRead right")
