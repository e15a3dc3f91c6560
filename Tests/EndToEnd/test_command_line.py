"""The hub's command line: what it prints, its exit status, and what it says to the usual mistakes."""

import json
import os
import pathlib
import re
import subprocess
import tempfile

import pytest

from clients import HubUnderTest, run, same
from stage import Stage, wait_until

RULE = """
[[rule]]
name = "hot"
device = "*"
metric = "temperature"
when = "> 70"
for = "0s"
severity = "warning"
message = "{device} is at {value}"

[[rule]]
name = "silent-press"
device = "press-1"
metric = "temperature"
when = "silent"
for = "2h"
severity = "critical"
message = "{device} is silent"
"""
JSON_BAG = "$.ct=application%2Fjson&$.ce=utf-8"
INSTANT = r"<\d{4}-\d\d-\d\dT[\d:.]+Z>"
HEX = "ab" * 20
KEY = "<[A-Za-z0-9+/]{43}=>"


@pytest.fixture(scope="module")
def hub(programs, tmp_path_factory):
    with Stage(programs, tmp_path_factory.mktemp("hub")) as stage:
        config = stage.folder / "cloud-hub.toml"
        config.write_text(RULE)
        yield HubUnderTest(stage, ("--config", config))


def call(hub, *arguments, data=None, user=None):
    """Exit status, standard output, standard error."""
    done = subprocess.run(
        [hub.stage.programs / "cloud-hub", *map(str, arguments), "--data", str(data or hub.process.data)],
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, user=user)
    return done.returncode, done.stdout.rstrip("\n"), done.stderr.rstrip("\n")


def says(hub, *arguments, **options):
    """The standard output of a call that must succeed and have nothing else to say."""
    status, output, error = call(hub, *arguments, **options)
    assert (status, error) == (0, "")
    return output


# -- what is printed


def test_a_device_is_created_listed_shown_and_deleted(hub):
    table = ["id              press-1", "status          enabled", "authentication  sas", "gateway         false",
             "parent          ", "connected       false"]
    assert says(hub, "device", "create", "press-1").splitlines() == table
    shown = says(hub, "device", "show", "press-1").splitlines()
    assert shown[:6] == table
    same("\n".join(shown[6:]), "statusReason    \ngenerationId    <[0-9]{18}>\netag            <[A-Za-z0-9+/]{12}>\n"
         f"created         {INSTANT}")
    assert says(hub, "device", "delete", "press-1") == "deleted press-1"
    assert "press-1" not in says(hub, "device", "list")


def test_the_modules_of_a_device_are_shown_as_a_table_below_it(hub):
    says(hub, "device", "create", "with-modules", "--gateway")
    lines = says(hub, "device", "show", "with-modules").splitlines()
    assert lines[-4:] == [
        "modules:", "  ID          AUTHENTICATION  MANAGEDBY  CONNECTED", "  $edgeAgent  sas             IotEdge    false",
        "  $edgeHub    sas             IotEdge    false"]
    shown = json.loads(says(hub, "device", "show", "with-modules", "--output", "json"))
    assert shown["modules"][0] == {"id": "$edgeAgent", "authentication": "sas", "managedBy": "IotEdge", "connected": False}
    says(hub, "device", "delete", "with-modules")


def test_lists_come_as_an_aligned_table_and_as_json(hub):
    says(hub, "device", "create", "list-gw", "--gateway")
    says(hub, "device", "create", "list-child", "--parent", "list-gw")
    says(hub, "device", "create", "list-x509", "--thumbprint", HEX, "--secondary-thumbprint", HEX.upper())
    lines = says(hub, "device", "list").splitlines()
    assert lines[0].split() == ["ID", "STATUS", "AUTHENTICATION", "GATEWAY", "PARENT", "CONNECTED"]
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:]}
    assert rows["list-gw"] == ["enabled", "sas", "true", "false"]
    assert rows["list-child"] == ["enabled", "sas", "false", "list-gw", "false"]
    assert rows["list-x509"] == ["enabled", "selfSigned", "false", "false"]
    column = lines[0].index("STATUS")
    assert {line[column:column + 8] for line in lines[1:]} == {"enabled "}
    found = {device["id"]: device for device in json.loads(says(hub, "device", "list", "--output", "json"))}
    assert found["list-child"] == {
        "id": "list-child", "status": "enabled", "authentication": "sas", "gateway": False, "parent": "list-gw",
        "connected": False}
    for name in ("list-gw", "list-child", "list-x509"):
        says(hub, "device", "delete", name)


