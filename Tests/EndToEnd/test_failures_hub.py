"""What goes wrong at the hub gets a clear error, loses nothing, and the next good message passes."""

import json
import re
import socket
import sqlite3
import urllib.error
import urllib.request

import pytest

from clients import (
    ACCEPTED, BATCH_TYPE, NOT_AUTHORISED, PUBACK, Closed, HubUnderTest, RawDevice, device_token, packet, run, same,
    small_disk, text)
from stage import ROOT, Browser, Stage, StageError, free_port, wait_until

OTHER_KEY = "bm90IHRoZSBrZXkgb2YgdGhpcyBkZXZpY2UgYXQgYWxsIQ=="
TIME = r"<\d{4}-\d\d-\d\dT[\d:]+[+-]\d{4}>"
SERVE = ("--hostname", "localhost", "--mqtt", "127.0.0.1:0", "--https", "127.0.0.1:0", "--http", "127.0.0.1:0")


@pytest.fixture(scope="module")
def hub(programs, tmp_path_factory):
    """One hub for every bad client: none of them may disturb the others. The last test of it looks at all that is kept."""
    with Stage(programs, tmp_path_factory.mktemp("hub")) as stage:
        yield HubUnderTest(stage)


@pytest.fixture(scope="module")
def bystander(hub):
    """A device that is connected all the time; every test ends with a message of it."""
    hub.create("bystander")
    device = hub.connect("bystander")
    yield device
    device.close()


@pytest.fixture(autouse=True)
def nobody_else_is_disturbed(request):
    yield
    if "bystander" not in request.fixturenames:
        return
    hub, bystander = request.getfixturevalue("hub"), request.getfixturevalue("bystander")
    bystander.acknowledged(bystander.publish({"after": request.node.name}))
    assert {"after": request.node.name} in hub.bodies("bystander")


def publishes(hub, name):
    """The next good message of a device passes: acknowledged, and in the log."""
    device = hub.connect(name)
    device.acknowledged(device.publish({"good": name}))
    device.close()
    assert hub.bodies(name)[-1] == {"good": name}


def refused(hub, name, token, sentence):
    """CONNACK 5, the connection is closed, and the hub's log says why."""
    device = RawDevice(hub.process, name, token)
    assert device.code == NOT_AUTHORISED
    assert device.is_closed()
    line = hub.log("a device was refused", f"device={name} ")
    same(line, f"{TIME} warning mqtt: address=127.0.0.1 device={name} reason={sentence} [Listeners] a device was refused")


# -- who is let in


def test_a_wrong_key_is_refused_and_named(hub, bystander):
    string = hub.create("wrong-key")
    refused(hub, "wrong-key", device_token(string, key=OTHER_KEY),
            "the token of wrong-key is signed with neither of its two keys; give it the connection string from the registry")
    publishes(hub, "wrong-key")


def test_an_expired_token_is_refused_and_the_log_names_the_difference_of_the_clocks(hub, bystander):
    string = hub.create("late")
    refused(hub, "late", device_token(string, lifetime=-3720),
            "token of late expired 1 h 2 min before the hub's clock "
            r"(<\d{4}-\d\d-\d\dT[\d:.]+Z>); check the device's clock or renew the token")
    publishes(hub, "late")


def test_an_unknown_device_is_refused_and_can_be_created(hub, bystander):
    other = hub.create("known")
    string = other.replace("DeviceId=known", "DeviceId=nobody")
    refused(hub, "nobody", device_token(string),
            "device nobody is not registered; create it with 'cloud-hub device create'")
    hub.create("nobody")
    publishes(hub, "nobody")


def test_a_disabled_or_foreign_token_does_not_open_another_device(hub, bystander):
    hub.create("victim")
    refused(hub, "victim", device_token(hub.create("thief")),
            "the token of victim is signed with neither of its two keys; give it the connection string from the registry")
    publishes(hub, "victim")


# -- what they send

