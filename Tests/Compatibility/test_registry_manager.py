"""The unmodified registry manager of azure-iot-hub: set-up of devices and twins by REST."""

import base64
import os

import pytest
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import Device, ExportImportDevice
from msrest.exceptions import HttpOperationError


@pytest.fixture
def registry(hub, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", hub.ca)
    return IoTHubRegistryManager.from_connection_string(hub.policy_string)


def key():
    return base64.b64encode(os.urandom(32)).decode()


def test_a_device_is_created_read_updated_and_deleted(registry):
    primary, secondary = key(), key()
    made = registry.create_device_with_sas("reg-1", primary, secondary, "enabled")
    assert made.authentication.symmetric_key.primary_key == primary
    assert made.connection_state == "Disconnected"
    read = registry.get_device("reg-1")
    assert (read.etag, read.generation_id) == (made.etag, made.generation_id)
    updated = registry.update_device_with_sas("reg-1", read.etag, primary, secondary, "disabled", status_reason="spare")
    assert (updated.status, updated.status_reason) == ("disabled", "spare")
    with pytest.raises(HttpOperationError) as stale:
        registry.delete_device("reg-1", etag=read.etag)
    assert stale.value.response.status_code == 412
    registry.delete_device("reg-1")
    with pytest.raises(HttpOperationError) as gone:
        registry.get_device("reg-1")
    assert gone.value.response.status_code == 404
    assert gone.value.response.headers["iothub-errorcode"] == "DeviceNotFound"


def test_a_second_create_is_a_conflict(registry):
    registry.create_device_with_sas("reg-2", key(), key(), "enabled")
    with pytest.raises(HttpOperationError) as conflict:
        registry.create_device_with_sas("reg-2", key(), key(), "enabled")
    assert conflict.value.response.status_code == 409


def test_x509_thumbprints_are_kept(registry):
    made = registry.create_device_with_x509("reg-3", "A" * 40, "B" * 40, "enabled")
    assert made.authentication.type == "selfSigned"
    assert made.authentication.x509_thumbprint.primary_thumbprint == "A" * 40


def test_bulk_create_names_each_failure(registry):
    registry.create_device_with_sas("reg-4", key(), key(), "enabled")
    devices = [ExportImportDevice(id=name, status="enabled", import_mode="create") for name in ("reg-4", "reg-5")]
    result = registry.bulk_create_or_update_devices(devices)
    assert result.is_successful is False
    assert [error.device_id for error in result.errors] == ["reg-4"]
    assert registry.get_device("reg-5").device_id == "reg-5"


def test_devices_are_listed(registry):
    assert {"reg-2", "reg-3"} <= {device.device_id for device in registry.get_devices(100)}
