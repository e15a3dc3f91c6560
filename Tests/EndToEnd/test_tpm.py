"""The gateway's key in a TPM: a software one, driven by OpenSSL's tpm2 provider as a real one would be."""

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess

import paho.mqtt.publish
import pytest

from certificates import Certificate
from clients import run, same, wait_line
from stage import ROOT, can_connect, wait_until

TIME = r"<\d{4}-\d\d-\d\dT[\d:]+[+-]\d{4}>"
HANDLE = "0x81000001"
REMEDY = {
    "key": "Check with tpm2_readpublic that this TPM has the key, or that the key file was made by it, and that "
           "certificate_file belongs to it.",
    "tpm": "Check that the package tpm2-openssl is installed, that the TPM is there (/dev/tpmrm0, or what "
           "TPM2OPENSSL_TCTI names), and that this agent may open it.",
}


def port_pair():
    """A port and the next one, where a TPM's control channel is; both free, and below those that the system gives to
    whoever connects."""
    def pair():
        port = random.randrange(15000, 30000, 2)
        with contextlib.suppress(OSError), contextlib.ExitStack() as both:
            for number in (port, port + 1):
                both.enter_context(socket.socket()).bind(("127.0.0.1", number))
            return port
    return wait_until("two free ports", pair, every=0)


BUS = """<busconfig><type>session</type><listen>unix:path={socket}</listen><policy context="default">
<allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>"""


def resource_manager():
    """tpm2-abrmd, which `make tools` unpacked: installed, it would be a service of this machine."""
    unpacked = ROOT / ".build/tools/tpm2-abrmd/usr/sbin/tpm2-abrmd"
    return unpacked if unpacked.exists() else shutil.which("tpm2-abrmd", path=os.environ["PATH"] + ":/usr/sbin")