CLOSED = "connection closed"
MALFORMED = [
    ("garbage", b"\xff\xff\xff\xff\xff\x00garbage",
     "the device broke the MQTT protocol: packet is malformed at byte 0: packet type 15 is reserved; mend the client"),
    ("flags", packet(0x36, b"\x00\x01a"),
     "the device broke the MQTT protocol: PUBLISH is malformed at byte 0: QoS 3 is reserved; mend the client"),
    ("endless-length", b"\x30\xff\xff\xff\xff\x01",
     "the device broke the MQTT protocol: PUBLISH is malformed at byte 4: the remaining length has more than four bytes; "
     "mend the client"),
    ("not-utf8", packet(0x32, b"\x00\x02\xc3\x28\x00\x07body"),
     "the device broke the MQTT protocol: PUBLISH is malformed at byte 4: the text is not valid UTF-8; mend the client"),
    ("zero-id", packet(0x32, text("devices/zero-id/messages/events/") + b"\x00\x00body"),
     "the device broke the MQTT protocol: PUBLISH is malformed at byte 36: packet identifier zero is reserved; "
     "mend the client"),
    ("short-body", packet(0x82, b"\x00\x01\x00\x40topic"),
     "the device broke the MQTT protocol: SUBSCRIBE is malformed at byte 4: the body ends before this field does; "
     "mend the client"),
    ("second-connect", packet(0x10, text("MQTT") + b"\x04\x02\x00\x3c" + text("second-connect")),
     "the device broke the MQTT protocol: CONNECT came a second time; mend the client"),
]


@pytest.mark.parametrize("name, sent, reason", MALFORMED, ids=[row[0] for row in MALFORMED])
def test_a_malformed_packet_closes_this_connection_only(hub, bystander, name, sent, reason):
    hub.create(name)
    device = hub.connect(name)
    device.acknowledged(device.publish({"before": name}))
    device.send(sent)
    assert device.is_closed()
    same(hub.log(CLOSED, f"device={name} "),
         f"{TIME} warning mqtt: address=127.0.0.1 device={name} reason={reason} [Listeners] {CLOSED}")
    publishes(hub, name)
    assert hub.bodies(name) == [{"before": name}, {"good": name}]


def test_bytes_that_are_no_mqtt_before_connect_close_the_connection(hub, bystander):
    stranger = RawDevice(hub.process, "stranger")
    stranger.send(b"GET / HTTP/1.1\r\n\r\n")
    assert stranger.is_closed()
    same(hub.log(CLOSED, "before CONNECT"),
         f"{TIME} warning mqtt: address=127.0.0.1 device=before CONNECT reason=the device broke the MQTT protocol: PUBACK is malformed at "
         f"byte 0: flags 7 are not allowed for this packet type; mend the client [Listeners] {CLOSED}")


def test_bytes_that_are_no_tls_close_the_connection(hub, bystander):
    with socket.create_connection(("127.0.0.1", hub.process.mqtt), 20) as plain:
        plain.sendall(packet(0x10, text("MQTT") + b"\x04\x02\x00\x3c" + text("plain")))
        with pytest.raises((ConnectionError, Closed)):
            while plain.recv(100):
                pass
            raise Closed


OVERSIZE = 256 * 1024 + 1


def test_a_message_of_256_kib_passes_and_one_byte_more_does_not(hub, bystander):
    hub.create("talker")
    device = hub.connect("talker")
    device.acknowledged(device.publish(b"x" * (OVERSIZE - 1)))
    device.publish(b"x" * OVERSIZE)
    assert device.is_closed()
    same(hub.log(CLOSED, "device=talker "),
         f"{TIME} warning mqtt: address=127.0.0.1 device=talker reason=the device asked for something this hub does not take: a message of "
         f"{OVERSIZE} bytes; the most is {OVERSIZE - 1}, so let the device send smaller messages [Listeners] {CLOSED}")
    publishes(hub, "talker")
    assert [len(body) for body in hub.bodies("talker")[:-1]] == [OVERSIZE - 1]


