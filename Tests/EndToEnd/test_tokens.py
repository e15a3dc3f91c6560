"""Tokens: either key, policy keys, expiry, exchange of keys under way, renewal without loss."""

import base64
import os
import time

import pytest
from azure.iot.hub import IoTHubRegistryManager

from claims import claims
from clients import ACCEPTED, NOT_AUTHORISED, HubUnderTest, RawDevice, device_token, same
from stage import Stage, wait_until

from sas import parts, sign

TIME = r"<\d{4}-\d\d-\d\dT[\d:]+[+-]\d{4}>"
INSTANT = r"<\d{4}-\d\d-\d\dT[\d:.]+Z>"


@pytest.fixture(scope="module")
def hub(programs, tmp_path_factory):
    with Stage(programs, tmp_path_factory.mktemp("hub")) as stage:
        yield HubUnderTest(stage)


@pytest.fixture
def registry(hub, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(hub.process.ca))
    return IoTHubRegistryManager.from_connection_string(hub.stage.hub_command("connection-string"))


def key():
    return base64.b64encode(os.urandom(32)).decode()


def token(name, key, lifetime=3600, policy=None, resource=None):
    return sign(resource or f"localhost/devices/{name}", key, int(time.time()) + lifetime, policy)


def attempt(hub, name, token):
    device = RawDevice(hub.process, name, token)
    return device


def admitted(hub, name, token):
    device = attempt(hub, name, token)
    assert device.code == ACCEPTED, hub.process.tail(3)
    return device


def refused(hub, name, token, sentence):
    device = attempt(hub, name, token)
    assert device.code == NOT_AUTHORISED
    assert device.is_closed()
    same(hub.log("a device was refused", f"device={name} "),
         f"{TIME} warning mqtt: address=127.0.0.1 device={name} reason={sentence} [Listeners] a device was refused")


def alive(device):
    device.acknowledged(device.publish({"still": "here"}))


def policy_key(hub, name):
    return parts(hub.stage.hub_command("connection-string", "--policy", name))["SharedAccessKey"]


@claims("Learn: Control access to IoT Hub with shared access signatures – SAS token structure")
def test_either_key_and_a_policy_with_device_connect_let_in(hub, registry):
    primary, secondary = key(), key()
    registry.create_device_with_sas("keys-1", primary, secondary, "enabled")
    for signer in (primary, secondary):
        admitted(hub, "keys-1", token("keys-1", signer)).close()
    for policy in ("device", "iothubowner"):
        for resource in ("localhost", "localhost/devices/keys-1"):
            admitted(hub, "keys-1", token("keys-1", policy_key(hub, policy), policy=policy, resource=resource)).close()


def test_a_policy_without_the_right_is_refused(hub, registry):
    registry.create_device_with_sas("keys-2", None, None, "enabled")
    refused(hub, "keys-2", token("keys-2", policy_key(hub, "service"), policy="service"),
            "the token of keys-2 is from the policy 'service', which has no DeviceConnect right; use the policy 'device'")


@claims("Learn: Control access to IoT Hub with shared access signatures – SAS token structure", "MQTT 3.1.1 section 3.2.2")
def test_an_expired_token_tells_the_clock_difference(hub):
    string = hub.create("late")
    refused(hub, "late", device_token(string, lifetime=-3785),
            f"token of late expired 1 h 3 min before the hub's clock ({INSTANT}); check the device's clock or renew the token")


@claims("Learn: Control access to IoT Hub with shared access signatures – SAS token structure")
def test_a_connection_ends_with_its_token_and_goes_on_with_a_new_one(hub):
    string = hub.create("short")
    device = admitted(hub, "short", device_token(string, lifetime=2))
    alive(device)
    assert device.is_closed()
    again = admitted(hub, "short", device_token(string))
    alive(again)
    again.close()


def test_renewing_the_token_by_connecting_again_loses_nothing(hub):
    string = hub.create("renews")
    sent, waiting = 0, {}
    for round in range(5):
        device = RawDevice(hub.process, "renews")
        # A second is the resolution of an expiry: each round's token is another.
        assert device.login(device_token(string, lifetime=60 + round), clean=False) == ACCEPTED
        for number in sorted(waiting):
            device.acknowledged(device.publish({"n": number}))
        waiting = {}
        for _ in range(20):
            identifier = device.publish({"n": sent})
            if sent % 20 < 15:
                device.acknowledged(identifier)
            else:
                waiting[sent] = identifier
            sent += 1
        device.close()
    last = RawDevice(hub.process, "renews", device_token(string))
    for number in sorted(waiting):
        last.acknowledged(last.publish({"n": number}))
    last.close()
    assert {body["n"] for body in hub.bodies("renews")} == set(range(sent))


@claims("Learn: Understand the identity registry in your IoT hub – Device identity properties")
def test_exchanging_a_key_cuts_off_who_used_it_and_nobody_else(hub, registry):
    primary, secondary, fresh = key(), key(), key()
    registry.create_device_with_sas("rotates", primary, secondary, "enabled")
    device = admitted(hub, "rotates", token("rotates", primary))
    registry.update_device_with_sas("rotates", None, primary, fresh, "enabled")
    alive(device)
    registry.update_device_with_sas("rotates", None, fresh, primary, "enabled")
    alive(device)
    registry.update_device_with_sas("rotates", None, fresh, secondary, "enabled")
    assert device.is_closed()
    refused(hub, "rotates", token("rotates", primary),
            "the token of rotates is signed with neither of its two keys; give it the connection string from the registry")


def test_a_policys_key_outlives_the_devices_but_not_the_device(hub, registry):
    registry.create_device_with_sas("by-policy", None, None, "enabled")
    device = admitted(hub, "by-policy", token("by-policy", policy_key(hub, "device"), policy="device"))
    registry.update_device_with_sas("by-policy", None, key(), key(), "enabled")
    alive(device)
    registry.update_device_with_sas("by-policy", None, None, None, "disabled", status_reason="stolen")
    assert device.is_closed()
    refused(hub, "by-policy", token("by-policy", policy_key(hub, "device"), policy="device"),
            "device by-policy is disabled (stolen); enable it in the registry")


def test_a_device_made_again_under_the_same_name_is_another_one(hub, registry):
    primary, secondary = key(), key()
    registry.create_device_with_sas("again", primary, secondary, "enabled")
    device = admitted(hub, "again", token("again", primary))
    registry.delete_device("again")
    assert device.is_closed()
    registry.create_device_with_sas("again", primary, secondary, "enabled")
    admitted(hub, "again", token("again", primary)).close()
    wait_until("its connection's end", lambda: registry.get_device("again").connection_state == "Disconnected")
