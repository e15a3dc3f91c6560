"""Devices with certificates: known by the thumbprint of the certificate itself, whatever its chain and its dates say."""

import json
import ssl

import paho.mqtt.publish
import pytest

from certificates import made
from claims import claims
from clients import ACCEPTED, NOT_AUTHORISED, HubUnderTest, RawDevice, device_token, same, trusting, wait_line
from stage import Stage, wait_until

TIME = r"<\d{4}-\d\d-\d\dT[\d:]+[+-]\d{4}>"


@pytest.fixture(scope="module")
def hub(programs, tmp_path_factory):
    with Stage(programs, tmp_path_factory.mktemp("hub")) as stage:
        yield HubUnderTest(stage)


def registered(hub, name, certificate, *options):
    hub.stage.hub_command("device", "create", name, "--thumbprint", certificate, *options)


def attempt(hub, name, certificate=None, token=None):
    """A device that has tried to connect; `.code` says how that went."""
    device = RawDevice(hub.process, name, context=trusting(hub.process, certificate))
    device.login(token)
    return device


def refused(hub, device, sentence):
    assert device.code == NOT_AUTHORISED
    assert device.is_closed()
    same(hub.log("a device was refused", f"device={device.name} "),
         f"{TIME} warning mqtt: address=127.0.0.1 device={device.name} reason={sentence} [Listeners] a device was refused")


def sends(hub, device):
    """It was let in, and its telemetry is in the log under its own name, with the certificate as its proof."""
    assert device.code == ACCEPTED
    before = hub.bodies(device.name)
    device.acknowledged(device.publish({"n": len(before)}))
    device.close()
    event = [event for event in hub.events() if event["device"] == device.name][-1]
    assert event["body"] == {"n": len(before)}
    method = json.loads(event["annotations"]["iothub-connection-auth-method"])
    assert method == {"scope": "device", "type": "x509Certificate", "issuer": "iothub"}


@claims("Learn: Authenticate identities with X.509 certificates – Thumbprint authentication")
@pytest.mark.parametrize("kind", ["sha1", "sha256"])
@pytest.mark.parametrize("case", [str.lower, str.upper], ids=["lower", "upper"])
def test_a_thumbprint_of_either_kind_and_case_lets_its_certificate_in(hub, tmp_path, kind, case):
    name = f"dev-{kind}-{case.__name__}"
    certificate = made(tmp_path, name)
    registered(hub, name, case(getattr(certificate, kind)))
    sends(hub, attempt(hub, name, certificate))


def test_the_secondary_thumbprint_lets_in_as_the_primary_does_so_that_one_can_be_exchanged(hub, tmp_path):
    old, new, other = (made(tmp_path, name) for name in ("old", "new", "other"))
    registered(hub, "two", old.sha256, "--secondary-thumbprint", new.sha1)
    for certificate in (old, new):
        sends(hub, attempt(hub, "two", certificate))
    refused(hub, attempt(hub, "two", other),
            f"the certificate of two has neither registered thumbprint; its SHA-256 is {other.sha256.upper()}")


def test_another_certificate_is_refused_even_with_the_same_name_and_the_right_one_passes(hub, tmp_path):
    own, forged = made(tmp_path, "dev-1"), made(tmp_path / "forged", "dev-1")
    registered(hub, "dev-1", own.sha256)
    refused(hub, attempt(hub, "dev-1", forged),
            f"the certificate of dev-1 has neither registered thumbprint; its SHA-256 is {forged.sha256.upper()}")
    sends(hub, attempt(hub, "dev-1", own))


def test_a_certificate_opens_its_own_device_only(hub, tmp_path):
    own, others = made(tmp_path, "mine"), made(tmp_path, "theirs")
    registered(hub, "mine", own.sha256)
    registered(hub, "theirs", others.sha256)
    refused(hub, attempt(hub, "theirs", own),
            f"the certificate of theirs has neither registered thumbprint; its SHA-256 is {own.sha256.upper()}")
    sends(hub, attempt(hub, "theirs", others))


def test_an_issuers_thumbprint_does_not_let_in_what_it_signed(hub, tmp_path):
    """Only the certificate itself is looked at, never what stands behind it."""
    issuer = made(tmp_path, "issuer")
    leaf = made(tmp_path, "signed", issuer=issuer)
    leaf.path.write_text(leaf.path.read_text() + issuer.path.read_text())
    registered(hub, "signed", issuer.sha256)
    refused(hub, attempt(hub, "signed", leaf),
            f"the certificate of signed has neither registered thumbprint; its SHA-256 is {leaf.sha256.upper()}")


@pytest.mark.parametrize("name, starts, ends", [("ended", -7200, -3600), ("not-begun", 3600, 7200)])
def test_the_dates_of_a_registered_certificate_do_not_count(hub, tmp_path, name, starts, ends):
    """As at IoT Hub: the thumbprint is the whole proof, and who wants it out takes it out of the registry."""
    certificate = made(tmp_path, name, starts=starts, ends=ends)
    registered(hub, name, certificate.sha256)
    sends(hub, attempt(hub, name, certificate))


def test_neither_certificate_nor_token_is_refused(hub, tmp_path):
    certificate = made(tmp_path, "empty-handed")
    registered(hub, "empty-handed", certificate.sha256)
    refused(hub, attempt(hub, "empty-handed"),
            "empty-handed sent neither a token nor a client certificate; give it its connection string or certificate")
    sends(hub, attempt(hub, "empty-handed", certificate))