def test_a_device_that_sends_is_shown_with_its_newest_values_and_its_fault(hub):
    hub.create("oven")
    device = hub.connect("oven")
    device.acknowledged(device.publish({"temperature": 80.50, "door": "open"}, bag=JSON_BAG))
    shown = wait_until("the values", lambda: (found := json.loads(says(hub, "device", "show", "oven", "--output", "json")))
                       .get("latest") and found)
    assert shown["connected"] is True
    assert shown["latest"] == {"door": "open", "temperature": "80.5"}
    assert says(hub, "device", "show", "oven").splitlines()[-3:] == ["latest:", "  door         open", "  temperature  80.5"]
    faults = wait_until("the fault", lambda: json.loads(says(hub, "fault", "list", "--output", "json")))
    ((fault, opened),) = [({**fault}, fault.pop("opened")) for fault in faults]
    same(json.dumps(faults), json.dumps([{"id": "<ID>", "device": "oven", "rule": "hot", "severity": "warning", "state": "open",
                                          "message": "oven is at 80.5"}]).replace("<ID>", "<[0-9a-f-]{36}>"))
    header, line = says(hub, "fault", "list").splitlines()
    assert header.split() == ["ID", "DEVICE", "RULE", "SEVERITY", "STATE", "OPENED", "MESSAGE"]
    assert line.split()[1:5] == ["oven", "hot", "warning", "open"] and line.endswith(f"{opened}  oven is at 80.5")
    device.close()
    says(hub, "device", "delete", "oven")


def test_the_rules_of_the_running_hub_are_listed(hub):
    assert says(hub, "rule", "list").splitlines() == [
        "NAME          DEVICE   METRIC       WHEN    FOR  SEVERITY",
        "hot           *        temperature  > 70    0s   warning",
        "silent-press  press-1  temperature  silent  2h   critical"]
    assert json.loads(says(hub, "rule", "list", "--output", "json"))[0] == {
        "name": "hot", "device": "*", "metric": "temperature", "when": "> 70", "for": "0s", "severity": "warning"}


def test_connection_strings_are_one_line_and_a_warning_goes_elsewhere(hub):
    says(hub, "device", "create", "strings", "--gateway")
    status, output, error = call(hub, "connection-string", "--device", "strings")
    assert status == 0
    same(output, f"HostName=localhost;DeviceId=strings;SharedAccessKey={KEY}")
    assert error == (
        f"cloud-hub: warning: the hub takes MQTT on port {hub.process.mqtt}, not 8883: public device SDKs have 8883 in their code and "
        "will not find it; set the port in the device's own configuration")
    same(call(hub, "connection-string", "--device", "strings", "--module", "$edgeAgent")[1],
         f"HostName=localhost;DeviceId=strings;ModuleId=$edgeAgent;SharedAccessKey={KEY}")
    same(says(hub, "connection-string"),
         f"HostName=localhost:{hub.process.https};SharedAccessKeyName=iothubowner;SharedAccessKey={KEY}")
    same(says(hub, "connection-string", "--policy", "registryRead"),
         f"HostName=localhost:{hub.process.https};SharedAccessKeyName=registryRead;SharedAccessKey={KEY}")
    says(hub, "device", "delete", "strings")


def test_a_message_to_a_device_is_queued_and_reaches_it(hub):
    hub.create("inbox")
    same(says(hub, "device", "send", "inbox", "hello", "--message-id", "m-1", "--property", "a=b=c"),
         f"device   inbox\nmessage  m-1\nexpires  {INSTANT}")
    device = hub.connect("inbox")
    device.subscribe("devices/inbox/messages/devicebound/#", qos=0)
    topic, body = device.message()
    assert body == b"hello"
    assert "%24.mid=m-1" in topic and "a=b%3Dc" in topic
    device.close()
    says(hub, "device", "delete", "inbox")


def test_a_sign_in_link_is_one_line(hub):
    same(says(hub, "sign-in", "--user", "anna"), f"http://127.0.0.1:{hub.process.http}/sign-in/<[0-9a-f]{{32}}>")


# -- the usual mistakes


