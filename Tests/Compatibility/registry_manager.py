"""Drives the hub's REST API with the unmodified azure-iot-hub package: python registry_manager.py CONNECTION_STRING."""

import sys

from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod, ExportImportDevice, Twin, TwinProperties
from msrest.exceptions import HttpOperationError

manager = IoTHubRegistryManager.from_connection_string(sys.argv[1])


def status_of(call, *arguments):
    try:
        call(*arguments)
    except Exception as error:  # the SDK's own or msrest's
        return getattr(getattr(error, "response", None), "status_code", repr(error))
    return 200


device = manager.create_device_with_sas("sdk-1", None, None, "enabled")
assert device.device_id == "sdk-1" and len(device.authentication.symmetric_key.primary_key) == 44, device
assert status_of(manager.create_device_with_sas, "sdk-1", None, None, "enabled") == 409
updated = manager.update_device_with_sas("sdk-1", device.etag, "A" * 43 + "=", "B" * 43 + "=", "disabled")
assert updated.status == "disabled" and updated.etag != device.etag
assert status_of(manager.update_device_with_sas, "sdk-1", device.etag, "A" * 43 + "=", "B" * 43 + "=", "enabled") == 412
thumbprint = "AB" * 20
x509 = manager.create_device_with_x509("sdk#2$%", thumbprint, None, "enabled")
assert manager.get_device("sdk#2$%").authentication.x509_thumbprint.primary_thumbprint == thumbprint, x509
edge = manager.create_device_with_sas("sdk-edge", None, None, "enabled", iot_edge=True)
assert edge.device_scope.startswith("ms-azure-iot-edge://sdk-edge-")
module = manager.create_module_with_sas("sdk-edge", "reader", "me", None, None)
assert module.module_id == "reader" and module.managed_by == "me"
assert {m.module_id for m in manager.get_modules("sdk-edge")} == {"$edgeAgent", "$edgeHub", "reader"}
manager.delete_module("sdk-edge", "reader")
assert [d.device_id for d in manager.get_devices(2)] == ["sdk#2$%", "sdk-1"]

twin = manager.get_twin("sdk-1")
patched = manager.update_twin("sdk-1", Twin(tags={"x": 1}, properties=TwinProperties(desired={"color": "red"})), twin.etag)
assert patched.tags == {"x": 1} and patched.properties.desired["color"] == "red", patched
assert patched.properties.desired["$version"] == 2
replaced = manager.replace_twin("sdk-1", Twin(tags={"y": 2}), patched.etag)
assert replaced.tags == {"y": 2} and "color" not in replaced.properties.desired
assert status_of(manager.update_twin, "sdk-1", Twin(tags={"z": 1}), twin.etag) == 412

method = CloudToDeviceMethod(method_name="reboot", payload={"x": 1}, response_timeout_in_seconds=5)
assert status_of(manager.invoke_device_method, "sdk-1", method) == 404
statistics = manager.get_device_registry_statistics()
assert (statistics.total_device_count, statistics.disabled_device_count) == (3, 1), statistics
assert manager.get_service_statistics().connected_device_count == 0

result = manager.bulk_create_or_update_devices(
    [ExportImportDevice(id="bulk-%d" % number, import_mode="create", status="enabled") for number in range(100)]
)
assert result.is_successful, result
mixed = manager.bulk_create_or_update_devices(
    [ExportImportDevice(id="bulk-0", import_mode="create"), ExportImportDevice(id="bulk-1", import_mode="delete")]
)
assert not mixed.is_successful and [error.device_id for error in mixed.errors] == ["bulk-0"], mixed
manager.delete_device("sdk-1")
assert status_of(manager.get_device, "sdk-1") == 404
print("registry manager: all calls answered as expected")