def test_a_packet_of_many_megabytes_is_refused_by_its_length_alone(hub, bystander):
    hub.create("shouter")
    device = hub.connect("shouter")
    device.send(b"\x32\xff\xff\xff\x7f")
    assert device.is_closed()
    same(hub.log(CLOSED, "device=shouter "),
         f"{TIME} warning mqtt: address=127.0.0.1 device=shouter reason=the device broke the MQTT protocol: PUBLISH is malformed at byte "
         r"1: the packet has 268435460 bytes but at most <\d+> are allowed; mend the client [Listeners] " + CLOSED)
    publishes(hub, "shouter")


def test_the_topic_of_another_device_closes_the_connection_and_names_both(hub, bystander):
    hub.create("liar")
    device = hub.connect("liar")
    device.publish({"forged": True}, topic="devices/bystander/messages/events/")
    assert device.is_closed()
    same(hub.log(CLOSED, "device=liar "),
         f"{TIME} warning mqtt: address=127.0.0.1 device=liar reason=the device asked for something this hub does not take: device 'liar' "
         "cannot use topic 'devices/bystander/messages/events/': it belongs to device 'bystander', not to device 'liar' "
         f"[Listeners] {CLOSED}")
    assert {"forged": True} not in hub.bodies("bystander")
    publishes(hub, "liar")


def test_the_subscription_to_another_device_is_refused_and_the_connection_lives_on(hub, bystander):
    hub.create("listener")
    device = hub.connect("listener")
    assert device.subscribe("devices/bystander/messages/devicebound/#") == 0x80
    same(hub.log("a subscription was refused", "device=listener "),
         f"{TIME} warning mqtt: device=listener reason=device 'listener' cannot use topic "
         "'devices/bystander/messages/devicebound/#': it belongs to device 'bystander', not to device 'listener' "
         "[Listeners] a subscription was refused")
    device.acknowledged(device.publish({"good": "listener"}))
    device.close()


# -- what is missing


def test_a_hole_in_a_gateways_records_is_said_on_its_page_until_it_is_filled_or_declared(hub, bystander):
    hub.create("gw-holes", "--gateway")
    gateway = hub.connect("gw-holes")
    browser = Browser(f"http://127.0.0.1:{hub.process.http}")
    assert browser.open_link(hub.stage.hub_command("sign-in", data=hub.process.data))

    def send(first, count, **more):
        records = [reading(first + place, "gw-holes", f"{place}.5") for place in range(count)]
        batch = {"v": 1, "epoch": "00000000000000aa", "runs": [[str(first), str(count)]], "records": records, **more}
        gateway.acknowledged(gateway.publish(batch, bag=f"$.ct={BATCH_TYPE}&$.ce=utf-8"))
        return browser.missing()

    assert send(1, 2) == []
    assert send(6, 1) == [
        "3 records of this gateway are missing. They come by themselves; if not, see the gateway&#39;s log."]
    assert send(3, 2) == [
        "1 record of this gateway is missing. It comes by itself; if it does not, see the gateway&#39;s log."]
    assert send(7, 1, dropped=[["5", "1"]]) == []
    gateway.close()


# -- who speaks for whom

FOREIGN = ("'their-child' is no child of gateway 'gw-ours'; make it one in the hub's registry, or remove the sensor from "
           "the gateway's configuration")


def reading(sequence, device, value):
    return {"seq": str(sequence), "device": device, "metric": "temperature", "value": value, "unit": "Cel",
            "time": "2026-11-21T08:53:00.250Z"}


