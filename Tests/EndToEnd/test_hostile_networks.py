"""Networks that let only the web pass: the agent behind an HTTP proxy, a real one."""

import contextlib
import json
import re

import paho.mqtt.publish
import pytest

from clients import run, same, wait_line
from ledger import DEVICE, Log
from stage import StageError, can_connect, free_port, wait_until

TIME = r"<\d{4}-\d\d-\d\dT[\d:]+[+-]\d{4}>"


class Site:
    """A hub, a local broker, and a gateway that is told how to reach the hub."""

    def __init__(self, stage, *options):
        self.stage, self.sent = stage, 0
        self.hub, self.broker = stage.start_hub(*options), stage.start_broker()
        stage.hub_command("device", "create", "gw-1", "--gateway")
        stage.hub_command("device", "create", DEVICE, "--parent", "gw-1")
        self.secret = self.secret_file("gw-1.connection", stage.device_string("gw-1"))

    def secret_file(self, name, text):
        path = self.stage.folder / name
        path.touch(0o600)
        path.write_text(text)
        return path

    def write_config(self, more, port=None, host="localhost"):
        config = self.stage.folder / "edge-agent.toml"
        config.write_text(f"""
[hub]
host = "{host}"
port = {port or self.hub.mqtt}
ca_file = "{self.hub.ca}"
connection_string_file = "{self.secret}"
reconnect_first = "100ms"
reconnect_most = "500ms"
{more}
[outbox]
path = "{self.stage.folder}/outbox.sqlite"
[log]
level = "debug"
[[mqtt]]
name = "plant"
port = {self.broker.port}
[[mqtt.subscription]]
topic = "plant/{{device}}/state"
payload = "json"
""")
        return config

    def start_agent(self, more, name="agent", **options):
        return self.stage.start_agent(self.write_config(more, **options), name=name)

    def start_proxy(self, *lines, port=None):
        """tinyproxy, which logs every connection that it makes."""
        port = port or free_port()
        config = self.stage.folder / "tinyproxy.conf"
        config.write_text("\n".join([f"Port {port}", "Listen 127.0.0.1", "Timeout 600", "MaxClients 20", "LogLevel Connect",
                                     *lines, ""]))
        proxy = self.stage.start("proxy", ["tinyproxy", "-d", "-c", config])
        wait_until("the proxy", lambda: can_connect(port), 20)
        proxy.port = port
        return proxy

    def everything_arrives(self, agent, count=20):
        wait_line(agent, "] connected to the hub")
        self.broker.wait_log("fieldline-plant 1 plant/+/state")
        for _ in range(count):
            self.sent += 1
            paho.mqtt.publish.single(
                f"plant/{DEVICE}/state", json.dumps({"n": self.sent}), qos=1, hostname="127.0.0.1", port=self.broker.port)

        def arrived():
            with contextlib.suppress(StageError):
                return sorted(Log(self.stage).numbers) == list(range(1, self.sent + 1))
        wait_until("every reading at the hub", arrived, every=0.2)


@pytest.fixture
def site(stage):
    return Site(stage)


def no_link(agent, sentence):
    same(wait_line(agent, "] no link to the hub").rsplit(" [", 1)[0],
         f"{TIME} error edge-agent: reason={sentence} retryMilliseconds=<\\d+>")


def test_a_gateway_reaches_its_hub_through_a_proxy(site):
    proxy = site.start_proxy()
    agent = site.start_agent(f'proxy = "http://127.0.0.1:{proxy.port}"')
    site.everything_arrives(agent)
    assert f"CONNECT localhost:{site.hub.mqtt}" in proxy.log_path.read_text()
    # A proxy that dies and comes back costs a short handshake.
    proxy.kill()
    site.stage.forget(proxy)
    wait_line(agent, "] no link to the hub")
    site.start_proxy(port=proxy.port)
    wait_until("another connection", lambda: agent.log_path.read_text().count("] connected to the hub") == 2)
    site.everything_arrives(agent)
    ways = re.findall(r"handshake=(\w+)", agent.log_path.read_text())
    assert ways == ["full", "short"]


