"""Twins by MQTT and by the service's REST API."""

import itertools
import json

import pytest

from claims import claims
from clients import RawDevice, packet, text
from stage import wait_until

DEVICE = "Learn: Understand and use device twins in IoT Hub – Device operations"
BACK_END = "Learn: Understand and use device twins in IoT Hub – Back-end operations"
FORMAT = "Learn: Understand and use device twins in IoT Hub – Tags and properties format"
SIZE = "Learn: Understand and use device twins in IoT Hub – Device twin size"
METADATA = "Learn: Understand and use device twins in IoT Hub – Device twin metadata"
READING = "Learn: Communicate with an IoT hub using the MQTT protocol – Retrieving a device twin's properties"
REPORTING = "Learn: Communicate with an IoT hub using the MQTT protocol – Update device twin's reported properties"
PUSHES = "Learn: Communicate with an IoT hub using the MQTT protocol – Receiving desired properties update notifications"
RIDS = itertools.count(1)


def ask(device, topic, body=b""):
    """Status, what the topic says besides, and the document."""
    rid = next(RIDS)
    device.acknowledged(device.publish(body, topic=f"{topic}$rid={rid}"))
    topic, body = device.message()
    status, _, rest = topic.removeprefix("$iothub/twin/res/").partition(f"/?$rid={rid}")
    return int(status), rest, json.loads(body) if body else None


def get(device):
    status, rest, twin = ask(device, "$iothub/twin/GET/?")
    assert (status, rest) == (200, "")
    return twin


def report(device, patch):
    body = patch if isinstance(patch, bytes) else json.dumps(patch).encode()
    return ask(device, "$iothub/twin/PATCH/properties/reported/?", body)


@pytest.fixture
def device(hub, name):
    device = hub.connect(name)
    device.subscribe("$iothub/twin/res/#", qos=0)
    yield device
    device.close()


def serve(hub, method, name, body=None, **headers):
    status, _, answer = hub.rest(method, f"/twins/{name}", body, **headers)
    return status, json.loads(answer) if answer else None


@claims(READING)
@pytest.mark.parametrize("body", [b"", b" ", b"{}"])
def test_the_twin_is_answered_with_both_sections_their_versions_and_nothing_else(hub, name, device, body):
    serve(hub, "PATCH", name, {"tags": {"floor": 1}})
    status, rest, twin = ask(device, "$iothub/twin/GET/?", body)
    assert (status, rest) == (200, "")
    assert twin == {"desired": {"$version": 1}, "reported": {"$version": 1}}


@claims(READING)
def test_a_request_for_the_twin_is_answered_without_a_subscription_to_answers(hub, name):
    device = hub.connect(name)
    device.publish(b" ", topic="$iothub/twin/GET/?$rid=early")
    assert device.message()[0] == "$iothub/twin/res/200/?$rid=early"
    device.close()


@claims(READING)
@pytest.mark.parametrize("rid", ["1", "d0af-2d1c", "a%20b", "ü", "x" * 200, "0=1"])
def test_the_id_of_a_request_comes_back_as_it_was(device, rid):
    device.acknowledged(device.publish(b"", topic=f"$iothub/twin/GET/?$rid={rid}"))
    assert device.message()[0] == f"$iothub/twin/res/200/?$rid={rid}"


@claims(REPORTING)
def test_a_report_is_answered_204_without_body_and_with_the_version_that_rises_by_one(device):
    assert [report(device, {"n": number}) for number in range(3)] == [(204, f"&$version={version}", None) for version in (2, 3, 4)]
    assert get(device)["reported"] == {"n": 2, "$version": 4}


@claims(FORMAT, DEVICE)
def test_patches_merge_objects_null_deletes_and_arrays_and_scalars_replace(device):
    report(device, {"a": {"b": 1, "c": {"d": 2}}, "list": [1, 2], "scalar": "x"})
    report(device, {"a": {"c": {"d": None, "e": 3}}, "list": [3], "scalar": {"now": "an object"}, "never": None})
    assert get(device)["reported"] == {"a": {"b": 1, "c": {"e": 3}}, "list": [3], "scalar": {"now": "an object"}, "$version": 3}


