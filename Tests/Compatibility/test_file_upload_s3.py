"""File upload into an S3 store: the device speaks to the hub with the unmodified azure-storage-blob package, and the file is
an object of the bucket when it is told so. The store checks every signature, and the size of every part."""

import itertools
import os

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.storage.blob import BlobBlock, ContentSettings

from s3_store import Site, Store, config
from stage import Stage, wait_until

MIB = 1 << 20
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def store(programs, tmp_path_factory):
    with Stage(programs, tmp_path_factory.mktemp("store")) as stage:
        store = Store(stage)
        store.client.create_bucket(Bucket="uploads")
        yield store


@pytest.fixture(scope="module")
def site(programs, store, tmp_path_factory):
    with Stage(programs, tmp_path_factory.mktemp("hub")) as stage:
        path = config(stage.folder, store.endpoint, "uploads", prefix="hub-1/")
        yield Site(stage, "--config", path)


@pytest.fixture
def device(site):
    name = f"up-{next(NUMBERS)}"
    site.create(name)
    return name


@pytest.mark.parametrize("size", [0, 1, MIB, 20 * MIB, 70 * MIB], ids=["empty", "1B", "1MiB", "20MiB", "70MiB-in-blocks"])
def test_what_the_blob_client_puts_is_an_object_when_it_is_told_so(site, store, device, size):
    content = os.urandom(size)
    info = site.start(device, "logs/day one.bin")
    with site.blob(info) as blob:
        blob.upload_blob(content, overwrite=True, content_settings=ContentSettings(content_type="text/x-log; a=b"))
        assert store.content("uploads", f"hub-1/{device}/logs/day one.bin") == content
        assert blob.download_blob(offset=size // 2, length=size).readall() == content[size // 2:] if size else True
    assert site.tell(device, info).status_code == 204
    assert site.listed(device) == {"logs/day one.bin": size}
    assert site.fetched(device, "logs/day one.bin") == content
    head = store.client.head_object(Bucket="uploads", Key=f"hub-1/{device}/logs/day one.bin")
    assert head["ContentType"] == "text/x-log; a=b"
    assert site.files_on_disk() == set(), "the hub keeps bytes that are in the store"
    assert store.unfinished("uploads") == []
    site.command("device", "delete-file", device, "logs/day one.bin")
    assert site.listed(device) == {} and f"hub-1/{device}/logs/day one.bin" not in store.names("uploads")