@pytest.mark.parametrize("is_behind_proxy", [False, True], ids=["direct", "through-a-proxy"])
def test_a_gateway_reaches_its_hub_by_websocket_on_the_port_of_the_pages(site, is_behind_proxy):
    more = 'transport = "websocket"\n'
    if is_behind_proxy:
        more += f'proxy = "http://127.0.0.1:{site.start_proxy().port}"\n'
    agent = site.start_agent(more, port=site.hub.https)
    site.everything_arrives(agent)
    # The hub goes and comes back on the same ports: nothing is lost, and the way is found again.
    ports = {"mqtt": site.hub.mqtt, "https": site.hub.https, "http": site.hub.http}
    site.hub.kill()
    site.stage.forget(site.hub)
    wait_line(agent, "] no link to the hub")
    site.hub = site.stage.start_hub(name="hub-2", **ports)
    wait_until("another connection", lambda: agent.log_path.read_text().count("] connected to the hub") == 2)
    site.everything_arrives(agent)


def test_a_proxy_that_wants_a_user_lets_the_right_one_in_and_is_named_otherwise(site):
    proxy = site.start_proxy("BasicAuth gw-1 open-sesame")
    address = f'proxy = "http://127.0.0.1:{proxy.port}"'
    agent = site.start_agent(address)
    no_link(agent, f"The proxy 127.0.0.1:{proxy.port} lets nobody to localhost port {site.hub.mqtt} without a user and a "
                   "password (HTTP status 407). Correct proxy_user and proxy_password_file in the configuration.")
    assert agent.stop() == 0
    site.stage.forget(agent)
    password = site.secret_file("proxy.password", "open-sesame\n")
    agent = site.start_agent(f'{address}\nproxy_user = "gw-1"\nproxy_password_file = "{password}"', name="agent-2")
    site.everything_arrives(agent)
    assert "open-sesame" not in agent.log_path.read_text()


def test_a_proxy_that_allows_other_ports_only_is_named(site):
    proxy = site.start_proxy("ConnectPort 1")
    agent = site.start_agent(f'proxy = "http://127.0.0.1:{proxy.port}"')
    no_link(agent, f"The proxy 127.0.0.1:{proxy.port} does not let this gateway to localhost port {site.hub.mqtt} (HTTP status "
                   "403). Ask whoever runs the proxy to let CONNECT pass to this host and port.")


def test_a_gateway_with_a_gateway_host_name_connects_there_and_signs_in_at_its_hub(stage):
    """As the device SDKs do. Nobody resolves hub.example, so what arrives came by the other name."""
    site = Site(stage, "--hostname", "hub.example", "--mqtt", "0.0.0.0:0")
    plain = site.secret.read_text()
    assert plain.startswith("HostName=hub.example;")
    site.secret.write_text(plain + ";GatewayHostName=localhost")
    agent = site.start_agent("", host="hub.example")
    site.everything_arrives(agent)
    assert agent.stop() == 0
    site.stage.forget(agent)
    # The hub's certificate does not have this name, although the hub listens there.
    site.secret.write_text(plain + ";GatewayHostName=127.0.0.2")
    agent = site.start_agent("", host="hub.example", name="agent-2")
    wait_line(agent, "] no link to the hub", "127.0.0.2", "certificate")
    assert agent.stop() == 0
    site.stage.forget(agent)
    status, error = run(stage, "edge-agent", "check", "--config", site.write_config("", host="third.example"))
    assert status == 1
    assert "has a GatewayHostName, and hub.host is neither that nor HostName; make hub.host one of both" in error


BAD = [
    ('transport = "quic"', 'hub.transport = "quic": expected one of "mqtt", "websocket"'),
    ('proxy = "https://p:1"', 'hub.proxy = "https://p:1": expected a proxy such as "http://proxy.example:3128"'),
    ('proxy = "http://u:p@p:1"', 'hub.proxy = "http://u:p@p:1": expected a proxy such as "http://proxy.example:3128"'),
    ('proxy = "http://p"', 'hub.proxy = "http://p": expected a proxy such as "http://proxy.example:3128"'),
    ('proxy_user = "u"', "hub: proxy_user and proxy_password_file go together, and with proxy"),
    ('key = "handle:1"', 'hub: key needs provider = "tpm2"'),
    ('provider = "tpm2"', "hub: provider needs key, or the key_file that it made"),
]


@pytest.mark.parametrize("line, problem", BAD, ids=[line.split(" ")[0] + str(place) for place, (line, _) in enumerate(BAD)])
def test_what_is_wrong_with_the_way_to_the_hub_is_told_before_anything_starts(stage, tmp_path, line, problem):
    config = tmp_path / "edge-agent.toml"
    config.write_text(f'[hub]\nhost = "h"\nconnection_string_file = "/dev/null"\n{line}\n[[mqtt]]\nname = "plant"\n'
                      '[[mqtt.subscription]]\ntopic = "plant/{device}"\n')
    status, error = run(stage, "edge-agent", "check", "--config", config)
    assert status == 1
    assert problem in error