LONG = "x" * 129
CHARACTERS = "1 to 128 ASCII letters, digits and -:.+%_#*?!(),=@;$'"
MISTAKES = [
    (["device", "create", "known"], 1, "device known is registered already"),
    (["device", "create", "two words"], 2, f"'two words' is no device id: {CHARACTERS}"),
    (["device", "create", ""], 2, f"'' is no device id: {CHARACTERS}"),
    (["device", "create", "käse"], 2, f"'käse' is no device id: {CHARACTERS}"),
    (["device", "create", LONG], 2, f"'{LONG}' is no device id: {CHARACTERS}"),
    (["device", "create", "x", "--parent", "nobody"], 1,
     "nobody is no gateway of this hub; create it with: cloud-hub device create nobody --gateway"),
    (["device", "create", "x", "--parent", "known"], 1,
     "known is no gateway of this hub; create it with: cloud-hub device create known --gateway"),
    (["device", "create", "x", "--thumbprint", "12:34"], 2,
     "'12:34' is no thumbprint: 40 (SHA-1) or 64 (SHA-256) hexadecimal digits"),
    (["device", "create", "x", "--thumbprint", HEX, "--secondary-thumbprint", HEX[1:]], 2,
     f"'{HEX[1:]}' is no thumbprint: 40 (SHA-1) or 64 (SHA-256) hexadecimal digits"),
    (["device", "show", "nobody"], 1, "device nobody is not registered; 'cloud-hub device list' shows which are"),
    (["device", "delete", "nobody"], 1, "device nobody is not registered; 'cloud-hub device list' shows which are"),
    (["device", "send", "nobody", "text"], 1, "device nobody is not registered; 'cloud-hub device list' shows which are"),
    (["device", "queue", "nobody"], 1, "device nobody is not registered; 'cloud-hub device list' shows which are"),
    (["device", "send", "known", "--file", "/none"], 2, "the file /none cannot be read or has more than 65536 bytes"),
    (["device", "send", "known", "text", "--message-id", LONG], 1, "a message id has 1 to 128 characters"),
    (["device", "send", "known", "x" * 65_536], 1,
     "the message has <[0-9]+> bytes with its properties; at most 65536 are taken"),
    (["device", "send", "known", "text", "--property", "colour"], 2, "a property is written name=value, not 'colour'"),
    (["monitor", "nobody"], 1, "device nobody is not registered; 'cloud-hub device list' shows which are"),
    (["connection-string", "--device", "nobody"], 1, "device nobody is not registered; 'cloud-hub device list' shows which are"),
    (["connection-string", "--device", "known", "--module", "reader"], 1, "device known has no module 'reader'"),
    (["connection-string", "--policy", "owner"], 2,
     "this hub has no policy 'owner'; it has iothubowner, service, device, registryRead and registryReadWrite"),
]


@pytest.mark.parametrize("arguments, status, sentence", MISTAKES, ids=[" ".join(row[0])[:40] for row in MISTAKES])
def test_a_mistake_is_named_with_what_to_do_and_changes_nothing(hub, arguments, status, sentence):
    if "known" not in says(hub, "device", "list"):
        hub.create("known")
    before = says(hub, "device", "list")
    found = call(hub, *arguments)
    assert found[:2] == (status, "")
    same(found[2], f"cloud-hub: {sentence}")
    assert says(hub, "device", "list") == before


WRONG_CALLS = [
    (["device", "create"], "Error: Missing expected argument '<id>'"),
    (["device", "create", "x", "--gateway", "--parent", "y"],
     "Error: A gateway has no parent: give --gateway or --parent."),
    (["device", "create", "x", "--secondary-thumbprint", HEX], "Error: --secondary-thumbprint needs --thumbprint."),
    (["device", "list", "--output", "xml"],
     "Error: The value 'xml' is invalid for '--output <output>'. Please provide one of 'table' and 'json'."),
    (["device", "send", "x"], "Error: Give the message's text, or --file."),
    (["device", "send", "x", "text", "--file", "f"], "Error: Give the message's text or --file, not both."),
    (["device", "send", "x", "text", "--expires", "0s"], "Error: --expires is 0s; it must be 1s to 2d."),
    (["device", "send", "x", "text", "--expires", "2d1s"], "Error: --expires is 2d1s; it must be 1s to 2d."),
    (["device", "send", "x", "text", "--expires", "soon"], "Error: The value 'soon' is invalid for '--expires <duration>'"),
    (["device", "send", "x", "text", "--ack", "maybe"],
     "Error: The value 'maybe' is invalid for '--ack <ack>'. Please provide one of 'none', 'positive', 'negative' or 'full'."),
    (["connection-string", "--module", "m"], "Error: --module needs --device."),
    (["connection-string", "--device", "x", "--policy", "service"], "Error: Give --policy or --device, not both."),
    (["sign-in", "--user", ""], "Error: --user has 0 characters; it must have 1 to 100."),
    (["backup"], "Error: Missing expected argument '--to <dir>'"),
]