@claims(REPORTING)
def test_a_report_under_another_version_than_the_current_is_refused_and_changes_nothing(device):
    report(device, {"n": 1})
    status, _, _ = ask(device, "$iothub/twin/PATCH/properties/reported/?$version=1&", b'{"n":2}')
    assert status == 412
    assert ask(device, "$iothub/twin/PATCH/properties/reported/?$version=2&", b'{"n":3}')[:2] == (204, "&$version=3")
    assert get(device)["reported"]["n"] == 3


@claims(REPORTING)
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b"null", b'"text"', b"\xff", b'{"a":1}x', b"{'a':1}"])
def test_what_is_no_json_object_is_answered_400(device, body):
    assert report(device, body)[0] == 400
    assert get(device)["reported"] == {"$version": 1}


def nested(levels):
    return {"x": nested(levels - 1)} if levels else 1


ALLOWED = {
    "ten-levels": {"a": nested(10)}, "key-of-1-kilobyte": {"k" * 1024: 1}, "text-of-4-kilobytes": {"t": "x" * 4096},
    "smallest-integer": {"i": -4503599627370496}, "largest-integer": {"i": 4503599627370495},
    "array-of-objects": {"a": [{"b": [1]}]},
    "odd-keys": {"a-b_c:d/e": 1, "ü": 2, "#": 3}, "fraction-and-exponent": {"f": -1.5e300}, "truth": {"t": True, "f": False},
}
FORBIDDEN = {
    "eleven-levels": {"a": nested(11)}, "key-over-1-kilobyte": {"k" * 1025: 1}, "text-over-4-kilobytes": {"t": "x" * 4097},
    "integer-too-small": {"i": -4503599627370497}, "integer-too-large": {"i": 4503599627370496}, "dot": {"a.b": 1},
    "dollar": {"a": {"$b": 1}}, "space": {"a b": 1}, "control-character": {"a\u0007": 1}, "c1-control-character": {"a\u0085": 1},
    "empty-key": {"": 1},
}


@claims(FORMAT)
@pytest.mark.parametrize("case", ALLOWED)
def test_what_the_format_allows_is_taken_and_comes_back_as_it_was(device, case):
    assert report(device, ALLOWED[case])[0] == 204
    found = get(device)["reported"]
    assert found.pop("$version") == 2
    assert found == ALLOWED[case]


@claims(FORMAT)
@pytest.mark.parametrize("case", FORBIDDEN)
def test_what_the_format_forbids_is_answered_400_to_device_and_service_and_changes_nothing(hub, name, device, case):
    assert report(device, FORBIDDEN[case])[0] == 400
    assert serve(hub, "PATCH", name, {"properties": {"desired": FORBIDDEN[case]}})[0] == 400
    assert serve(hub, "PATCH", name, {"tags": FORBIDDEN[case]})[0] == 400
    assert get(device) == {"desired": {"$version": 1}, "reported": {"$version": 1}}


def filling(size):
    """A section that counts so many bytes: keys and values."""
    found, left = {}, size
    for number in range(100):
        key = f"k{number:03}"
        if left <= 4 + 4096:
            found[key] = "x" * (left - 4)
            return found
        found[key] = "x" * 4000
        left -= 4004
    raise AssertionError("100 keys are enough")


@claims(SIZE)
@pytest.mark.parametrize("section, size", [("reported", 32768), ("desired", 32768), ("tags", 8192)])
def test_a_section_may_be_filled_to_its_limit_and_not_beyond(hub, name, device, section, size):
    def write(document):
        if section == "reported":
            return report(device, document)[0]
        body = {"tags": document} if section == "tags" else {"properties": {"desired": document}}
        return serve(hub, "PUT", name, body, **{"If-Match": "*"})[0]
    assert write(filling(size)) in (200, 204)
    assert write(filling(size + 1)) == 400
    # What is replaced does not count twice, and what is deleted makes room.
    assert write({"k000": None}) in (200, 204)


@claims(SIZE)
def test_a_number_counts_eight_bytes_and_a_truth_four(device):
    # 4 * 512 for the keys, 8 * 512 for the numbers, 4 and 4 for the truth; then the text fills it up.
    numbers = {f"n{number:03}": number for number in range(512)}
    assert report(device, {"n": numbers})[0] == 204
    used = 1 + 512 * 12
    assert report(device, {"t00": True})[0] == 204
    used += 3 + 4
    rest = filling(32768 - used)
    assert report(device, rest)[0] == 204
    assert report(device, {"z": None, "n": {"x": 1}})[0] == 400


