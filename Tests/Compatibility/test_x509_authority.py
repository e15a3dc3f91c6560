"""X.509 by certificate authority with the unmodified SDKs: devices and modules whose certificates chain to a proven CA."""

import contextlib
import json

import pytest
from azure.iot.device import X509, IoTHubDeviceClient, IoTHubModuleClient
from azure.iot.device.exceptions import CredentialError
from azure.iot.hub import IoTHubRegistryManager

from authorities import Authority, register
from claims import claims
from stage import wait_until


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("authorities")


@pytest.fixture(scope="module")
def root(hub, folder):
    authority = Authority(folder, "root")
    register(hub, authority)
    return authority


@pytest.fixture
def registry(hub, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", hub.ca)
    return IoTHubRegistryManager.from_connection_string(hub.policy_string)


def client_of(hub, certificate, device, module=None):
    kind = IoTHubModuleClient if module else IoTHubDeviceClient
    names = {"device_id": device, **({"module_id": module} if module else {})}
    with open(hub.ca) as authority:
        return kind.create_from_x509_certificate(
            x509=X509(*map(str, certificate.files)), hostname="localhost", server_verification_cert=authority.read(),
            connection_retry=False, **names)


@contextlib.contextmanager
def connected(client):
    client.connect()
    try:
        yield client
    finally:
        client.shutdown()


def event_of(hub, device, module=None):
    output = hub.stage.hub_command("monitor", device, "--from-start", "--no-follow", timeout=60)
    return [event for event in map(json.loads, output.splitlines()) if event.get("module") == module][-1]


@claims("Learn: Authenticate identities with X.509 certificates – CA-signed authentication")
def test_a_device_of_a_chain(hub, registry, folder, root):
    registry.create_device_with_certificate_authority("chain-1", "enabled")
    factory = Authority(folder, "factory", above=root)
    with connected(client_of(hub, factory.chain(factory.issue("chain-1")), "chain-1")) as client:
        client.send_message('{"n": 1}')
        client.patch_twin_reported_properties({"colour": "green"})
    event = event_of(hub, "chain-1")
    assert json.loads(event["annotations"]["iothub-connection-auth-method"]) == {
        "scope": "device", "type": "x509CertificateAuthority", "issuer": "iothub"}
    twin = registry.get_twin("chain-1")
    assert twin.authentication_type == "certificateAuthority"
    assert twin.properties.reported["colour"] == "green"


def test_a_module_of_an_authority(hub, registry, root):
    registry.create_device_with_sas("chain-2", None, None, "enabled")
    registry.create_module_with_certificate_authority("chain-2", "m", None)
    with connected(client_of(hub, root.issue("chain-2/m"), "chain-2", "m")) as client:
        client.send_message('{"n": 2}')
    event = event_of(hub, "chain-2", "m")
    assert json.loads(event["annotations"]["iothub-connection-auth-method"]) == {
        "scope": "module", "type": "x509CertificateAuthority", "issuer": "iothub"}


@claims("Learn: Authenticate identities with X.509 certificates – CA-signed authentication")
def test_another_common_name_is_a_credential_error(hub, registry, root):
    registry.create_device_with_certificate_authority("chain-3", "enabled")
    stranger = client_of(hub, root.issue("chain-4"), "chain-3")
    with pytest.raises(CredentialError):
        stranger.connect()
    stranger.shutdown()
    hub.process.wait_log("the certificate of chain-3 has the common name 'chain-4'; its authority has to issue one whose common "
                         "name is 'chain-3'")


@pytest.mark.parametrize("how", ["disabled", "revoked", "authority deleted", "other authentication"])
def test_who_loses_his_right_is_cut_off_at_once(hub, registry, folder, how):
    authority = Authority(folder, f"losing-{len(how)}")
    register(hub, authority)
    name = f"loses-{len(how)}"
    device = registry.create_device_with_certificate_authority(name, "enabled")
    certificate = authority.issue(name)
    client = client_of(hub, certificate, name)
    client.connect()
    if how == "disabled":
        registry.update_device_with_certificate_authority(name, device.etag, "disabled")
    elif how == "revoked":
        authority.revoke(certificate)
        hub.stage.hub_command("certificate", "revoke-list", authority.name, authority.list())
    elif how == "authority deleted":
        hub.stage.hub_command("certificate", "delete", authority.name)
    else:
        registry.update_device_with_sas(name, device.etag, None, None, "enabled")
    wait_until("the end of its connection", lambda: not client.connected)
    with pytest.raises(CredentialError):
        client.connect()
    client.shutdown()
