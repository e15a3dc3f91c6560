"""The files that devices uploaded, in a backup of a running hub and back."""

import itertools
import os
import pathlib
import shutil
import tempfile
import threading

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock

from clients import run
from s3_store import Site, Store, config
from stage import Stage, wait_until

KIB = 1 << 10


def restored(site, backup, name):
    """A hub that starts from the backup, in the place of the first."""
    if site.process.is_running:
        site.process.stop()
        site.stage.forget(site.process)
    folder = site.stage.folder / name
    site.stage.hub_command("restore", "--from", backup, data=folder)
    return Site(site.stage, name=name, data=folder, https=site.process.https)


class Churn(threading.Thread):
    """A device that puts, replaces and deletes files without a rest; what it puts names itself."""

    def __init__(self, site, device):
        super().__init__(daemon=True)
        self.site, self.device, self.rounds, self.failure = site, device, 0, None
        self._enough = threading.Event()
        site.create(device)
        self.start()

    def run(self):
        try:
            for number in itertools.count():
                if self._enough.is_set():
                    return
                info = self.site.start(self.device, f"f{number % 3}")
                with self.site.blob(info) as blob:
                    content = f"{self.device} {number} ".encode() * 2000
                    if number % 2:
                        blob.stage_block("1", content[:10_000])
                        blob.stage_block("2", content[10_000:])
                        blob.commit_block_list([BlobBlock("1"), BlobBlock("2")])
                    else:
                        blob.upload_blob(content, overwrite=True)
                assert self.site.tell(self.device, info).status_code == 204
                self.rounds = number
        except Exception as error:  # told by stop()
            self.failure = error

    def stop(self):
        self._enough.set()
        self.join(30)
        assert self.failure is None, self.failure


def test_a_backup_while_files_come_and_go_has_every_file_of_its_list(stage):
    site = Site(stage)
    site.create("steady")
    content = os.urandom(300 * KIB)
    with site.blob(site.start("steady", "kept.bin")) as blob:
        blob.upload_blob(content)
    waiting = site.start("steady", "waiting")
    with site.blob(waiting) as blob:
        blob.stage_block("b", b"half ")
    churns = [Churn(site, f"churn-{number}") for number in range(3)]
    wait_until("some files", lambda: all(churn.rounds > 6 for churn in churns))
    backups = []
    for number in range(5):
        backups.append(stage.folder / f"backup-{number}")
        assert site.command("backup", "--to", backups[-1]) == f"backed up to {backups[-1]}"
    for churn in churns:
        churn.stop()
    for number, backup in enumerate(backups):
        again = restored(site, backup, f"restored-{number}")
        assert not again.process.log_has("files of uploads are missing")
        assert again.fetched("steady", "kept.bin") == content
        files = {churn.device: again.listed(churn.device) for churn in churns}
        assert all(files.values())
        for device, names in files.items():
            for name, size in names.items():
                read = again.fetched(device, name)
                assert len(read) == size and read == read.split(b" ")[0] + b" " + read[len(device) + 1:]
                assert len(set(read.split(b" ")[1::2])) == 1, "a file has parts of two uploads"
        # An upload that was under way goes on.
        with again.blob(waiting) as blob:
            blob.stage_block("c", b"whole")
            blob.commit_block_list([BlobBlock("b"), BlobBlock("c")])
            assert blob.download_blob().readall() == b"half whole"
        again.process.stop()
        stage.forget(again.process)


@pytest.fixture(scope="module")
def site(programs, tmp_path_factory):
    with Stage(programs, tmp_path_factory.mktemp("hub")) as stage:
        site = Site(stage)
        site.create("d")
        with site.blob(site.start("d", "a")) as blob:
            blob.upload_blob(b"a" * 5000)
        site.command("backup", "--to", stage.folder / "backup")
        yield site


def only_file(folder):
    found, = (folder / "files").iterdir()
    return found