def test_somebody_elses_child_is_quarantined_named_in_a_receipt_and_the_rest_of_its_batch_passes(hub, bystander):
    hub.create("gw-ours", "--gateway")
    hub.create("our-child", "--parent", "gw-ours")
    hub.create("gw-theirs", "--gateway")
    hub.create("their-child", "--parent", "gw-theirs")
    gateway = hub.connect("gw-ours")
    assert gateway.subscribe("$fieldline/receipts") in (0, 1)

    def batch(first, *devices):
        records = [reading(first + place, device, f"{first + place}.5") for place, device in enumerate(devices)]
        return {"v": 1, "epoch": "9f86d081884c7d65", "runs": [[str(first), str(len(records))]], "records": records}

    bag = f"$.ct={BATCH_TYPE}&$.ce=utf-8"
    gateway.acknowledged(gateway.publish(batch(1001, "our-child", "their-child", "our-child", "gw-ours"), bag=bag))
    topic, body = gateway.message()
    assert topic == "$fieldline/receipts"
    receipt = json.loads(body)
    assert receipt == {
        "v": 1, "epoch": "9f86d081884c7d65",
        "entries": [{
            "run": ["1002", "1"], "code": "childNotInScope", "reason": FOREIGN,
            "first": {"device": "their-child", "metric": "temperature", "time": batch(1, "their-child")["records"][0]["time"]}}],
    }
    same(hub.log("records were quarantined", "device=gw-ours "),
         f"{TIME} warning mqtt: device=gw-ours reason={FOREIGN} records=1 [Listeners] records were quarantined")
    gateway.acknowledged(gateway.publish(batch(1005, "our-child"), bag=bag))
    gateway.close()
    kept = [record["seq"] for body in hub.bodies("gw-ours") for record in body["records"]]
    assert kept == ["1001", "1003", "1004", "1005"]
    store = sqlite3.connect(f"file:{hub.process.data}/log.sqlite?mode=ro", uri=True)
    assert store.execute("SELECT gateway, sequence, code, reason FROM quarantine").fetchall() == [
        ("gw-ours", "1002", "childNotInScope", FOREIGN)]
    store.close()


def test_a_batch_that_is_none_is_quarantined_whole_and_the_next_one_passes(hub, bystander):
    hub.create("gw-broken", "--gateway")
    gateway = hub.connect("gw-broken")
    gateway.subscribe("$fieldline/receipts")
    bag = f"$.ct={BATCH_TYPE}&$.ce=utf-8"
    gateway.acknowledged(gateway.publish(b'{"v":1,"epoch":', bag=bag))
    receipt = json.loads(gateway.message()[1])
    (entry,) = receipt["entries"]
    assert (entry["code"], entry["reason"]) == (
        "malformedBatch", "the batch cannot be read at byte 15: the text ends in the middle of a value")
    good = {"v": 1, "epoch": "9f86d081884c7d66", "runs": [["1", "1"]], "records": [reading(1, "gw-broken", "20.5")]}
    gateway.acknowledged(gateway.publish(good, bag=bag))
    gateway.close()
    assert [body["runs"] for body in hub.bodies("gw-broken")] == [[["1", "1"]]]


def test_nothing_that_was_acknowledged_is_missing_in_the_end(hub, bystander):
    """The bystander's messages, one a test, in their order and each once."""
    names = [body["after"] for body in hub.bodies("bystander")]
    assert len(names) > 10
    assert len(names) == len(set(names))


# -- how it is started


