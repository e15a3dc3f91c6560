"""A copy of a running hub, and what comes back from it."""

import json
import shutil
import sqlite3
import stat
import threading

import pytest

from clients import Closed, HubUnderTest, run, same
from stage import Stage, wait_until

RULE = """
[[rule]]
name = "hot"
device = "*"
metric = "temperature"
when = "> 70"
severity = "critical"
message = "{device} is at {value}"
"""
# statecode of an alert that is over.
CLOSED = 3
JSON_BAG = "$.ct=application%2Fjson&$.ce=utf-8"


class Load(threading.Thread):
    """A device that publishes numbers, hot and cold by turns, each after the acknowledgement of the one before."""

    def __init__(self, hub, name):
        super().__init__(daemon=True)
        hub.create(name)
        self.device, self.acknowledged, self.failure = hub.connect(name), 0, None
        self._enough = threading.Event()
        self.start()

    def run(self):
        try:
            while not self._enough.is_set():
                number = self.acknowledged + 1
                body = {"n": number, "temperature": 80 if number % 20 >= 10 else 20}
                self.device.acknowledged(self.device.publish(body, bag=JSON_BAG))
                self.acknowledged = number
        except (Closed, OSError) as error:
            self.failure = error

    def stop(self):
        self._enough.set()
        self.join(20)
        assert self.failure is None
        self.device.close()


def config(stage):
    path = stage.folder / "cloud-hub.toml"
    path.write_text(RULE)
    return path


def command(hub, *arguments, data=None):
    return json.loads(hub.stage.hub_command(*arguments, "--output", "json", data=data or hub.process.data))


def twin(device):
    device.publish(b"", topic="$iothub/twin/GET/?$rid=get")
    topic, body = device.message()
    assert topic == "$iothub/twin/res/200/?$rid=get"
    return json.loads(body)


def alert_rows(data):
    with sqlite3.connect(f"file:{data}/desk.sqlite?mode=ro", uri=True) as desk:
        rows = desk.execute("SELECT msdyn_alerttoken, statecode FROM msdyn_iotalert").fetchall()
    desk.close()
    return rows


def test_a_backup_under_load_holds_what_was_acknowledged_and_a_hub_starts_from_it(stage):
    hub = HubUnderTest(stage, ("--config", config(stage)), name="first")
    hub.create("gw-1", "--gateway")
    hub.create("steady", "--parent", "gw-1")
    steady = hub.connect("steady")
    steady.subscribe("$iothub/twin/res/#")
    steady.acknowledged(steady.publish({"colour": "green"}, topic="$iothub/twin/PATCH/properties/reported/?$rid=1"))
    steady.message()
    reported = twin(steady)["reported"]
    loads = [Load(hub, f"load-{number}") for number in range(3)]
    wait_until("some alerts of every device", lambda: len(alert_rows(hub.process.data)) >= 6)

    before = {load.device.name: load.acknowledged for load in loads}
    devices = {device["id"] for device in command(hub, "device", "list")}
    rows = len(alert_rows(hub.process.data))
    backup = stage.folder / "backup"
    assert stage.hub_command("backup", "--to", backup) == f"backed up to {backup}"
    after = {load.device.name: load.acknowledged for load in loads}
    for load in loads:
        load.stop()
    assert hub.process.stop() == 0
    stage.forget(hub.process)

    assert sorted(path.name for path in backup.iterdir()) == [
        "address.json", "desk-client.json", "desk.sqlite", "files", "hub-id", "hub.sqlite", "log.sqlite", "tls"]
    assert private(backup)
    restored = stage.folder / "restored"
    said = stage.hub_command("restore", "--from", backup, data=restored)
    assert said == f"restored {restored}; start it with: cloud-hub serve --data {restored}"
    assert private(restored)

    again = HubUnderTest(stage, ("--config", config(stage)), data=restored, name="restored")
    assert {device["id"] for device in command(again, "device", "list")} == devices
    for load in loads:
        name = load.device.name
        numbers = [body["n"] for body in again.bodies(name)]
        assert numbers == list(range(1, len(numbers) + 1)), "an event is missing, doubled or out of order"
        assert before[name] <= len(numbers) <= after[name] + 1
        device = again.connect(name)
        device.acknowledged(device.publish({"n": len(numbers) + 1, "temperature": 20}, bag=JSON_BAG))
        device.close()
    steady = again.connect("steady")
    steady.subscribe("$iothub/twin/res/#")
    assert twin(steady)["reported"] == reported

    def breaches():
        """How often the rule was broken, from the log alone."""
        bodies = [again.bodies(load.device.name) for load in loads]
        hot = [[body["temperature"] > 70 for body in of_one] for of_one in bodies]
        return sum(now and not earlier for of_one in hot for earlier, now in zip([False] + of_one, of_one))
    expected = breaches()
    assert expected >= rows
    wait_until("every fault's alert, closed", lambda: [state for _, state in alert_rows(restored)] == [CLOSED] * expected)
    tokens = [token for token, _ in alert_rows(restored)]
    assert len(set(tokens)) == expected, "a fault was raised twice"
    assert command(again, "fault", "list") == []


def private(folder):
    """Whether nobody but the owner can read what is below."""
    for path in [folder, *folder.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), f"{path} has mode {mode:o}"
    return True


# -- what is refused


@pytest.fixture(scope="module")
def backup(programs, tmp_path_factory):
    with Stage(programs, tmp_path_factory.mktemp("backup")) as stage:
        hub = HubUnderTest(stage)
        hub.create("dev-1")
        device = hub.connect("dev-1")
        device.acknowledged(device.publish({"n": 1}))
        device.close()
        stage.hub_command("backup", "--to", stage.folder / "backup")
        yield hub, stage.folder / "backup"


