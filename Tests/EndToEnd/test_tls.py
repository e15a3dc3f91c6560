"""The hub's side of TLS: versions, what it shows and asks for, and its certificate, which stays good while it runs."""

import ipaddress
import re
import socket
import ssl
import subprocess
import time
import urllib.request

import pytest

from certificates import Certificate, made, openssl
from claims import claims
from clients import ACCEPTED, HubUnderTest, RawDevice, device_token, packet, same, text, trusting
from stage import Stage

TIME = r"<\d{4}-\d\d-\d\dT[\d:]+[+-]\d{4}>"
INSTANT = r"<\d{4}-\d\d-\d\dT[\d:.]+Z>"


@pytest.fixture(scope="module")
def hub(programs, tmp_path_factory):
    with Stage(programs, tmp_path_factory.mktemp("hub")) as stage:
        yield HubUnderTest(stage)


def publishes(hub, name, **options):
    """The next good client passes."""
    token = device_token(hub.stage.device_string(name, data=hub.process.data))
    device = RawDevice(hub.process, name, token, **options)
    assert device.code == ACCEPTED
    device.acknowledged(device.publish({"good": True}))
    device.close()


# -- versions


def only(hub, version):
    context = trusting(hub.process)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    return context


def handshake(port, context, name="localhost"):
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), 20), server_hostname=name)


@claims("Learn: Transport Layer Security (TLS) support in IoT Hub – Versions")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
def test_tls_1_2_and_1_3_are_spoken(hub, version):
    name = f"with-{version.name}"
    hub.create(name)
    publishes(hub, name, context=only(hub, version))
    with handshake(hub.process.https, only(hub, version)) as web:
        assert web.version() == version.name.replace("_", ".")


def failed(hub, sentence):
    same(hub.log("a TLS handshake failed", sentence[:30]),
         f"{TIME} warning mqtt: address=<127.0.0.1|unknown> reason={sentence} [Listeners] a TLS handshake failed")


@claims("Learn: Transport Layer Security (TLS) support in IoT Hub – Versions")
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_tls_1_1_is_refused_and_the_next_good_client_passes(hub):
    for port in (hub.process.mqtt, hub.process.https):
        with pytest.raises(ssl.SSLError, match="TLSV1_ALERT_PROTOCOL_VERSION"):
            handshake(port, only(hub, ssl.TLSVersion.TLSv1_1))
    failed(hub, "the client offers no TLS version from 1.2 on; update the client")
    hub.create("after-old-tls")
    publishes(hub, "after-old-tls")


@pytest.mark.parametrize("greeting", [
    packet(0x10, text("MQTT") + b"\x04\x02\x00\x3c" + text("plain")), b"GET / HTTP/1.1\r\n\r\n"], ids=["mqtt", "http"])
def test_plain_tcp_is_refused_and_the_next_good_client_passes(hub, greeting):
    with socket.create_connection(("127.0.0.1", hub.process.mqtt), 20) as plain:
        plain.sendall(greeting)
        assert b"\x20\x02" not in plain.recv(100)
    failed(hub, "what came is no TLS; this port is for MQTT over TLS only")
    name = f"after-{greeting[:1].hex()}"
    hub.create(name)
    publishes(hub, name)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
def test_a_client_that_does_not_take_the_hubs_certificate_is_named(hub, version):
    stranger = ssl.create_default_context()
    stranger.minimum_version = stranger.maximum_version = version
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(hub.process.mqtt, stranger)
    failed(hub, "the client broke it off and most likely does not take the hub's certificate; give it the hub's ca.pem, a "
           "name that the certificate covers, and the right time")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_client_certificate_is_asked_for_and_not_required(hub, tmp_path, version):
    """No list of authorities goes with the question, or a self-signed certificate would not be sent."""
    def session(*options):
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{hub.process.mqtt}", "-CAfile", hub.process.ca, version,
             "-verify_return_error", *options], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=20)
        assert "Verify return code: 0 (ok)" in done.stdout
        return done.stdout
    question = session()
    assert "No client certificate CA names sent" in question
    assert re.search(r"Requested Signature Algorithms: .*ECDSA\+SHA256", question)
    shown = made(tmp_path, "shown")
    session("-cert", shown.path, "-key", shown.key)


# -- the server's certificate


def seen(port, ca):
    """What the next handshake shows, as ssl.getpeercert gives it."""
    with handshake(port, ssl.create_default_context(cafile=ca)) as connection:
        return connection.getpeercert()


def test_the_certificate_covers_the_host_name_localhost_and_the_loopback_addresses(stage):
    hub = stage.start_hub("--hostname", "hub.example")
    context = ssl.create_default_context(cafile=str(hub.ca))
    for port in (hub.mqtt, hub.https):
        for name in ("hub.example", "localhost", "127.0.0.1", "::1"):
            with handshake(port, context, name) as connection:
                found = connection.getpeercert()["subjectAltName"]
        names = [(kind, str(ipaddress.ip_address(name)) if kind == "IP Address" else name) for kind, name in found]
        assert names == [
            ("DNS", "hub.example"), ("DNS", "localhost"), ("IP Address", "127.0.0.1"), ("IP Address", "::1")]
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            handshake(port, context, "other.example")


NAMES = ("DNS:localhost", "IP:127.0.0.1", "IP:::1")