def test_a_wrong_configuration_file_is_refused_with_all_problems_at_once(stage, tmp_path):
    config = tmp_path / "cloud-hub.toml"
    config.write_text("""
log_level = "loud"
colour = "red"
[listeners]
http = "0.0.0.0:80"
[limits]
connect_timeout = "5 parsecs"
[[rule]]
name = "hot"
metric = "t"
when = "> many"
""")
    status, error = run(stage, "cloud-hub", "serve", "--data", tmp_path / "hub", *SERVE, "--config", config)
    assert status == 2
    sample = (ROOT / "Deploy/config/cloud-hub.toml").read_text()
    loose, _, tables = sample.partition("\n#[")
    known = re.findall(r"^#(\w+) = ", loose, re.M) + re.findall(r"^#\[{1,2}(\w+)\]", "#[" + tables, re.M)
    assert "hostname" in known and "listeners" in known
    assert error.splitlines() == [
        f"cloud-hub: {config} has 5 problems:",
        'line 2: log_level = "loud": expected one of "trace", "debug", "info", "notice", "warning", "error"',
        f"line 3: colour: is not a known key; known at the top: {', '.join(sorted(set(known)))}",
        'line 5: listeners.http = "0.0.0.0:80": expected a loopback address and a port, such as "127.0.0.1:8088", or '
        '"off": without TLS the pages are for this machine only',
        'line 7: limits.connect_timeout = "5 parsecs": expected a duration with its unit, such as "90s" or "1h30m", from '
        "1s to 1m",
        'line 11: rule[1].when = "> many": column 3: "many" is no number; write one such as 70, -2.5 or 1e6',
    ]
    assert not (tmp_path / "hub").exists()
    config.write_text("")
    stage.start_hub("--config", config)


@pytest.mark.parametrize("listener, name", [("mqtt", "MQTT"), ("https", "HTTPS"), ("http", "HTTP")])
def test_a_port_in_use_is_named(stage, tmp_path, listener, name):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        call = list(SERVE)
        call[call.index(f"--{listener}") + 1] = f"127.0.0.1:{port}"
        status, error = run(stage, "cloud-hub", "serve", "--data", tmp_path / "hub", *call)
        assert (status, error) == (
            1, f"cloud-hub: the {name} listener cannot be opened at 127.0.0.1:{port}: Address already in use; "
            "stop what uses that address, or choose another")
    stage.start_hub(**{listener: port})


def test_a_second_hub_on_the_same_directory_is_refused_and_the_first_goes_on(stage):
    hub = HubUnderTest(stage)
    hub.create("dev-1")
    device = hub.connect("dev-1")
    status, error = run(stage, "cloud-hub", "serve", "--data", hub.process.data, *SERVE)
    assert (status, error) == (
        1, f"cloud-hub: another hub holds {hub.process.data}; stop it, or choose another data directory with --data")
    device.acknowledged(device.publish({"n": 1}))
    assert hub.bodies("dev-1") == [{"n": 1}]


NEWER = [
    ("hub", "could not open the database in hub.sqlite: the file has schema version 99, but this program knows only up to "
            r"version <\d+>; start the newer program, or restore a backup that was made by this version"),
    ("log", r"cannot open the event log: its schema has version 99, this hub knows versions up to <\d+>; "
            "start the version of the hub that wrote it, or a newer one"),
    ("desk", "could not open desk.sqlite: the file has schema version 99, but this program knows only up to version "
             r"<\d+>; start the newer program, or restore a backup that was made by this version"),
]


@pytest.mark.parametrize("database, sentence", NEWER, ids=[row[0] for row in NEWER])
def test_a_newer_schema_is_refused_and_the_file_is_left_as_it_was(stage, database, sentence):
    hub = HubUnderTest(stage)
    hub.create("dev-1")
    device = hub.connect("dev-1")
    device.acknowledged(device.publish({"n": 1}))
    device.close()
    assert hub.process.stop() == 0
    stage.forget(hub.process)
    file = hub.process.data / f"{database}.sqlite"
    known = set_schema_version(file, 99)
    status, error = run(stage, "cloud-hub", "serve", "--data", hub.process.data, *SERVE)
    assert status == 1
    same(error, f"cloud-hub: {sentence}")
    assert set_schema_version(file, known) == 99
    again = HubUnderTest(stage, name="hub-again")
    device = again.connect("dev-1")
    device.acknowledged(device.publish({"n": 2}))
    assert again.bodies("dev-1") == [{"n": 1}, {"n": 2}]


def set_schema_version(file, version):
    """Returns the version that it had."""
    with sqlite3.connect(file) as database:
        (found,) = database.execute("PRAGMA user_version").fetchone()
        database.execute(f"PRAGMA user_version = {version}")
    database.close()
    return found