@claims(PUSHES, BACK_END)
def test_a_desired_change_is_pushed_as_it_was_written_with_its_version(hub, name, device):
    device.subscribe("$iothub/twin/PATCH/properties/desired/#", qos=0)
    patch = {"colour": "red", "old": None, "o": {"k": [1]}}
    assert serve(hub, "PATCH", name, {"properties": {"desired": patch}})[0] == 200
    topic, body = device.message()
    assert topic == "$iothub/twin/PATCH/properties/desired/?$version=2"
    assert json.loads(body) == {**patch, "$version": 2}


@claims(PUSHES, BACK_END)
def test_a_replaced_twin_is_pushed_whole(hub, name, device):
    serve(hub, "PATCH", name, {"properties": {"desired": {"a": 1, "b": 2}}})
    device.subscribe("$iothub/twin/PATCH/properties/desired/#", qos=0)
    assert serve(hub, "PUT", name, {"properties": {"desired": {"c": 3}}}, **{"If-Match": "*"})[0] == 200
    topic, body = device.message()
    assert (topic, json.loads(body)) == ("$iothub/twin/PATCH/properties/desired/?$version=3", {"c": 3, "$version": 3})
    assert get(device)["desired"] == {"c": 3, "$version": 3}


@claims("Learn: Understand and use device twins in IoT Hub – Device reconnection flow")
def test_desired_changes_made_while_a_device_was_away_are_found_by_version_and_not_queued(hub, name):
    def log_in():
        device = RawDevice(hub.process, name)
        assert device.login(hub.token(name), clean=False) == 0
        return device
    device = log_in()
    device.subscribe("$iothub/twin/PATCH/properties/desired/#", qos=0)
    device.close()
    wait_until("its end", lambda: hub.device_events(name)[-1]["kind"] == "disconnected")
    for number in range(3):
        serve(hub, "PATCH", name, {"properties": {"desired": {"n": number}}})
    device = log_in()
    assert device.session_present
    # The answer is the first that it hears.
    assert get(device)["desired"] == {"n": 2, "$version": 4}
    device.close()


@claims(METADATA)
def test_the_service_sees_when_and_with_which_version_each_property_was_written(hub, name, device):
    serve(hub, "PATCH", name, {"properties": {"desired": {"a": {"b": 1}}}})
    report(device, {"r": 1})
    properties = serve(hub, "GET", name)[1]["properties"]
    desired, reported = properties["desired"]["$metadata"], properties["reported"]["$metadata"]
    assert desired["$lastUpdatedVersion"] == desired["a"]["b"]["$lastUpdatedVersion"] == 2
    assert desired["a"]["b"]["$lastUpdated"].endswith("Z") and reported["r"]["$lastUpdated"].endswith("Z")
    assert "$lastUpdatedVersion" not in reported


@claims("Learn: Understand and use device twins in IoT Hub – Optimistic concurrency")
def test_a_write_of_the_service_is_conditional_on_the_etag_and_reports_do_not_change_that(hub, name, device):
    etag = serve(hub, "GET", name)[1]["etag"]
    report(device, {"r": 1})
    status, twin = serve(hub, "PATCH", name, {"tags": {"a": 1}}, **{"If-Match": f'"{etag}"'})
    assert status == 200 and twin["etag"] != etag
    assert serve(hub, "PATCH", name, {"tags": {"a": 2}}, **{"If-Match": f'"{etag}"'})[0] == 412
    assert serve(hub, "GET", name)[1]["tags"] == {"a": 1}


@claims("Learn: Understand and use module twins in IoT Hub – Module operations")
def test_a_module_has_a_twin_of_its_own(name, device, module):
    assert report(module, {"m": 1})[:2] == (204, "&$version=2")
    assert get(module)["reported"] == {"m": 1, "$version": 2}
    assert get(device)["reported"] == {"$version": 1}


@claims(DEVICE)
def test_a_device_cannot_read_tags_or_write_desired_properties(hub, name, device):
    device.send(packet(0x30, text("$iothub/twin/PATCH/properties/desired/?$rid=1") + b'{"a":1}'))
    assert device.is_closed()
    assert serve(hub, "GET", name)[1]["properties"]["desired"]["$version"] == 1