class RenewingHub(HubUnderTest):
    """A hub whose certificate is put in its place by hand."""

    def __init__(self, stage):
        first = stage.start_hub(name="first")
        assert first.stop() == 0
        stage.forget(first)
        self.tls = first.data / "tls"
        self._made = 0
        self.stage = stage

    def start(self):
        self.process = self.stage.start_hub()
        self.create("dev-1")

    def put(self, starts, ends, issuer=None):
        """A server certificate with this life, from the hub's own authority or another one."""
        self._made += 1
        own = Certificate(self.tls / "ca.pem", self.tls / "ca-key.pem")
        fresh = made(self.stage.folder / f"made-{self._made}", "localhost", starts, ends, issuer or own, NAMES)
        (self.tls / "server-key.pem").write_bytes(fresh.key.read_bytes())
        (self.tls / "server.pem").write_bytes(fresh.path.read_bytes())
        return int(openssl_serial(fresh.path), 16)

    def serials(self):
        return [int(seen(port, self.tls / "ca.pem")["serialNumber"], 16) for port in (self.process.mqtt, self.process.https)]

    def look(self):
        """SIGHUP: look at the files now."""
        self.process.process.send_signal(1)

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.process.http}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()


def openssl_serial(path):
    done = subprocess.run(["openssl", "x509", "-in", path, "-noout", "-serial"], check=True, capture_output=True, text=True)
    return done.stdout.strip().removeprefix("serial=")


@pytest.fixture
def renewing(stage):
    return RenewingHub(stage)


def test_a_running_hub_renews_its_certificate_when_it_is_due_and_drops_no_connection(renewing):
    """Due when a third of its life is left. This one lives for half a minute and is due in a few seconds."""
    old = renewing.put(starts=-18, ends=18)
    renewing.start()
    assert renewing.serials() == [old, old]
    device = renewing.connect("dev-1")
    device.acknowledged(device.publish({"n": 1}))
    same(renewing.log("the server certificate was renewed"),
         f"{TIME} info certificates: ends={INSTANT} [cloud_hub] the server certificate was renewed")
    new = renewing.serials()
    assert new[0] == new[1] != old
    device.acknowledged(device.publish({"n": 2}))
    assert renewing.bodies("dev-1") == [{"n": 1}, {"n": 2}]
    publishes(renewing, "dev-1")
    assert renewing.process.log_path.read_text().count("the server certificate was renewed") == 1


def test_a_hub_whose_certificate_ended_while_it_was_off_renews_it_at_the_start(renewing):
    old = renewing.put(starts=-7200, ends=-3600)
    renewing.start()
    new = renewing.serials()
    assert new[0] == new[1] != old
    assert "ok certificate" in renewing.get("/healthz")[1].splitlines()


def test_an_operators_certificate_is_taken_up_at_sighup_and_never_overwritten(renewing, tmp_path):
    renewing.start()
    device = renewing.connect("dev-1")
    theirs = made(tmp_path, "their-ca")
    theirs.path.write_text(authority(tmp_path, "their-ca"))
    serial = renewing.put(starts=-60, ends=90 * 86400, issuer=theirs)
    renewing.look()
    same(renewing.log("the server certificate was replaced"),
         f"{TIME} info certificates: ends={INSTANT} [cloud_hub] the server certificate was replaced")
    found = [int(seen(port, theirs.path)["serialNumber"], 16) for port in (renewing.process.mqtt, renewing.process.https)]
    assert found == [serial, serial]
    device.acknowledged(device.publish({"after": "the exchange"}))

    (renewing.tls / "server-key.pem").write_text("no key")
    renewing.look()
    same(renewing.log("could not be renewed"),
         f"{TIME} error certificates: reason=cannot read {renewing.tls}/server-key.pem: it is not the key of your server.pem; put the "
         "certificate's own key there [cloud_hub] the server certificate could not be renewed; the hub goes on with the "
         "one it has")
    assert int(seen(renewing.process.mqtt, theirs.path)["serialNumber"], 16) == serial
    device.acknowledged(device.publish({"after": "the broken key"}))
    assert renewing.process.stop() == 0


def authority(folder, name):
    """A CA certificate on the key that is there."""
    path = folder / f"{name}-ca.pem"
    openssl("req", "-x509", "-new", "-key", folder / f"{name}-key.pem", "-subj", f"/CN={name}", "-days", "365", "-out", path,
            "-addext", "basicConstraints=critical,CA:TRUE")
    return path.read_text()


def test_the_end_of_an_operators_certificate_is_told_thirty_days_ahead(renewing, tmp_path):
    theirs = made(tmp_path, "their-ca")
    theirs.path.write_text(authority(tmp_path, "their-ca"))
    day = 86400
    renewing.put(starts=-60, ends=31 * day, issuer=theirs)
    renewing.start()
    assert "ok certificate" in renewing.get("/healthz")[1].splitlines()
    renewing.put(starts=-60, ends=30 * day - 60, issuer=theirs)
    renewing.look()
    ends = f"your {renewing.tls}/server.pem ends at {INSTANT}; put a newer one there, the hub does not renew it"
    same(renewing.log("needs attention"),
         f"{TIME} warning certificates: reason={ends} [cloud_hub] the server certificate needs attention")
    status, lines = renewing.get("/healthz")
    assert status == 200
    same(next(line for line in lines.splitlines() if " certificate" in line), f"warning certificate: {ends}")
    metrics = renewing.get("/metrics")[1]
    left = float(re.search(r"^fieldline_certificate_end_seconds (\S+)$", metrics, re.M).group(1))
    assert abs(left - (time.time() + 30 * day - 60)) < 60