# -- the full disk

FULL = ("cannot append <1 groups of events|events>: database or disk is full (SQLite 13); "
        "free space on the disk that holds the hub's data, or lower the log's retention")


def health(hub):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{hub.process.http}/healthz", timeout=10) as answer:
            return answer.status, answer.read().decode().splitlines()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode().splitlines()


def health_of(hub, part):
    return next(line for line in health(hub)[1] if line.split(":")[0].split()[1] == part)


def failed_commits(hub):
    with urllib.request.urlopen(f"http://127.0.0.1:{hub.process.http}/metrics", timeout=10) as answer:
        return float(re.search(r"^fieldline_log_failed_commits_total (.+)$", answer.read().decode(), re.M).group(1))


def test_with_a_full_disk_acknowledgements_are_withheld_and_come_by_themselves_when_there_is_room(stage, tmp_path):
    with small_disk(tmp_path / "disk", 24) as disk, Stage(stage.programs, tmp_path / "stage") as own:
        hub = HubUnderTest(own, data=disk.path / "hub")
        hub.create("dev-1")
        device = hub.connect("dev-1")
        device.acknowledged(device.publish({"n": 1}))
        assert health(hub)[0] == 200
        hub.create("patient")
        patient = hub.connect("patient", keep_alive=2)

        disk.fill()
        acknowledged, number = 1, 1
        for _ in range(1000):
            # What still fits into the files as they are is stored and acknowledged as ever.
            if hub.process.log_has("the event log cannot store"):
                break
            number += 1
            waiting = device.publish({"n": number, "ballast": "x" * 100_000})
            wait_until("an acknowledgement, or the error",
                       lambda: device.has(PUBACK) or hub.process.log_has("the event log cannot store"))
            if device.has(PUBACK):
                device.acknowledged(waiting)
                acknowledged = number
        assert number == acknowledged + 1
        same(hub.log("the event log cannot store"),
             f"{TIME} error log: reason={FULL} [SQLiteHubStore] the event log cannot store; acknowledgements are withheld "
             "until it can")
        status, lines = health(hub)
        assert status == 503
        same(next(line for line in lines if "log" in line), f"trouble log: {FULL}")
        # The hub does not read meanwhile, so it must not take silence for a lost device either.
        patience = patient.publish({"sent": "while the disk was full"})
        failed = failed_commits(hub)
        wait_until("five further attempts, one a second", lambda: failed_commits(hub) >= failed + 5)
        assert not device.has(PUBACK)
        assert not patient.has(PUBACK)

        disk.free()
        device.acknowledged(waiting)
        patient.acknowledged(patience)
        hub.log("the event log stores again")
        wait_until("a well hub", lambda: health(hub)[0] == 200)
        assert all(line.startswith("ok ") for line in health(hub)[1])
        device.acknowledged(device.publish({"n": number + 1}))
        assert [body["n"] for body in hub.bodies("dev-1")] == list(range(1, number + 2))
        assert hub.bodies("patient") == [{"sent": "while the disk was full"}]
        assert hub.process.stop() == 0


JSON_BAG = "$.ct=application%2Fjson&$.ce=utf-8"
HOT = """
[[rule]]
name = "overheat"
device = "dev-1"
metric = "temperature"
when = "> 70"
severity = "critical"
message = "{device} is at {value}"
"""


def patch(device, number):
    """Writes reported properties; status and body of the answer. The PUBACK is waited for too."""
    properties = {"n": number, "ballast": "x" * 3000}
    sent = device.publish(properties, topic=f"$iothub/twin/PATCH/properties/reported/?$rid={number}")
    topic, body = device.message()
    device.acknowledged(sent)
    return int(re.match(rf"\$iothub/twin/res/(\d+)/\?\$rid={number}\b", topic).group(1)), body.decode()