@pytest.mark.parametrize("arguments, sentence", WRONG_CALLS, ids=[" ".join(row[0])[:40] for row in WRONG_CALLS])
def test_a_wrong_call_ends_with_2_and_shows_the_usage(hub, arguments, sentence):
    status, output, error = call(hub, *arguments)
    assert (status, output) == (2, "")
    lines = error.splitlines()
    assert lines[0] == sentence
    assert any(line.lower().startswith("usage: cloud-hub") for line in lines), error


@pytest.mark.parametrize("command", [["explode"], ["device", "rename"]], ids=" ".join)
def test_a_command_that_does_not_exist_is_named(hub, command):
    status, error = run(hub.stage, "cloud-hub", *command)
    assert (status, error.splitlines()[0]) == (2, f"Error: Unexpected argument '{command[-1]}'")


# -- without a running hub


@pytest.fixture(scope="module")
def stopped(programs, tmp_path_factory):
    """A hub that ran once."""
    with Stage(programs, tmp_path_factory.mktemp("stopped")) as stage:
        hub = HubUnderTest(stage)
        hub.create("kept")
        assert hub.process.stop() == 0
        stage.forget(hub.process)
        yield hub


def test_without_a_running_hub_devices_are_kept_by_the_command_itself(stopped):
    assert json.loads(says(stopped, "device", "create", "later", "--output", "json"))["connected"] is None
    assert [device["id"] for device in json.loads(says(stopped, "device", "list", "--output", "json"))] == ["kept", "later"]
    same(call(stopped, "connection-string", "--device", "later")[1], f"HostName=localhost;DeviceId=later;SharedAccessKey={KEY}")
    assert says(stopped, "device", "delete", "later") == "deleted later"
    assert call(stopped, "device", "show", "later")[0] == 1


@pytest.mark.parametrize("arguments, name", [
    (["device", "send", "kept", "text"], "device send"), (["device", "events"], "device events"), (["monitor"], "monitor"), (["sign-in"], "sign-in"),
    (["fault", "list"], "fault list"), (["rule", "list"], "rule list"), (["backup", "--to", "/tmp/none/none"], "backup")],
    ids=lambda value: value if isinstance(value, str) else "")
def test_what_needs_a_running_hub_says_how_to_start_one(stopped, arguments, name):
    data = stopped.process.data
    assert call(stopped, *arguments) == (
        1, "", f"cloud-hub: '{name}' needs a running hub, and none holds {data}; start it with: cloud-hub serve --data {data}")


def test_a_directory_that_holds_no_hub_is_named(stopped, tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        assert call(stopped, "device", "list", data=folder) == (
            1, "", f"cloud-hub: {folder} holds no hub data; start a hub there first: cloud-hub serve --data {folder}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_is_told_that_the_directory_is_closed_to_it(hub):
    nobody = 65534
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        data = pathlib.Path(folder) / "hub"
        data.mkdir(0o700)
        try:
            found = call(hub, "device", "list", data=data, user=nobody)
        except PermissionError:
            pytest.skip("nobody may not run the programs where they are")
        assert found == (
            1, "", f"cloud-hub: {data} is closed to this user; run this as the user that the hub runs as, or with sudo")


# -- help


COMMANDS = ["", "serve", "connection-string", "device", "device create", "device list", "device show", "device delete",
            "device send", "device queue", "device feedback", "device events", "monitor", "sign-in", "fault", "fault list", "rule", "rule list", "backup", "restore"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(hub, command):
    done = subprocess.run(
        [hub.stage.programs / "cloud-hub", *command.split(), "--help"], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("OVERVIEW: ")
    usage = re.search(r"^USAGE: (cloud-hub.*)$", done.stdout, re.M).group(1)
    assert usage.startswith(f"cloud-hub {command}".strip())
    assert not re.search(r"--(\w+) <\1>(?<!--ack <ack>)(?<!--output <output>)", usage), "a placeholder that says nothing"
    for option in re.findall(r"--[a-z-]+", usage):
        line = re.search(rf"^  (?:-\w, )?{option}\b(?: <[^>]+>)?\s+(\S.*)$", done.stdout, re.M)
        assert line, f"{option} is not explained:\n{done.stdout}"


def test_the_version_is_a_number(hub):
    done = subprocess.run([hub.stage.programs / "cloud-hub", "--version"], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")
    same(done.stdout, r"<\d+\.\d+\.\d+>" + "\n")