def test_a_backup_never_overwrites(backup, tmp_path):
    hub, _ = backup
    for target in (tmp_path, hub.process.data):
        assert run(hub.stage, "cloud-hub", "backup", "--to", target, "--data", hub.process.data) == (
            1, f"cloud-hub: {target} exists already; choose a directory that does not, so that nothing is lost")
    missing = tmp_path / "none" / "backup"
    assert run(hub.stage, "cloud-hub", "backup", "--to", missing, "--data", hub.process.data) == (
        1, f"cloud-hub: the directory {missing} cannot be made: No such file or directory; choose another, on a disk with room")
    assert hub.bodies("dev-1") == [{"n": 1}]


def test_what_a_backup_that_was_cut_off_left_behind_does_no_harm(backup, tmp_path):
    hub, _ = backup
    left = tmp_path / "copy.partial"
    left.mkdir()
    (left / "hub.sqlite").write_text("half of it")
    hub.stage.hub_command("backup", "--to", tmp_path / "copy", data=hub.process.data)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
    hub.stage.hub_command("restore", "--from", tmp_path / "copy", data=tmp_path / "restored")


def test_a_backup_without_a_running_hub_says_how_to_start_one(backup, tmp_path):
    hub, source = backup
    hub.stage.hub_command("restore", "--from", source, data=tmp_path / "still")
    assert run(hub.stage, "cloud-hub", "backup", "--to", tmp_path / "copy", "--data", tmp_path / "still") == (
        1, f"cloud-hub: 'backup' needs a running hub, and none holds {tmp_path}/still; start it with: cloud-hub serve --data "
        f"{tmp_path}/still")


def test_a_restore_over_data_is_refused_and_changes_nothing(backup, tmp_path):
    hub, source = backup
    assert run(hub.stage, "cloud-hub", "restore", "--from", source, "--data", hub.process.data) == (
        1, f"cloud-hub: a hub holds {hub.process.data}; stop it, or restore into another directory")
    (tmp_path / "notes.txt").write_text("mine")
    assert run(hub.stage, "cloud-hub", "restore", "--from", source, "--data", tmp_path) == (
        1, f"cloud-hub: {tmp_path} is not empty (notes.txt); restore into an empty directory, so that nothing is lost")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    target = tmp_path / "twice"
    hub.stage.hub_command("restore", "--from", source, data=target)
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    status, error = run(hub.stage, "cloud-hub", "restore", "--from", source, "--data", target)
    assert status == 1
    same(error, rf"cloud-hub: {target} is not empty (<[a-z.-]+>); restore into an empty directory, so that nothing is lost")
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before


def cut(path):
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)


def overwritten(path):
    """The second page; the size of a page stands in the file's header."""
    with open(path, "r+b") as file:
        file.seek(16)
        size = int.from_bytes(file.read(2), "big")
        file.seek(65536 if size == 1 else size)
        file.write(b"\xa5" * 2000)


def emptied(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("database", ["hub.sqlite", "desk.sqlite", "log.sqlite"])
@pytest.mark.parametrize("damage", [cut, overwritten, emptied], ids=lambda damage: damage.__name__)
def test_a_damaged_backup_is_refused_before_anything_is_written(backup, tmp_path, database, damage):
    hub, source = backup
    broken = tmp_path / "broken"
    shutil.copytree(source, broken)
    damage(broken / database)
    assert run(hub.stage, "cloud-hub", "restore", "--from", broken, "--data", tmp_path / "target") == (
        1, f"cloud-hub: the backup {broken} cannot be used: {database} is damaged; take another backup")
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("database", ["desk.sqlite", "log.sqlite"])
def test_a_backup_with_a_part_missing_is_refused(backup, tmp_path, database):
    hub, source = backup
    broken = tmp_path / "broken"
    shutil.copytree(source, broken)
    (broken / database).unlink()
    assert run(hub.stage, "cloud-hub", "restore", "--from", broken, "--data", tmp_path / "target") == (
        1, f"cloud-hub: the backup {broken} is not whole: {database} is missing; take another one")
    assert run(hub.stage, "cloud-hub", "restore", "--from", tmp_path, "--data", tmp_path / "target") == (
        1, f"cloud-hub: {tmp_path} is no backup of a hub: it holds no hub.sqlite")
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("database", ["hub.sqlite", "desk.sqlite", "log.sqlite"])
def test_a_backup_of_a_newer_program_is_refused(backup, tmp_path, database):
    hub, source = backup
    newer = tmp_path / "newer"
    shutil.copytree(source, newer)
    with sqlite3.connect(newer / database) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    status, error = run(hub.stage, "cloud-hub", "restore", "--from", newer, "--data", tmp_path / "target")
    assert status == 1
    same(error, f"cloud-hub: the backup {newer} cannot be used: {database} has schema version 99, but this program knows only "
         r"up to version <\d+>; restore it with the newer program")
    assert not (tmp_path / "target").exists()


def test_a_restore_leaves_the_backup_as_it_was(backup, tmp_path):
    hub, source = backup
    kept = tmp_path / "kept"
    shutil.copytree(source, kept)
    before = sorted((path.name, path.stat().st_mtime_ns) for path in kept.rglob("*"))
    hub.stage.hub_command("restore", "--from", kept, data=tmp_path / "target")
    assert sorted((path.name, path.stat().st_mtime_ns) for path in kept.rglob("*")) == before