def reported(device):
    """The reported properties that the hub has of the device."""
    device.acknowledged(device.publish(b"", topic="$iothub/twin/GET/?$rid=get"))
    topic, body = device.message()
    assert topic.startswith("$iothub/twin/res/200/"), topic
    return json.loads(body)["reported"]


def test_with_a_full_disk_the_twin_and_the_desk_refuse_and_an_open_alert_goes_on_when_there_is_room(stage, tmp_path):
    with small_disk(tmp_path / "disk", 24) as disk, Stage(stage.programs, tmp_path / "stage") as own:
        config = own.folder / "cloud-hub.toml"
        config.write_text(HOT)
        hub = HubUnderTest(own, ("--config", config), data=disk.path / "hub")
        hub.create("dev-1")
        device = hub.connect("dev-1")
        browser = Browser(f"http://127.0.0.1:{hub.process.http}")
        assert browser.open_link(own.hub_command("sign-in", data=hub.process.data))
        device.acknowledged(device.publish({"temperature": 80}, bag=JSON_BAG))
        ((alert, title),) = wait_until("the alert", browser.alerts)
        assert device.subscribe("$iothub/twin/res/#", qos=0) == 0
        assert patch(device, 1)[0] == 204

        disk.fill()
        # What still fits into the files as they are is stored as ever.
        stored, (status, body) = 1, patch(device, 2)
        while status == 204 and stored < 1000:
            stored += 1
            status, body = patch(device, stored + 1)
        assert status == 503
        assert json.loads(body)["message"] == (
            "the hub's store does not take it: could not commit a group of 1 writes in hub.sqlite: the disk is full; free "
            "some space, the hub resumes by itself")
        assert (reported(device)["n"], reported(device)["$version"]) == (stored, stored + 1)
        written = 0
        with pytest.raises(StageError, match="the command form answered 500"):
            while written < 1000:
                browser.send_command(alert, "Notification", message="x" * 400)
                written += 1
        assert len(browser.commands(alert)) == written
        over = device.publish({"temperature": 20}, bag=JSON_BAG)
        assert browser.alerts() == [(alert, title)]
        for part, file in ("registry", "hub.sqlite"), ("desk", "desk.sqlite"):
            # What looks after them takes the last page or two that a larger write found too little.
            wait_until(f"the trouble of {file}", lambda: health_of(hub, part).startswith("trouble"), 60, every=0.5)
            assert re.fullmatch(
                rf"trouble {part}: could not (store anything|commit a group of \d+ writes) in {file}: the disk is full; "
                "free some space, the hub resumes by itself", health_of(hub, part))

        disk.free()
        device.acknowledged(over)
        wait_until("the end of the alert", lambda: browser.alerts("closed") == [(alert, title)])
        assert browser.alerts() == []
        assert len(browser.commands(alert)) == written
        assert patch(device, 0)[0] == 204
        assert (reported(device)["n"], reported(device)["$version"]) == (0, stored + 2)
        device.acknowledged(device.publish({"temperature": 81}, bag=JSON_BAG))
        ((second, _),) = wait_until("the next alert", browser.alerts)
        browser.send_command(second, "Notification", message="there is room again")
        assert len(browser.commands(second)) == 1
        wait_until("a well hub", lambda: health(hub)[0] == 200)
        assert hub.process.stop() == 0


def test_a_disk_that_is_full_at_the_start_is_named(stage, tmp_path):
    with small_disk(tmp_path / "disk", 16) as disk, Stage(stage.programs, tmp_path / "stage") as own:
        disk.fill()
        status, error = run(own, "cloud-hub", "serve", "--data", disk.path / "hub", *SERVE)
        assert status == 1
        assert "No space left on device" in error or "the disk is full" in error
        disk.free()
        hub = HubUnderTest(own, data=disk.path / "hub")
        hub.create("dev-1")
        publishes(hub, "dev-1")
        assert hub.process.stop() == 0
