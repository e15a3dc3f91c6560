"""What a gateway may ask of the hub for its children, and that a device that fell silent is noticed."""

import itertools
import json
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from claims import claims
from clients import BATCH_TYPE, PUBLISH, HubUnderTest, same, trusting
from sas import service_token
from stage import Stage, wait_until

TIME = r"<\d{4}-\d\d-\d\dT[\d:]+[+-]\d{4}>"


PING, PING_ANSWER = b"\xc0\x00", 13


class ServedHub(HubUnderTest):
    """With the service's REST API."""

    def __init__(self, stage):
        super().__init__(stage)
        self._policy = stage.hub_command("connection-string")
        self._caller = ThreadPoolExecutor(1)

    def rest(self, method, path, body=None, **headers):
        request = urllib.request.Request(
            f"https://localhost:{self.process.https}{path}?api-version=2021-04-12", method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": service_token(self._policy), "Content-Type": "application/json", **headers})
        with urllib.request.urlopen(request, timeout=20, context=trusting(self.process)) as answer:
            return json.load(answer)

    def twin(self, name):
        return self.rest("GET", f"/twins/{name}")

    def invoke(self, name, method, payload):
        """Calls the method; the answer comes as a future."""
        call = {"methodName": method, "payload": payload, "responseTimeoutInSeconds": 15}
        return self._caller.submit(self.rest, "POST", f"/twins/{name}/methods", call)

    def switch(self, name, status):
        """Enables or disables the device; done when the future is."""
        def change():
            device = self.rest("GET", f"/devices/{name}")
            assert self.rest("PUT", f"/devices/{name}", device | {"status": status}, **{"If-Match": '"*"'})["status"] == status
        return self._caller.submit(change)


@pytest.fixture(scope="module")
def hub(programs, tmp_path_factory):
    with Stage(programs, tmp_path_factory.mktemp("hub")) as stage:
        hub = ServedHub(stage)
        for name in ("gw-ours", "gw-theirs"):
            hub.create(name, "--gateway")
        hub.create("our-child", "--parent", "gw-ours")
        hub.create("their-child", "--parent", "gw-theirs")
        hub.create("alone")
        yield hub


@pytest.fixture
def gateway(hub):
    device = hub.connect("gw-ours")
    for filter in ("$fieldline/+/$iothub/twin/res/#", "$fieldline/+/$iothub/methods/POST/#",
                   "$fieldline/+/$iothub/twin/PATCH/properties/desired/#", "$fieldline/+/devices/+/messages/devicebound/#"):
        assert device.subscribe(filter, qos=0) == 0, filter
    yield device
    device.close()


def reported(hub, name):
    """As the device itself sees its twin."""
    device = hub.connect(name)
    device.subscribe("$iothub/twin/res/#", qos=0)
    device.publish(b"", topic="$iothub/twin/GET/?$rid=1")
    topic, body = device.message()
    device.close()
    assert topic == "$iothub/twin/res/200/?$rid=1"
    found = json.loads(body)["reported"]
    del found["$version"]
    return found


def asks(gateway, child, topic, body=b""):
    """The answer to a request in a child's name: its topic, and its body."""
    gateway.acknowledged(gateway.publish(body, topic=f"$fieldline/{child}/{topic}"))
    return gateway.message()


def test_a_gateway_reads_and_writes_the_twin_of_its_own_child(hub, gateway):
    topic, _ = asks(gateway, "our-child", "$iothub/twin/PATCH/properties/reported/?$rid=1", {"colour": "green"})
    assert topic.startswith("$fieldline/our-child/$iothub/twin/res/204/?$rid=1&$version=")
    topic, body = asks(gateway, "our-child", "$iothub/twin/GET/?$rid=2")
    assert topic == "$fieldline/our-child/$iothub/twin/res/200/?$rid=2"
    assert json.loads(body)["reported"]["colour"] == "green"


@pytest.mark.parametrize("child", ["their-child", "alone", "gw-theirs", "nobody"])
def test_the_twin_of_any_other_device_is_answered_as_if_it_did_not_exist_and_the_connection_lives_on(hub, gateway, child):
    for number, (request, body) in enumerate([
            ("$iothub/twin/GET/?$rid=7", b""), ("$iothub/twin/PATCH/properties/reported/?$rid=7", {"stolen": True})]):
        answer = asks(gateway, child, request, body)
        assert answer == (f"$fieldline/{child}/$iothub/twin/res/404/?$rid=7", b""), number
    if child != "nobody":
        assert reported(hub, child) == {}
    topic, _ = asks(gateway, "our-child", "$iothub/twin/GET/?$rid=8")
    assert topic == "$fieldline/our-child/$iothub/twin/res/200/?$rid=8"
    same(hub.log("a gateway asked for a device that is not its child"),
         f"{TIME} warning mqtt: child=their-child gateway=gw-ours [Listeners] a gateway asked for a device that is not its "
         "child; create the device with --parent, or correct the gateway")


def test_another_gateway_gets_nothing_of_a_child_whatever_it_subscribed(hub, gateway):
    """Its wildcards mean its own children."""
    theirs = hub.connect("gw-theirs")
    for filter in ("$fieldline/+/devices/+/messages/devicebound/#", "$fieldline/our-child/devices/our-child/messages/devicebound/#"):
        theirs.subscribe(filter, qos=0)
    hub.stage.hub_command("device", "send", "our-child", "for our child")
    topic, body = gateway.message()
    assert topic.startswith("$fieldline/our-child/devices/our-child/messages/devicebound/")
    assert body == b"for our child"
    hub.stage.hub_command("device", "send", "their-child", "for their child")
    topic, body = theirs.message()
    assert topic.startswith("$fieldline/their-child/devices/their-child/messages/devicebound/")
    assert body == b"for their child"
    assert not gateway.has(PUBLISH)
    assert not theirs.has(PUBLISH)
    theirs.close()


def test_a_method_call_is_answered_by_the_childs_own_gateway_only(hub, gateway):
    """Another gateway that guesses the request's number does not answer for it."""
    theirs = hub.connect("gw-theirs")
    called = hub.invoke("our-child", "Reset", {"why": "test"})
    topic, body = gateway.message()
    assert topic.startswith("$fieldline/our-child/$iothub/methods/POST/Reset/?$rid=")
    assert json.loads(body) == {"why": "test"}
    number = topic.rsplit("=", 1)[1]
    theirs.acknowledged(theirs.publish({"forged": 1}, topic=f"$fieldline/our-child/$iothub/methods/res/200/?$rid={number}"))
    theirs.acknowledged(theirs.publish({"forged": 2}, topic=f"$iothub/methods/res/200/?$rid={number}"))
    assert not called.done()
    gateway.acknowledged(gateway.publish({"true": 3}, topic=f"$fieldline/our-child/$iothub/methods/res/207/?$rid={number}"))
    assert called.result(20) == {"status": 207, "payload": {"true": 3}}
    theirs.close()


def test_telemetry_in_the_name_of_a_foreign_child_is_quarantined_and_that_of_an_own_child_passes(hub, gateway):
    for child, number in (("their-child", 1), ("our-child", 2)):
        gateway.acknowledged(gateway.publish({"n": number}, topic=f"$fieldline/{child}/devices/{child}/messages/events/"))
    assert hub.bodies("their-child") == []
    assert hub.bodies("our-child") == [{"n": 2}]
    same(hub.log("records were quarantined", "device=gw-ours"),
         f"{TIME} warning mqtt: device=gw-ours reason='their-child' is no child of gateway 'gw-ours'; make it one in the hub's "
         "registry, or remove the sensor from the gateway's configuration records=1 [Listeners] records were quarantined")


# -- a child that is disabled

DISABLED = ("'switched' is disabled in the hub's registry; enable it there, or remove the sensor from the gateway's "
            "configuration")


class BatchStream:
    """Batches of a gateway, each with a reading of the switched child and one of another."""

    def __init__(self, gateway, epoch):
        self._gateway, self._epoch, self._next = gateway, epoch, itertools.count(1)

    def send(self):
        """One batch, to its acknowledgement; the sequence of the switched child's reading."""
        first, second = next(self._next), next(self._next)
        records = [{"seq": str(sequence), "device": device, "metric": "temperature", "value": "21.5",
                    "time": "2026-11-21T08:53:00.250Z"} for sequence, device in [(first, "switched"), (second, "our-child")]]
        batch = {"v": 1, "epoch": self._epoch, "runs": [[str(first), "2"]], "records": records}
        self._gateway.acknowledged(self._gateway.publish(batch, bag=f"$.ct={BATCH_TYPE}&$.ce=utf-8"))
        return first

    def refused(self):
        """The sequence of the one record that the next receipt names."""
        topic, body = self._gateway.message()
        assert topic == "$fieldline/receipts"
        receipt = json.loads(body)
        (entry,) = receipt["entries"]
        assert (receipt["epoch"], entry["code"], entry["reason"]) == (self._epoch, "deviceDisabled", DISABLED)
        assert entry["run"][1] == "1"
        return int(entry["run"][0])

    def kept(self, hub):
        """The sequences in the log, by device."""
        bodies = [body for body in hub.bodies("gw-ours") if isinstance(body, dict) and body.get("epoch") == self._epoch]
        records = [record for body in bodies for record in body["records"]]
        return {device: [int(record["seq"]) for record in records if record["device"] == device]
                for device in ("switched", "our-child")}


def test_a_child_that_is_disabled_while_its_gateway_streams_is_silenced_until_it_is_enabled_again(hub, gateway):
    hub.create("switched", "--parent", "gw-ours")
    gateway.subscribe("$fieldline/receipts", qos=0)
    stream = BatchStream(gateway, "00000000000000d1")
    sent = [stream.send()]
    switched = hub.switch("switched", "disabled")
    while not switched.done():
        sent.append(stream.send())
    switched.result()
    wait_until("a reading of the disabled child to be refused", lambda: gateway.has(PUBLISH) or sent.append(stream.send()))
    begin = stream.refused()
    late = stream.send()
    for sequence in (number for number in [*sent, late] if number > begin):
        assert stream.refused() == sequence
    assert not gateway.has(PUBLISH)

    gateway.acknowledged(gateway.publish({"n": 1}, topic="$fieldline/switched/devices/switched/messages/events/"))
    assert asks(gateway, "switched", "$iothub/twin/GET/?$rid=4") == ("$fieldline/switched/$iothub/twin/res/401/?$rid=4", b"")
    same(hub.log("a gateway asked for a child that is disabled"),
         f"{TIME} warning mqtt: child=switched gateway=gw-ours [Listeners] a gateway asked for a child that is disabled; "
         "enable it in the registry, or remove it from the gateway")
    hub.stage.hub_command("device", "send", "switched", "while it was disabled")
    with pytest.raises(urllib.error.HTTPError) as error:
        hub.invoke("switched", "Reset", {}).result(20)
    assert (error.value.code, error.value.headers["iothub-errorcode"]) == (404, "DeviceNotOnline")
    assert not gateway.has(PUBLISH)

    hub.switch("switched", "enabled").result(20)
    topic, body = gateway.message()
    assert topic.startswith("$fieldline/switched/devices/switched/messages/devicebound/")
    assert body == b"while it was disabled"
    last = stream.send()
    gateway.acknowledged(gateway.publish({"n": 2}, topic="$fieldline/switched/devices/switched/messages/events/"))
    topic, _ = asks(gateway, "switched", "$iothub/twin/GET/?$rid=5")
    assert topic == "$fieldline/switched/$iothub/twin/res/200/?$rid=5"
    assert not gateway.has(PUBLISH)
    kept = stream.kept(hub)
    assert kept["switched"] == [number for number in sent if number < begin] + [last]
    assert kept["our-child"] == [number + 1 for number in [*sent, late, last]]
    assert hub.bodies("switched") == [{"n": 2}]


@pytest.mark.parametrize("filter", [
    "$fieldline/their-child/$iothub/twin/res/#", "$fieldline/their-child/$iothub/methods/POST/#", "$fieldline/receipts"])
def test_a_device_that_is_no_gateway_has_no_children(hub, filter):
    device = hub.connect("alone")
    device.subscribe(filter, qos=0)
    device.subscribe("$iothub/twin/res/#", qos=0)
    device.acknowledged(device.publish(b"", topic="$fieldline/our-child/$iothub/twin/GET/?$rid=1"))
    device.acknowledged(device.publish(b"", topic="$iothub/twin/GET/?$rid=2"))
    topics = [device.message()[0]]
    if topics[0].startswith("$fieldline"):
        topics.append(device.message()[0])
    assert "$iothub/twin/res/200/?$rid=2" in topics
    assert all("/200/" not in topic for topic in topics if topic.startswith("$fieldline"))
    device.close()


# -- silence


def connected(hub, name):
    return json.loads(hub.stage.hub_command("device", "show", name, "--output", "json"))["connected"]


@claims("MQTT 3.1.1 [MQTT-3.1.2-24]", "Learn: Communicate with an IoT hub using the MQTT protocol – Default keep-alive time-out")
def test_a_silent_device_is_dropped_after_one_and_a_half_times_its_keep_alive_and_shown_as_disconnected(hub):
    hub.create("sleeper")
    device = hub.connect("sleeper", keep_alive=1)
    device.acknowledged(device.publish({"n": 1}))
    begin = time.monotonic()
    assert connected(hub, "sleeper")
    assert device.is_closed()
    # The hub's clock started with the last packet, a moment before ours.
    assert 1.4 <= time.monotonic() - begin <= 3
    same(hub.log("connection closed", "device=sleeper "),
         f"{TIME} warning mqtt: address=127.0.0.1 device=sleeper reason=nothing was heard for one and a half times the keep-alive "
         "[Listeners] connection closed")
    assert not connected(hub, "sleeper"), "it is gone at once, although a dead device never answers the end of TLS"
    assert hub.twin("sleeper")["connectionState"] == "Disconnected"
    again = hub.connect("sleeper")
    assert connected(hub, "sleeper")
    assert hub.twin("sleeper")["connectionState"] == "Connected"
    again.close()
    wait_until("the device to be shown as gone", lambda: hub.twin("sleeper")["connectionState"] == "Disconnected")


def test_a_ping_in_time_keeps_the_connection(hub):
    hub.create("pinging")
    device = hub.connect("pinging", keep_alive=1)
    begin = time.monotonic()
    while time.monotonic() - begin < 2.5:
        device.send(PING)
        device.receive(PING_ANSWER)
        device.quiet(0.7)
    device.acknowledged(device.publish({"still": "here"}))
    device.close()