def test_on_the_same_disk_a_backup_costs_no_room_and_outlives_the_file(site, tmp_path):
    with site.blob(site.start("d", "b")) as blob:
        blob.upload_blob(b"b" * 5000)
    site.command("backup", "--to", tmp_path / "copy")
    linked = {path for path in (tmp_path / "copy/files").iterdir() if path.stat().st_nlink > 1}
    assert len(linked) == 2 or tmp_path.stat().st_dev != site.process.data.stat().st_dev
    before = len(site.files_on_disk())
    site.command("device", "delete-file", "d", "b")
    wait_until("the file to go", lambda: len(site.files_on_disk()) == before - 1)
    contents = {path.read_bytes() for path in (tmp_path / "copy/files").iterdir()}
    assert contents == {b"a" * 5000, b"b" * 5000}


def test_on_another_disk_files_are_copied(site):
    shared = pathlib.Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == site.process.data.stat().st_dev:
        pytest.skip("this machine has no second disk")
    folder = pathlib.Path(tempfile.mkdtemp(dir=shared))
    try:
        site.command("backup", "--to", folder / "copy")
        copied = only_file(folder / "copy")
        assert copied.read_bytes() == b"a" * 5000 and copied.stat().st_mode & 0o777 == 0o600
    finally:
        shutil.rmtree(folder)


def test_a_backup_without_files_is_smaller_and_its_hub_says_what_it_misses(site, tmp_path):
    assert site.command("backup", "--without-files", "--to", tmp_path / "copy") == f"backed up to {tmp_path}/copy"
    assert not (tmp_path / "copy/files").exists()
    with Stage(site.stage.programs, tmp_path) as stage:
        stage.hub_command("restore", "--from", tmp_path / "copy", data=tmp_path / "data")
        again = Site(stage, data=tmp_path / "data")
        assert again.listed("d") == {} and again.process.log_has("files of uploads are missing")


@pytest.mark.parametrize("damage", [
    lambda path: path.unlink(), lambda path: path.write_bytes(b"short"),
], ids=["missing", "short"])
def test_a_backup_that_lacks_a_file_is_refused(site, tmp_path, damage):
    broken = tmp_path / "broken"
    shutil.copytree(site.stage.folder / "backup", broken)
    name = only_file(broken).name
    damage(only_file(broken))
    assert run(site.stage, "cloud-hub", "restore", "--from", broken, "--data", tmp_path / "target") == (
        1, f"cloud-hub: the backup {broken} is not whole: files/{name} is missing or damaged; take another one, or remove its "
        "folder files to restore without uploaded files")
    assert not (tmp_path / "target").exists()


def test_files_in_a_bucket_stay_there_and_a_restored_hub_finds_them(programs, tmp_path):
    with Stage(programs, tmp_path) as stage:
        store = Store(stage)
        store.client.create_bucket(Bucket="uploads")
        path = config(tmp_path, store.endpoint, "uploads")
        site = Site(stage, "--config", path)
        site.create("d")
        with site.blob(site.start("d", "a")) as blob:
            blob.upload_blob(b"content")
        assert site.command("backup", "--to", tmp_path / "copy") == (
            f"backed up to {tmp_path}/copy\nuploaded files are in the bucket uploads of {store.endpoint}; they are not copied")
        assert list((tmp_path / "copy/files").iterdir()) == []
        site.process.stop()
        stage.forget(site.process)
        stage.hub_command("restore", "--from", tmp_path / "copy", data=tmp_path / "restored")
        again = Site(stage, "--config", path, name="restored", data=tmp_path / "restored")
        assert again.listed("d") == {"a": 7} and again.fetched("d", "a") == b"content"
        again.process.stop()
        stage.forget(again.process)
        # Without the bucket in its configuration it cannot get at them, and says so.
        lost = Site(stage, name="lost", data=tmp_path / "restored")
        with pytest.raises(HttpResponseError) as refusal:
            lost.fetched("d", "a")
        assert "files.store" in str(refusal.value)