def test_a_device_with_keys_is_not_let_in_by_a_certificate(hub, tmp_path):
    string = hub.create("with-keys")
    certificate = made(tmp_path, "with-keys")
    refused(hub, attempt(hub, "with-keys", certificate),
            "with-keys sent a certificate and no token, but is registered with symmetric keys; give it its connection "
            "string or register the thumbprint")
    both = attempt(hub, "with-keys", certificate, device_token(string))
    assert both.code == ACCEPTED, "its token counts; that it showed a certificate too does no harm"
    both.close()


def test_a_device_with_a_thumbprint_is_not_let_in_by_a_token(hub, tmp_path):
    certificate = made(tmp_path, "with-thumbprint")
    registered(hub, "with-thumbprint", certificate.sha256)
    assert hub.stage.device_string("with-thumbprint") == "HostName=localhost;DeviceId=with-thumbprint;x509=true"
    string = hub.create("donor").replace("DeviceId=donor", "DeviceId=with-thumbprint")
    refused(hub, attempt(hub, "with-thumbprint", token=device_token(string)),
            "with-thumbprint sent a token, but is registered with certificate thumbprints; give it its certificate or "
            "change its authentication to sas")
    sends(hub, attempt(hub, "with-thumbprint", certificate))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
def test_a_resumed_handshake_keeps_the_certificate(hub, tmp_path, version):
    """A client that resumes does not show its certificate again; it must still be known by it."""
    name = f"resumes-{version.name}"
    certificate = made(tmp_path, name)
    registered(hub, name, certificate.sha256)
    context = trusting(hub.process, certificate)
    context.minimum_version = context.maximum_version = version
    first = RawDevice(hub.process, name, context=context)
    first.login()
    # In TLS 1.3 the ticket comes after the handshake; by the time of an answer it is there.
    first.acknowledged(first.publish({"first": True}))
    again = RawDevice(hub.process, name, context=context, session=first.socket.session)
    assert again.socket.session_reused
    again.login()
    sends(hub, again)
    first.close()


def test_a_device_whose_thumbprint_is_exchanged_is_cut_off_and_the_new_certificate_passes(hub, tmp_path):
    old, new = made(tmp_path, "old"), made(tmp_path, "new")
    registered(hub, "exchanged", old.sha256)
    device = attempt(hub, "exchanged", old)
    assert device.code == ACCEPTED
    hub.stage.hub_command("device", "delete", "exchanged")
    assert device.is_closed()
    registered(hub, "exchanged", new.sha256)
    refused(hub, attempt(hub, "exchanged", old),
            f"the certificate of exchanged has neither registered thumbprint; its SHA-256 is {old.sha256.upper()}")
    sends(hub, attempt(hub, "exchanged", new))


# -- the gateway


GATEWAY = """
[hub]
host = "localhost"
port = {port}
ca_file = "{ca}"
device_id = "{name}"
certificate_file = "{certificate}"
key_file = "{key}"
reconnect_first = "100ms"
reconnect_most = "200ms"

[outbox]
path = "{outbox}"

[[mqtt]]
name = "plant"
port = {broker}

[[mqtt.subscription]]
topic = "plant/{{device}}/state"
"""


def test_a_gateway_with_a_certificate_is_refused_until_it_is_its_own_and_then_brings_its_readings(hub, tmp_path):
    own, wrong = made(tmp_path, "gw-1"), made(tmp_path / "wrong", "gw-1")
    registered(hub, "gw-1", own.sha1, "--gateway")
    hub.stage.hub_command("device", "create", "sensor-1", "--parent", "gw-1")
    with Stage(hub.stage.programs, tmp_path / "gateway") as site:
        broker = site.start_broker()
        config = site.folder / "edge-agent.toml"
        certificate, key = site.folder / "gw-1.pem", site.folder / "gw-1-key.pem"
        config.write_text(GATEWAY.format(
            port=hub.process.mqtt, ca=hub.process.ca, name="gw-1", certificate=certificate, key=key,
            outbox=site.folder / "outbox.sqlite", broker=broker.port))

        def installs(chosen):
            key.touch(0o600)
            key.write_bytes(chosen.key.read_bytes())
            certificate.write_bytes(chosen.path.read_bytes())

        installs(wrong)
        agent = site.start_agent(config)
        same(wait_line(agent, "] no link to the hub").rsplit(" [", 1)[0],
             f"{TIME} error edge-agent: reason=The hub does not let gw-1 in (CONNACK code 5). Check that the device exists and is "
             "enabled at the hub, that the key is its own, and that this gateway's clock is right. "
             r"retryMilliseconds=<\d+>")
        same(hub.log("a device was refused", "device=gw-1 "),
             f"{TIME} warning mqtt: address=127.0.0.1 device=gw-1 reason=the certificate of gw-1 has neither registered "
             f"thumbprint; its SHA-256 is {wrong.sha256.upper()} [Listeners] a device was refused")
        installs(own)
        wait_line(agent, "] connected to the hub")
        wait_line(agent, "] connected to the local broker")

        paho.mqtt.publish.single("plant/sensor-1/state", json.dumps({"level": 7}), qos=1, hostname="127.0.0.1", port=broker.port)
        (body,) = wait_until("the reading at the hub", lambda: hub.bodies("gw-1"))
        (record,) = body["records"]
        assert (record["device"], record["metric"], record["value"]) == ("sensor-1", "level", "7")
        assert agent.stop() == 0
        site.forget(agent)
