"""Files in a storage account. There is none here: a second hub's blob endpoint plays it, which checks the signatures that the
first one makes; that they are Azure's is proved against Azure's library in test_file_upload*.py."""

import base64
import contextlib
import sqlite3

import pytest
import requests

from s3_store import Site
from stage import Stage, wait_until


def config(folder, account, container="device-files", key=None):
    if key is None:
        with contextlib.closing(sqlite3.connect(f"file:{account.process.data}/hub.sqlite?mode=ro", uri=True)) as database:
            key = database.execute("SELECT key FROM blob_key").fetchone()[0]
    key_file = folder / "azure-key"
    key_file.touch(0o600)
    key_file.write_text(base64.b64encode(key).decode() + "\n")
    path = folder / "cloud-hub.toml"
    path.write_text(
        f'[files]\nstore = "azure"\n[files.azure]\naccount = "fieldline"\ncontainer = "{container}"\nkey_file = "{key_file}"\n'
        f'host = "localhost:{account.process.https}"\nca_file = "{account.ca}"\n')
    return path


@pytest.fixture(scope="module")
def account(programs, tmp_path_factory):
    with Stage(programs, tmp_path_factory.mktemp("account")) as stage:
        site = Site(stage)
        site.create("d")
        yield site


def queued(site):
    with contextlib.closing(sqlite3.connect(f"file:{site.process.data}/hub.sqlite?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute("SELECT * FROM file_notification")]


def test_the_three_steps_end_in_a_notification_with_the_size(programs, account, tmp_path):
    with Stage(programs, tmp_path) as stage:
        site = Site(stage, "--config", config(tmp_path, account))
        site.create("d")
        info = site.start("d", "logs/day one.bin")
        early = site.tell("d", info)
        assert early.status_code == 400 and early.headers["iothub-errorcode"] == "InvalidStorageEndpointOrBlob"
        # The client trusts the account, which is not the hub.
        site.ca, own = account.ca, site.ca
        with site.blob(info) as blob:
            blob.upload_blob(b"x" * 1234)
        site.ca = own
        assert site.tell("d", info).status_code == 204
        notification, = queued(site)
        assert notification["bytes"] == 1234 and "day%20one.bin" in notification["uri"]
        assert "ok files" in requests.get(f"{site.base}/healthz", verify=site.ca, timeout=10).text


@pytest.mark.parametrize("wrong, words", [
    ({"key": bytes(32)}, "does not accept the hub's signature"), ({"container": "none"}, "files.azure.container"),
], ids=["key", "container"])
def test_what_is_wrong_with_the_configuration_is_told_at_once(programs, account, tmp_path, wrong, words):
    with Stage(programs, tmp_path) as stage:
        process = stage.start_hub("--config", config(tmp_path, account, **wrong))
        assert words in process.wait_log("the store for files is in trouble")