class SoftwareTPM:
    """swtpm with a state of its own, behind a resource manager on a message bus of its own: what /dev/tpmrm0 is for a
    TPM of hardware. Without one, the three places that a TPM has for objects are too few."""

    def __init__(self, stage, name):
        self.stage, self.folder = stage, stage.folder / name
        (self.folder / "state").mkdir(parents=True)
        port, bus = self.start_tpm(name), self.folder / "bus"
        (self.folder / "bus.conf").write_text(BUS.format(socket=bus))
        stage.start(f"{name}-bus", ["dbus-daemon", "--nofork", f"--config-file={self.folder}/bus.conf"])
        wait_until("the message bus", bus.exists)
        address = "tabrmd:bus_type=session"
        self.env = {
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={bus}", "TPM2OPENSSL_TCTI": address, "TPM2TOOLS_TCTI": address}
        manager = [resource_manager(), "--session", "--allow-root", f"--tcti=swtpm:host=127.0.0.1,port={port}"]
        self.manager = stage.start(f"{name}-manager", manager, env=self.env)
        wait_until("the TPM", self.answers, every=0.1)

    def start_tpm(self, name):
        """The port; another one when somebody else was faster."""
        while True:
            port = port_pair()
            program = self.stage.start(name, [
                "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.folder}/state",
                "--server", f"type=tcp,port={port},bindaddr=127.0.0.1",
                "--ctrl", f"type=tcp,port={port + 1},bindaddr=127.0.0.1", "--flags", "not-need-init,startup-clear"])
            wait_until("the TPM's control channel", lambda: can_connect(port + 1) or not program.is_running)
            if program.is_running:
                return port
            self.stage.forget(program)

    def answers(self):
        if not self.manager.is_running:
            # It does not wait for a TPM that is still starting.
            self.stage.forget(self.manager)
            self.manager = self.stage.start(self.manager.name, self.manager.process.args, env=self.env)
        return self.run("tpm2_getcap", "properties-fixed").returncode == 0

    def run(self, *arguments):
        return subprocess.run(
            [str(item) for item in arguments], capture_output=True, text=True, cwd=self.folder, timeout=60,
            env={**os.environ, **self.env})

    def call(self, *arguments):
        done = self.run(*arguments)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    def persistent_key(self):
        """Makes a key that stays in the TPM at HANDLE; returns its self-signed certificate."""
        self.call("tpm2_createprimary", "-Q", "-C", "o", "-G", "ecc", "-c", "primary")
        self.call("tpm2_create", "-Q", "-C", "primary", "-G", "ecc256:ecdsa", "-u", "public", "-r", "private",
                  "-a", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign")
        self.call("tpm2_load", "-Q", "-C", "primary", "-u", "public", "-r", "private", "-c", "key")
        self.call("tpm2_evictcontrol", "-Q", "-C", "o", "-c", "key", HANDLE)
        return self.certificate(f"handle:{HANDLE}", "handle.pem")

    def key_file(self):
        """Makes a key that only this TPM can use, kept outside as a file; returns the file and its certificate."""
        path = self.folder / "tss2.key"
        self.call("openssl", "genpkey", "-provider", "tpm2", "-algorithm", "EC", "-pkeyopt", "group:P-256", "-out", path)
        path.chmod(0o600)
        assert path.read_text().startswith("-----BEGIN TSS2 PRIVATE KEY-----")
        return path, self.certificate(path, "file.pem")

    def certificate(self, key, name):
        self.call("openssl", "req", "-x509", "-new", "-provider", "tpm2", "-provider", "default", "-propquery",
                  "?provider=tpm2", "-key", key, "-subj", "/CN=gw-1", "-days", "2", "-out", name)
        return self.folder / name


class Gateway:
    """A hub that knows gw-1 by a certificate, a broker, and the agent's configuration."""

    def __init__(self, stage, certificate, key):
        self.stage = stage
        self.hub = stage.start_hub()
        self.broker = stage.start_broker()
        stage.hub_command("device", "create", "gw-1", "--gateway", "--thumbprint", Certificate(certificate, None).sha256)
        stage.hub_command("device", "create", "sensor-1", "--parent", "gw-1")
        self.config = write_config(stage, certificate, key, self.hub, self.broker.port)

    def forwards(self, number):
        """A reading at the local broker is in the hub's log."""
        paho.mqtt.publish.single(
            "plant/sensor-1/state", json.dumps({"n": number}), qos=1, hostname="127.0.0.1", port=self.broker.port)

        def arrived():
            output = self.stage.hub_command("monitor", "--from-start", "--no-follow")
            events = [json.loads(line) for line in output.splitlines()]
            return any(record.get("value") == str(number) for event in events for record in event["body"]["records"])
        wait_until(f"reading {number} at the hub", arrived, every=0.2)


def write_config(stage, certificate, key, hub=None, broker=1883):
    config = stage.folder / "edge-agent.toml"
    config.write_text(f"""
[hub]
host = "localhost"
port = {hub.mqtt if hub else 8883}
{f'ca_file = "{hub.ca}"' if hub else ''}
device_id = "gw-1"
certificate_file = "{certificate}"
provider = "tpm2"
{key}
reconnect_first = "100ms"
reconnect_most = "500ms"
[outbox]
path = "{stage.folder}/outbox.sqlite"
[log]
level = "debug"
[[mqtt]]
name = "plant"
port = {broker}
[[mqtt.subscription]]
topic = "plant/{{device}}/state"
payload = "json"
""")
    return config


@pytest.fixture
def tpm(stage):
    return SoftwareTPM(stage, "tpm")


def start_agent(stage, gateway, tpm, name="edge-agent"):
    agent = stage.start_agent(gateway.config, name=name, env=tpm.env)
    wait_line(agent, "] connected to the hub")
    # So that the broker keeps for it what comes from here on.
    gateway.broker.wait_log("fieldline-plant 1 plant/+/state")
    return agent


def test_a_gateway_signs_in_with_a_key_that_never_leaves_its_tpm_again_and_again(stage, tpm):
    certificate = tpm.persistent_key()
    gateway = Gateway(stage, certificate, f'key = "handle:{HANDLE}"')
    agent = start_agent(stage, gateway, tpm)
    gateway.forwards(1)
    # Killed and started anew, each time with a full handshake that the TPM signs.
    for number in (2, 3):
        agent.kill()
        stage.forget(agent)
        agent = start_agent(stage, gateway, tpm, name=f"edge-agent-{number}")
        gateway.forwards(number)
    # A hub that starts anew has forgotten its sessions: the same agent asks the TPM once more.
    assert gateway.hub.stop() == 0
    stage.forget(gateway.hub)
    wait_line(agent, "] no link to the hub")
    stage.start_hub(name="hub-2", mqtt=gateway.hub.mqtt, https=gateway.hub.https, http=gateway.hub.http)
    wait_until("another connection", lambda: agent.log_path.read_text().count("] connected to the hub") == 2)
    gateway.forwards(4)
    for path in tpm.folder.rglob("*"):
        if path.is_file():
            with contextlib.suppress(UnicodeDecodeError):
                assert "PRIVATE KEY" not in path.read_text()


def test_a_key_file_that_the_tpm_made_works_there_and_nowhere_else(stage, tpm):
    key, certificate = tpm.key_file()
    gateway = Gateway(stage, certificate, f'key_file = "{key}"')
    agent = start_agent(stage, gateway, tpm)
    gateway.forwards(1)
    assert agent.stop() == 0
    stage.forget(agent)
    other = SoftwareTPM(stage, "other-tpm")
    status, error = run(stage, "edge-agent", "check", "--config", gateway.config, env=other.env)
    assert status == 1
    same(error.strip(), f"{gateway.config}: hub: The key {key} of OpenSSL's provider tpm2 cannot be used: <[a-z ]+>. "
         + REMEDY["key"])
    assert run(stage, "edge-agent", "check", "--config", gateway.config, env=tpm.env) == (0, "")


def test_a_handle_without_a_key_an_absent_tpm_and_a_strange_certificate_are_each_named(stage, tpm):
    certificate = tpm.persistent_key()
    empty = write_config(stage, certificate, 'key = "handle:0x81000009"')
    sentence = ("The key handle:0x81000009 of OpenSSL's provider tpm2 cannot be used: cannot load key. " + REMEDY["key"])
    assert run(stage, "edge-agent", "check", "--config", empty, env=tpm.env) == (1, f"{empty}: hub: {sentence}")
    agent = stage.start_agent(empty, env=tpm.env)
    same(wait_line(agent, "] no link to the hub").rsplit(" [", 1)[0],
         f"{TIME} error edge-agent: reason={sentence} retryMilliseconds=<\\d+>")
    # The rest of the gateway runs on, and so does the next start.
    assert agent.is_running and agent.stop() == 0
    stage.forget(agent)

    config = write_config(stage, certificate, f'key = "handle:{HANDLE}"')
    nowhere = {"TPM2OPENSSL_TCTI": f"swtpm:host=127.0.0.1,port={port_pair()}"}
    assert run(stage, "edge-agent", "check", "--config", config, env=nowhere) == (
        1, f"{config}: hub: OpenSSL's provider tpm2, which holds this gateway's key, cannot be used: its device cannot be "
           f"reached. {REMEDY['tpm']}")
    no_provider = {**tpm.env, "OPENSSL_MODULES": "/nowhere"}
    assert run(stage, "edge-agent", "check", "--config", config, env=no_provider) == (
        1, f"{config}: hub: OpenSSL's provider tpm2, which holds this gateway's key, cannot be used: could not load the "
           f"shared library. {REMEDY['tpm']}")
    _, strange = tpm.key_file()
    config = write_config(stage, strange, f'key = "handle:{HANDLE}"')
    assert run(stage, "edge-agent", "check", "--config", config, env=tpm.env) == (
        1, f"{config}: hub: The key handle:{HANDLE} of OpenSSL's provider tpm2 cannot be used: it does not fit {strange} "
           f"(key values mismatch). {REMEDY['key']}")
